package unpack

import (
	"archive/tar"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"bryo/rootfs/xattr"
)

// IDs are the ids that exist in a user namespace, as ranges [first, first+count).
type IDs [][2]uint32

// OwnIDs reads what the calling process's user namespace maps.
func OwnIDs() (uids, gids IDs, err error) {
	if uids, err = readMap("/proc/self/uid_map"); err != nil {
		return nil, nil, err
	}
	gids, err = readMap("/proc/self/gid_map")
	return uids, gids, err
}

func readMap(file string) (IDs, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var ids IDs
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s: line %q", file, line)
		}
		first, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		count, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		ids = append(ids, [2]uint32{uint32(first), uint32(count)})
	}
	return ids, nil
}

// has compares in 64 bits: 2^32-1, which chown takes for "leave as it is", is in no map.
func (ids IDs) has(id int) bool {
	for _, r := range ids {
		if int64(id) >= int64(r[0]) && int64(id) < int64(r[0])+int64(r[1]) && int64(id) < 1<<32-1 {
			return true
		}
	}
	return false
}

// owner checks the ids of an entry. One that does not exist here is refused:
// giving the file to anybody else, to root above all, would change what the
// image means (CVE-2024-40635).
func (u *unpacker) owner(header *tar.Header) (uid, gid int, err error) {
	if u.SingleUID {
		return 0, 0, nil
	}
	if !u.UIDs.has(header.Uid) {
		return 0, 0, fmt.Errorf("entry %.200q: owner uid %d does not exist in this user namespace", header.Name, header.Uid)
	}
	if !u.GIDs.has(header.Gid) {
		return 0, 0, fmt.Errorf("entry %.200q: owner gid %d does not exist in this user namespace", header.Name, header.Gid)
	}
	return header.Uid, header.Gid, nil
}

// attributes sets owner, extended attributes and mode of an open file, in this
// order: a change of owner clears setuid bits and capabilities.
func (o *Options) attributes(fd int, header *tar.Header, uid, gid int) error {
	if err := unix.Fchown(fd, uid, gid); err != nil {
		return fmt.Errorf("owner %d:%d: %w", uid, gid, err)
	}
	for name, value := range xattr.In(header.PAXRecords) {
		if err := unix.Fsetxattr(fd, name, []byte(value), 0); err != nil && !o.tolerable(err) {
			return fmt.Errorf("extended attribute %.80q: %w", name, err)
		}
	}
	return unix.Fchmod(fd, uint32(header.Mode)&0o7777)
}

// attributesOfNew is attributes for a file that was just made with the entry's
// permissions. What is right already is not set again: that would be a transaction
// of the file system, a look costs a tenth of one. The look finds what a umask, an
// ACL or a set-group-id directory made of the file.
func (o *Options) attributesOfNew(fd int, header *tar.Header, uid, gid int) error {
	mode := uint32(header.Mode) & 0o7777
	if mode&^0o777 != 0 || countXattrs(header) > 0 {
		return o.attributes(fd, header, uid, gid)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Uid != uint32(uid) || st.Gid != uint32(gid) {
		if err := unix.Fchown(fd, uid, gid); err != nil {
			return fmt.Errorf("owner %d:%d: %w", uid, gid, err)
		}
	}
	if st.Mode&0o7777 != mode {
		return unix.Fchmod(fd, mode)
	}
	return nil
}

// countXattrs holds an entry's extended attributes against the limits, before the
// filler sets them.
func (u *unpacker) countXattrs(header *tar.Header) error {
	if count := countXattrs(header); count > 0 {
		return u.countAttributes(count)
	}
	return nil
}

func countXattrs(header *tar.Header) (count int) {
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, xattr.Prefix) {
			count++
		}
	}
	return count
}

// tolerable: a file system without extended attributes, or a user namespace
// that may not set this one, loses the attribute and keeps the file.
func (o *Options) tolerable(err error) bool {
	return err == unix.ENOTSUP || err == unix.EPERM || (o.SingleUID && err == unix.EINVAL)
}

// timespecs are access and modification time; archives seldom have the first.
func timespecs(header *tar.Header) []unix.Timespec {
	access := header.AccessTime
	if access.Before(header.ModTime) {
		access = header.ModTime
	}
	return []unix.Timespec{timespec(access), timespec(header.ModTime)}
}

func timespec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// setTimes is futimens(3): utimensat without a name.
func setTimes(fd int, header *tar.Header) error {
	times := timespecs(header)
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times[0])), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("times: %w", errno)
	}
	return nil
}
