package userns

/*
#cgo LDFLAGS: -Wl,--wrap=pthread_create -Wl,--wrap=setuid -Wl,--wrap=setgid
extern int bryo_twin_pid, bryo_twin_socket, bryo_twin_control, bryo_is_twin, bryo_keyring;
extern long long bryo_began;
extern void bryo_forget_code(void);
*/
import "C"

import (
	"errors"
	"os"
	"sync"
)

// Twin is the process that `bryo run` forked before its Go runtime started, to
// become the supervisor. It has made its namespaces, or could not, and waits for
// its id maps. If the command ends without it, so does the twin.
type Twin struct {
	PID     int
	Control int // our end of a SOCK_SEQPACKET pair; its end is FirstFile there

	socket *os.File
	once   sync.Once
	mapped chan error
}

// ForgetCode lets go of the binary's pages, most of which only a start needs. What is
// needed again comes back from the page cache.
func ForgetCode() { C.bryo_forget_code() }

// HasTwin says whether this process has a twin that nobody took.
func HasTwin() bool { return C.bryo_twin_pid != 0 }

// TakeTwin returns this process's twin, to one caller; nil when there is none.
func TakeTwin() *Twin {
	if C.bryo_twin_pid == 0 {
		return nil
	}
	t := &Twin{
		PID: int(C.bryo_twin_pid), Control: int(C.bryo_twin_control),
		socket: os.NewFile(uintptr(C.bryo_twin_socket), "userns"), mapped: make(chan error, 1),
	}
	C.bryo_twin_pid = 0
	return t
}

// Map starts to write the twin's id maps, beside whatever the caller does next, or sees
// to it that they are written: the twin may have started that.
// The next command finds in the file note what to write; no file, no note.
func (t *Twin) Map(m Mapping, note string) {
	t.once.Do(func() {
		go func() {
			defer t.socket.Close()
			err := t.establish(m)
			t.mapped <- err
			if err == nil || errors.Is(err, ErrOutdated) {
				leaveNote(note, m)
			}
		}()
	})
}

func (t *Twin) establish(m Mapping) error {
	mappers, err := begun(t.socket)
	if err != nil {
		return err
	}
	if mappers == [2]int{} {
		err = writeMaps(t.PID, m)
	} else {
		err = m.complete(t.PID, mappers)
	}
	if err != nil {
		return err
	}
	return letGo(t.socket)
}

// Mapped waits until the maps are written. After an error the twin is dead.
func (t *Twin) Mapped() error {
	err := <-t.mapped
	if err != nil {
		t.Kill()
	}
	return err
}

// Kill ends a twin that is not wanted.
func (t *Twin) Kill() {
	if process, err := os.FindProcess(t.PID); err == nil {
		_ = process.Kill()
		_, _ = process.Wait()
	}
}

// IsTwin says whether this process was forked, not executed: its stdio is still
// that of the command.
func IsTwin() bool { return C.bryo_is_twin != 0 }

// SharedKeyring: this process and what it starts have the session keyring that all
// roles of this user share, not the user's.
func SharedKeyring() bool { return C.bryo_keyring != 0 }

// Again is Ready for a process that has entered its namespaces as an earlier image of
// itself; shared is what SharedKeyring was there.
func Again(shared bool) {
	forget()
	C.bryo_keyring = 0
	if shared {
		C.bryo_keyring = 1
	}
}

// Began is when this process was executed, in nanoseconds of CLOCK_MONOTONIC; a
// twin has the time of its command.
func Began() int64 { return int64(C.bryo_began) }
