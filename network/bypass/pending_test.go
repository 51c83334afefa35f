package bypass

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// leavingCalls is a listener whose caller is there for so many looks.
type leavingCalls struct {
	Calls
	looks int
}

func (c *leavingCalls) Valid(uint64) error {
	if c.looks--; c.looks < 0 {
		return unix.ENOENT
	}
	return nil
}

// TestCallerThatLeavesKeepsNoDescriptor: a thread that is killed at any moment of its
// call leaves nothing open in the supervisor.
func TestCallerThatLeavesKeepsNoDescriptor(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	h := &Handler{threads: threadPidfds()}
	before := descriptors(t)
	for looks := range 2 {
		h.handle(&leavingCalls{looks: looks}, Call{TID: os.Getpid(), Nr: unix.SYS_CONNECT, Args: [6]uint64{uint64(fd)}})
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
