package linux

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A page that somebody has hold of for a moment is waited for, for ever not.
func TestSealBusy(t *testing.T) {
	file, err := NewProgram("busy")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	page, err := unix.Mmap(int(file.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	if err := Seal(file); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a page that stays in use: %v", err)
	}
	go func() {
		time.Sleep(20 * time.Millisecond)
		_ = unix.Munmap(page)
	}()
	if err := Seal(file); err != nil {
		t.Errorf("a page that was in use: %v", err)
	}
}
