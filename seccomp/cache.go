package seccomp

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// compilerVersion is part of every cache key. A test fails when programs
// change and it does not.
const compilerVersion = 1

// maxCached bounds the number of programs kept; the oldest give way. An entry
// has 5 to 10 kB.
const maxCached = 64

// cacheKey is the hash of everything that shapes a program: SHA-256 over
// length-prefixed fields.
func cacheKey(profile []byte, o Options) [sha256.Size]byte {
	caps := slices.Clone(o.Caps)
	slices.Sort(caps)
	notify := slices.Clone(o.Notify)
	slices.Sort(notify)
	h := sha256.New()
	field := func(b []byte) {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	field(fmt.Appendf(nil, "bryo seccomp %d", compilerVersion))
	if profile == nil {
		field([]byte("default " + programsHash))
	} else {
		field([]byte("profile"))
		field(profile)
	}
	field([]byte(strings.Join(slices.Compact(caps), ",")))
	field([]byte(strings.Join(slices.Compact(notify), ",")))
	field(fmt.Appendf(nil, "%s %d.%d %d %d %d", o.Arch, o.Kernel.Major, o.Kernel.Minor, o.Fake, o.UID, o.GID))
	if o.Bypass != 0 {
		field(fmt.Appendf(nil, "bypass %d", o.Bypass))
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// cache is one entry: a file of
//
//	32 bytes  SHA-256 of key and all that follows
//	4 bytes   flags, little-endian
//	rest      the program
type cache struct {
	dir string
	key [sha256.Size]byte
}

func (c cache) path() string { return filepath.Join(c.dir, hex.EncodeToString(c.key[:])+".bpf") }

func (c cache) sum(payload []byte) [sha256.Size]byte {
	return sha256.Sum256(append(c.key[:], payload...))
}

// load returns the entry if it is whole, ours, and belongs to this key.
func (c cache) load() (Filter, bool) {
	if c.dir == "" {
		return Filter{}, false
	}
	text, err := readOwn(c.path())
	if err != nil || len(text) < sha256.Size+4 {
		return Filter{}, false
	}
	payload := text[sha256.Size:]
	if sum := c.sum(payload); !bytes.Equal(sum[:], text[:sha256.Size]) {
		return Filter{}, false
	}
	if _, err := programFrom(payload[4:]); err != nil {
		return Filter{}, false
	}
	return Filter{Flags: binary.LittleEndian.Uint32(payload), Program: payload[4:]}, true
}

// readOwn reads a small regular file that nobody else could have written: a
// filter planted by another user would be no filter.
func readOwn(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != uint32(os.Geteuid()) || st.Mode&0o022 != 0 {
		return nil, fmt.Errorf("%s: not a private file", path)
	}
	return io.ReadAll(io.LimitReader(file, sha256.Size+4+maxInstructions*insSize))
}

// store writes the entry beside its place and renames it there, so that a
// reader sees all of it or nothing. There is no sync: what a power cut leaves
// fails its hash and is written anew. Errors are dropped: the caller has its
// filter, and a read-only or full disk must not keep a container from starting.
func (c cache) store(f Filter) {
	if c.dir == "" || os.MkdirAll(c.dir, 0o700) != nil {
		return
	}
	payload := append(binary.LittleEndian.AppendUint32(nil, f.Flags), f.Program...)
	sum := c.sum(payload)
	tmp, err := os.CreateTemp(c.dir, "new-*") // 0600
	if err != nil {
		return
	}
	_, err = tmp.Write(append(sum[:], payload...))
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), c.path())
	}
	if err != nil {
		os.Remove(tmp.Name())
		return
	}
	c.trim()
}

// trim removes the oldest entries above the bound, and what a writer left
// that died an hour ago or longer.
func (c cache) trim() {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	type aged struct {
		name string
		time time.Time
	}
	var kept []aged
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil || !info.Mode().IsRegular():
		case strings.HasPrefix(e.Name(), "new-") && time.Since(info.ModTime()) > time.Hour:
			os.Remove(filepath.Join(c.dir, e.Name()))
		case strings.HasSuffix(e.Name(), ".bpf"):
			kept = append(kept, aged{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(kept, func(a, b aged) int { return a.time.Compare(b.time) })
	for ; len(kept) > maxCached; kept = kept[1:] {
		os.Remove(filepath.Join(c.dir, kept[0].name))
	}
}
