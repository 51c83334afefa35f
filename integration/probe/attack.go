package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// edge is every argument of a swept call: no flag set, length or pointer that a
// kernel accepts.
const edge = ^uintptr(0)

// lastCall is beyond the newest call number.
const lastCall = 500

// sweep makes every system call in a process of its own and prints what became of
// it: the number and the error's name, "ok", or how the process ended.
func sweep([]string) error {
	for nr := range lastCall {
		fmt.Println(nr, inChild("call", strconv.Itoa(nr)))
	}
	return nil
}

// inChild runs this program again; a call that does not return is ended.
func inChild(args ...string) string {
	cmd := exec.Command("/proc/self/exe", args...)
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		return "start: " + err.Error()
	}
	timer := time.AfterFunc(2*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil && out.Len() == 0 {
		return "ended"
	}
	word, _, _ := strings.Cut(strings.TrimSpace(out.String()), "\n")
	if word == "" {
		return "ended"
	}
	return word
}

func call(a []string) error {
	nr, err := strconv.ParseUint(a[0], 0, 64)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	_, _, errno := unix.RawSyscall6(uintptr(nr), edge, edge, edge, edge, edge, edge)
	fmt.Println(errnoName(errno))
	os.Exit(0)
	return nil
}

// foreign makes denied calls the two other ways that an x86-64 kernel knows: with
// x32 numbers and through int 0x80.
func foreign(a []string) error {
	if len(a) == 1 {
		nr, err := strconv.ParseUint(a[0], 0, 32)
		if err != nil {
			return err
		}
		result := int32(int80(uint32(nr), 0x10000000, 0, 0))
		fmt.Println(errnoName(syscall.Errno(max(0, -result))))
		os.Exit(0)
	}
	const x32 = 0x40000000
	for name, nr := range map[string]int{"unshare": 272, "mount": 165, "keyctl": 250, "bpf": 321, "setns": 308, "userfaultfd": 323, "ptrace": 521, "io_uring_setup": 425} {
		fmt.Println("x32", name, inChild("call", strconv.Itoa(nr|x32)))
	}
	for name, nr := range map[string]int{"unshare": 310, "mount": 21, "keyctl": 288, "bpf": 357, "setns": 346, "userfaultfd": 374, "clone3": 435, "io_uring_setup": 425} {
		fmt.Println("i386", name, inChild("foreign", strconv.Itoa(nr)))
	}
	return nil
}

// others lists the processes of this pid namespace but for this one.
func others() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// exes tries for a[0] seconds to get hold of the program files and descriptors of
// every process that appears, to write to them: what joins for an exec is
// the runtime for a moment. It prints what it got.
func exes(a []string) error {
	seconds, err := strconv.Atoi(a[0])
	if err != nil {
		return err
	}
	fmt.Println("watching")
	seen := map[string]bool{}
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); {
		for _, pid := range others() {
			dir := fmt.Sprintf("/proc/%d/", pid)
			grab(dir+"exe", seen)
			fds, _ := os.ReadDir(dir + "fd")
			for _, fd := range fds {
				if n, _ := strconv.Atoi(fd.Name()); n > 2 {
					grab(dir+"fd/"+fd.Name(), seen)
				}
			}
		}
	}
	fmt.Println("done")
	return nil
}

// grab opens a file of another process for writing, and by way of a descriptor
// that was opened for reading.
func grab(path string, seen map[string]bool) {
	fd, err := unix.Open(path, unix.O_PATH, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// Named only now: meanwhile the process may execute the container's own program.
	again := "/proc/self/fd/" + strconv.Itoa(fd)
	target, err := os.Readlink(again)
	if err != nil || seen[target] || strings.HasPrefix(target, "/probe") || strings.HasPrefix(target, "/proc/") {
		return // its own program, and what the Go runtime of that reads
	}
	if w, err := unix.Open(again, unix.O_WRONLY, 0); err == nil {
		_, err := unix.Pwrite(w, []byte{0}, 0)
		unix.Close(w)
		if err == unix.EPERM {
			return // sealed: it opens, and takes nothing
		}
		seen[target] = true
		fmt.Println("got", target)
	}
}

// seize tries for a[0] seconds to trace every process that appears.
func seize(a []string) error {
	seconds, err := strconv.Atoi(a[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	fmt.Println("watching")
	tried := 0
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); {
		for _, pid := range others() {
			exe, readable := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
			if readable == nil && (exe == "/probe" || strings.HasPrefix(exe, "/bin/")) {
				continue // the container's own program may be traced
			}
			tried++
			if err := unix.PtraceSeize(pid); err != nil {
				continue
			}
			// By now it may be the container's own program, which may be traced.
			if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && exe != "/probe" {
				fmt.Println("seized", exe)
			}
		}
	}
	fmt.Println("tried", tried > 0)
	return nil
}

// shm leaves a System V segment behind.
func shm([]string) error {
	id, err := unix.SysvShmGet(0x6272796f, 4096, unix.IPC_CREAT|0o666)
	if err != nil {
		return err
	}
	fmt.Println("segment", id >= 0)
	return nil
}

// ioctls tries to type into the terminal on descriptor 0, as if the user had.
func ioctls([]string) error {
	for _, c := range []struct {
		name    string
		request uintptr
	}{{"TIOCSTI", unix.TIOCSTI}, {"TIOCLINUX", 0x541c}} {
		b := [2]byte{'x', 0}
		err := unix.IoctlSetPointerInt(0, uint(c.request), int(b[0]))
		var errno syscall.Errno
		errors.As(err, &errno)
		fmt.Println(c.name, errnoName(errno))
	}
	return nil
}
