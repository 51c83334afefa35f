package unpack

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// dirTimes remembers the directories' modification times until everything is in
// them. On disk, in a file without a name: millions of directories must not
// count in memory.
type dirTimes struct {
	file   *os.File
	writer *bufio.Writer
}

func newDirTimes(dir string) (*dirTimes, error) {
	parent := filepath.Dir(dir)
	fd, err := unix.Open(parent, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		file := os.NewFile(uintptr(fd), parent)
		return &dirTimes{file, bufio.NewWriterSize(file, 64<<10)}, nil
	}
	file, err := os.CreateTemp(parent, "times-") // file systems without O_TMPFILE
	if err != nil {
		return nil, err
	}
	os.Remove(file.Name())
	return &dirTimes{file, bufio.NewWriterSize(file, 64<<10)}, nil
}

func (d *dirTimes) close() { d.file.Close() }

func (d *dirTimes) add(name string, modified time.Time) error {
	var head [14]byte
	binary.LittleEndian.PutUint16(head[:], uint16(len(name)))
	binary.LittleEndian.PutUint64(head[2:], uint64(modified.Unix()))
	binary.LittleEndian.PutUint32(head[10:], uint32(modified.Nanosecond()))
	d.writer.Write(head[:])
	_, err := d.writer.WriteString(name) // bufio keeps the first error
	return err
}

// apply sets the times, in the order of the archive: the last one counts.
func (d *dirTimes) apply(root *root) error {
	if err := d.writer.Flush(); err != nil {
		return err
	}
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	reader := bufio.NewReaderSize(d.file, 64<<10)
	for {
		var head [14]byte
		if _, err := io.ReadFull(reader, head[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		name := make([]byte, binary.LittleEndian.Uint16(head[:]))
		if _, err := io.ReadFull(reader, name); err != nil {
			return err
		}
		when := unix.Timespec{Sec: int64(binary.LittleEndian.Uint64(head[2:])), Nsec: int64(binary.LittleEndian.Uint32(head[10:]))}
		if err := touch(root, string(name), when); err != nil {
			return err
		}
	}
}

// touch sets the time of a directory, or of nothing if a later entry of the
// archive put something else in its place.
func touch(root *root, name string, when unix.Timespec) error {
	parent, base := root.fd, name
	if name != "." {
		fd, err := root.open(filepath.Dir(name), unix.O_PATH|unix.O_DIRECTORY, 0)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return nil
		}
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		parent, base = fd, filepath.Base(name)
	}
	var st unix.Stat_t
	err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT || (err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(parent, base, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW)
}
