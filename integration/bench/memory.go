package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a process has to itself.
type usage struct{ pss, anon int64 }

func (u *usage) add(o usage) { u.pss, u.anon = u.pss+o.pss, u.anon+o.anon }

// usageOf reads the kernel's own sums.
func usageOf(pid int) (u usage, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		n, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "Pss:":
			u.pss = n << 10
		case "Anonymous:":
			u.anon = n << 10
		}
	}
	return u, err
}

// supervisors are the processes that keep bryo's containers.
func (b *bench) supervisors() (pids []int) {
	files, _ := filepath.Glob(filepath.Join(b.Dir, "home/bryo/containers/*/status.json"))
	for _, file := range files {
		var status struct {
			Supervisor struct {
				PID int `json:"pid"`
			} `json:"supervisor"`
		}
		if text, err := os.ReadFile(file); err == nil && json.Unmarshal(text, &status) == nil && status.Supervisor.PID > 0 {
			pids = append(pids, status.Supervisor.PID)
		}
	}
	return pids
}

// podmansHelpers are what podman leaves beside its containers.
func podmansHelpers(user string) (pids []int) {
	comms := []string{"conmon", "slirp4netns", "pasta", "pasta.avx2", "rootlessport", "rootlessport-c"}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
		status, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "status"))
		if slices.Contains(comms, strings.TrimSpace(string(comm))) && bytes.Contains(status, []byte("\nUid:\t"+user+"\t")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func total(pids []int) (sum usage, err error) {
	for _, pid := range pids {
		u, err := usageOf(pid)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // ended meanwhile
		}
		if err != nil {
			return sum, err
		}
		sum.add(u)
	}
	return sum, nil
}

// memory compares what stands beside one idle detached container, when its supervisor
// rests and while it is awake, and adds up many.
func (b *bench) memory() error {
	if err := b.awake(); err != nil {
		return err
	}
	own, theirs, err := b.besideOne()
	if err != nil {
		return err
	}
	if theirs.pss > 0 {
		b.table.bytes("memory beside an idle container (its supervisor rests), PSS", "podman: conmon, network helper", own.pss, theirs.pss, 1)
		b.table.bytes("the same, anonymous", "podman: conmon, network helper", own.anon, theirs.anon, 1)
	} else {
		b.table.alone("memory beside an idle container (its supervisor rests), PSS", mb(own.pss))
	}
	b.removeAll()
	return b.manyIdle()
}

// awake are the weights of supervisors that something happens to.
func (b *bench) awake() error {
	defer b.patience("-1s")()
	for _, network := range []string{"default", "none"} {
		if err := b.Do("bryo", "run", "-d", "--network", network, image, "sleep", "1000"); err != nil {
			return err
		}
		time.Sleep(2 * time.Second) // until it has given back what the start needed
		own, err := total(b.supervisors())
		if err != nil {
			return err
		}
		b.table.alone("an awake supervisor, network "+network, fmt.Sprintf("PSS %s, anonymous %s", mb(own.pss), mb(own.anon)))
		b.removeAll()
	}
	return nil
}

// patience is how long supervisors that start from now on are idle before they rest.
func (b *bench) patience(duration string) (restore func()) {
	before := b.Env
	b.Env = append(slices.Clone(before), "BRYO_REST="+duration)
	return func() { b.Env = before }
}

// settled is the sum over all supervisors when they rest.
func (b *bench) settled() (usage, error) {
	pids := b.supervisors()
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if !slices.ContainsFunc(pids, isAwake) {
			return total(pids)
		}
		if time.Now().After(end) {
			return usage{}, errors.New("there are supervisors that do not rest")
		}
	}
}

// isAwake: it has the threads of a Go program.
func isAwake(pid int) bool {
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return len(tasks) > 1
}

func (b *bench) besideOne() (own, theirs usage, err error) {
	if err = b.Do("bryo", "run", "-d", image, "sleep", "1000"); err != nil {
		return
	}
	if own, err = b.settled(); err != nil {
		return
	}
	problem := b.podman()
	if problem == nil {
		problem = b.Do("podman", "run", "-d", image, "sleep", "1000")
	}
	if problem != nil {
		b.table.note("%v", problem)
		return
	}
	time.Sleep(time.Second)
	theirs, err = total(podmansHelpers(b.User.Uid))
	return
}

func (b *bench) manyIdle() error {
	count := 200
	if b.short {
		count = 50
	}
	if err := b.fillUp(count); err != nil {
		return err
	}
	sum, err := b.settled()
	if err != nil {
		return err
	}
	b.table.alone(fmt.Sprintf("%d idle containers, all supervisors at rest", count), fmt.Sprintf("PSS %s, anonymous %s", mb(sum.pss), mb(sum.anon)))
	return nil
}

// fillUp starts containers until count run.
func (b *bench) fillUp(count int) error {
	for n := len(b.supervisors()); n < count; n++ {
		if err := b.Do("bryo", "run", "-d", image, "sleep", "10000"); err != nil {
			return fmt.Errorf("container %d: %w", n, err)
		}
	}
	return nil
}

// scale measures one more start, `ps` and memory beside 1, 10, 100, 500 containers.
func (b *bench) scale() error {
	counts := []int{1, 10, 100, 500}
	if b.short {
		counts = counts[:3]
	}
	for _, count := range counts {
		if err := b.fillUp(count); err != nil {
			return err
		}
		sum, err := b.settled()
		if err != nil {
			return err
		}
		times, err := b.inTurn(9, []string{"bryo", "run", "--rm", image, "/bin/true"}, []string{"bryo", "ps", "-q"})
		if err != nil {
			return err
		}
		b.table.alone(fmt.Sprintf("beside %d containers", count), fmt.Sprintf("run %s ms, ps %s ms, PSS of each %s",
			ms(median(times[0])), ms(median(times[1])), mb(sum.pss/int64(count))))
	}
	return nil
}

// binary says what the program itself weighs.
func (b *bench) binary() error {
	info, err := os.Stat(filepath.Join(b.Dir, "bryo"))
	if err != nil {
		return err
	}
	b.table.alone("size of the binary", mb(info.Size()))
	var best time.Duration
	for range 5 {
		took, err := b.packageInit()
		if err != nil {
			return err
		}
		if best == 0 || took < best {
			best = took
		}
	}
	b.table.alone("initialisation of its packages", ms(best)+" ms")
	return nil
}

// packageInit adds up what the Go runtime says of each package's init.
func (b *bench) packageInit() (sum time.Duration, err error) {
	cmd := b.Command("bryo", "version")
	cmd.Env = append(cmd.Env, "GODEBUG=inittrace=1")
	var trace bytes.Buffer
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		return 0, err
	}
	for line := range strings.Lines(trace.String()) {
		before, _, found := strings.Cut(line, " ms clock")
		if !found {
			continue
		}
		words := strings.Fields(before)
		if n, err := strconv.ParseFloat(words[len(words)-1], 64); err == nil {
			sum += time.Duration(n * float64(time.Millisecond))
		}
	}
	return sum, nil
}
