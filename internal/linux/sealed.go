package linux

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// SealedProgram writes the parts, one after the other, to a memfd that can be executed
// and never be changed again: a container that got hold of the descriptor could
// otherwise change the program of the next one (CVE-2019-5736).
func SealedProgram(name string, parts ...io.Reader) (*os.File, error) {
	file, err := NewProgram(name)
	if err != nil {
		return nil, err
	}
	if err := SealProgram(file, parts...); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// NewProgram is the empty memfd that SealProgram fills.
func NewProgram(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memfd_create %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// SealProgram is the second half of SealedProgram.
func SealProgram(file *os.File, parts ...io.Reader) (err error) {
	for _, part := range parts {
		if _, err = io.Copy(file, part); err != nil {
			break
		}
	}
	if err == nil {
		err = os.NewSyscallError("fchmod", unix.Fchmod(int(file.Fd()), 0o555))
	}
	if err == nil {
		err = Seal(file)
	}
	if err != nil {
		return fmt.Errorf("seal %s: %w", file.Name(), err)
	}
	return nil
}

// Seal lets nobody change a memfd any more. Where the kernel itself has hold of one of its
// pages at that moment, to move it or to see whether it is in use, the answer is EBUSY: it
// is asked again.
func Seal(file *os.File) (err error) {
	const tries, pause = 20, 5 * time.Millisecond
	for range tries {
		_, err = unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
		if err != unix.EBUSY {
			break
		}
		time.Sleep(pause)
	}
	return os.NewSyscallError("fcntl(F_ADD_SEALS)", err)
}
