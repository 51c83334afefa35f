package user

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootfs/mount/inroot"
)

// Bounds for files that the image wrote. Real ones have some kilobytes; a line
// longer than this is not read as a user or group.
const (
	maxFile   = 4 << 20
	maxLine   = 64 << 10
	maxFields = 16
)

type contents struct{ passwd, group []byte }

// readFiles reads both files below rootfs. A missing one is empty: images made
// from scratch have neither.
func readFiles(rootfs string) (c contents, err error) {
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return c, fmt.Errorf("open root %s: %w", rootfs, err)
	}
	defer unix.Close(root)
	if c.passwd, err = readBounded(root, "/etc/passwd"); err != nil {
		return c, err
	}
	c.group, err = readBounded(root, "/etc/group")
	return c, err
}

// readBounded reads name inside root if it is a regular file of bounded size. It
// looks before it opens: opening a FIFO or a device already does something.
func readBounded(root int, name string) ([]byte, error) {
	at, err := inroot.Open(root, name, unix.O_PATH)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("image file: %w", err)
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return nil, fmt.Errorf("read %s of the image: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("read %s of the image: not a regular file", name)
	}
	file, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", at))
	if err != nil {
		return nil, fmt.Errorf("read %s of the image: %w", name, err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s of the image: %w", name, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read %s of the image: larger than %d MiB", name, maxFile>>20)
	}
	return data, nil
}

// lines yields the number and the fields of each line that can be an entry.
func lines(data []byte) iter.Seq2[int, []string] {
	return func(yield func(int, []string) bool) {
		for n := 1; len(data) > 0; n++ {
			var line []byte
			line, data, _ = bytes.Cut(data, []byte("\n"))
			if len(line) == 0 || len(line) > maxLine || line[0] == '#' {
				continue
			}
			fields := strings.SplitN(strings.TrimSpace(string(line)), ":", maxFields)
			if fields[0] != "" && !yield(n, fields) {
				return
			}
		}
	}
}
