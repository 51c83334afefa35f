package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fullDisk takes so many bytes more.
type fullDisk struct {
	*os.File
	space int
}

func (d *fullDisk) Write(p []byte) (int, error) {
	n, err := d.File.Write(p[:min(len(p), d.space)])
	d.space -= n
	if err == nil && n < len(p) {
		err = &os.PathError{Op: "write", Path: d.Name(), Err: syscall.ENOSPC}
	}
	return n, err
}

func openOnFullDisk(t *testing.T, space int) (*Writer, *fullDisk, string) {
	dir := t.TempDir()
	w := mustOpen(t, dir, mustParse(t, ""))
	f := w.sinks[0].(*file)
	disk := &fullDisk{f.out.(*os.File), space}
	f.out = disk
	return w, disk, dir
}

func TestFullDisk(t *testing.T) {
	entry := len(line(Stdout, 1, "1\n")) + len(".123456789") // of each line below, at most
	for _, test := range []struct {
		name  string
		space int
		lost  int64
		want  string
	}{
		{"no space", 0, 5, "bryo: 5 log entries lost: write log: no space left on device\nafter\n"},
		{"less than a line", 10, 5, "bryo: 5 log entries lost: write log: no space left on device\nafter\n"},
		{"a line and a bit", entry + 20, 4, "1\nbryo: 4 log entries lost: write log: no space left on device\nafter\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, disk, dir := openOnFullDisk(t, test.space)
			fmt.Fprint(w.Stream(Stdout), "1\n2\n3\n")
			fmt.Fprint(w.Stream(Stdout), "4\n5\n")
			if w.Dropped() != test.lost {
				t.Errorf("%d dropped, want %d", w.Dropped(), test.lost)
			}
			disk.space = 1 << 20
			fmt.Fprint(w.Stream(Stdout), "after\n")
			if got := read(t, dir, ReadOptions{Tail: All}); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if w.Dropped() != test.lost {
				t.Errorf("%d dropped, want %d", w.Dropped(), test.lost)
			}
		})
	}
}

func TestLossIsToldThoughNothingMoreIsPrinted(t *testing.T) {
	w, disk, dir := openOnFullDisk(t, 0)
	fmt.Fprintln(w.Stream(Stdout), "lost")
	f := w.sinks[0].(*file)
	f.mu.Lock()
	disk.space = 1 << 20
	f.mu.Unlock()
	for start := time.Now(); read(t, dir, ReadOptions{Tail: All}) == ""; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 5*time.Second {
			t.Fatal("never told")
		}
	}
}

func TestLossIsToldAtTheEnd(t *testing.T) {
	w, disk, dir := openOnFullDisk(t, 0)
	fmt.Fprintln(w.Stream(Stdout), "lost")
	disk.space = 1 << 20
	w.Close()
	if got := read(t, dir, ReadOptions{Tail: All}); !strings.HasPrefix(got, "bryo: 1 log entries lost") {
		t.Errorf("got %q", got)
	}
}

// TestFullFileSystem is F39 on a file system that is full.
func TestFullFileSystem(t *testing.T) {
	for _, options := range []string{"", "max-size=20k max-file=2"} {
		t.Run("options "+options, func(t *testing.T) {
			child := exec.Command(os.Args[0], "-test.run=^$")
			child.Env = append(os.Environ(), "LOGS_TEST_ROLE=full disk", "LOGS_TEST_DIR="+t.TempDir(), "LOGS_TEST_OPTIONS="+options)
			child.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
				UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
			}
			out, err := child.CombinedOutput()
			var code *exec.ExitError
			if err != nil && (!errors.As(err, &code) || code.ExitCode() == 77) {
				t.Skipf("no mount in a user namespace here: %v %s", err, out)
			}
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// fullDiskProcess runs in user and mount namespaces of its own.
func fullDiskProcess() int {
	dir := os.Getenv("LOGS_TEST_DIR")
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=128k"); err != nil {
		fmt.Println(err)
		return 77
	}
	options := map[string]string{}
	for o := range strings.FieldsSeq(os.Getenv("LOGS_TEST_OPTIONS")) {
		key, value, _ := strings.Cut(o, "=")
		options[key] = value
	}
	c, err := Parse("", options)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ballast := filepath.Join(dir, "ballast")
	if len(options) > 0 { // so that the rotated log does not fit
		_ = os.WriteFile(ballast, make([]byte, 100<<10), 0o600)
	} else {
		_ = os.WriteFile(ballast, make([]byte, 40<<10), 0o600)
	}
	log := filepath.Join(dir, "log")
	w, err := Open(log, c)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for i := range 5000 {
		fmt.Fprintln(w.Stream(Stdout), "line", i)
	}
	dropped := w.Dropped()
	os.Remove(ballast)
	fmt.Fprintln(w.Stream(Stdout), "after")
	w.Close()
	var text strings.Builder
	sum, err := Read(context.Background(), log, ReadOptions{Tail: All}, &Printer{Out: &text, Err: &text})
	if err != nil || sum.Corrupt > 0 {
		fmt.Println(sum, err)
		return 1
	}
	end := fmt.Sprintf("bryo: %d log entries lost: write log: no space left on device\nafter\n", dropped)
	if len(options) == 0 && (dropped == 0 || !strings.HasSuffix(text.String(), end)) {
		fmt.Printf("%d dropped, the log ends: %s", dropped, text.String()[max(0, text.Len()-200):])
		return 1
	}
	if !strings.HasSuffix(text.String(), "after\n") {
		fmt.Printf("the log ends: %s", text.String()[max(0, text.Len()-200):])
		return 1
	}
	return 0
}
