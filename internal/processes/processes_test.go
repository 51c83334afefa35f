package processes

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const line = "42 (a) b (c) S 1 42 40 34817 42 4194304 100 200 0 0 7 3 11 13 20 5 2 0 987654 8192 3 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0"
	p, err := parseStat([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	if p.PID != 42 || p.Name != "a) b (c" || p.State != 'S' || p.Parent != 1 || p.Session != 40 || p.Nice != 5 || p.Threads != 2 ||
		p.User != 7 || p.DeadSystem != 13 || p.Start != 987654 || p.CPU != 1 || p.Resident != 3*uint64(os.Getpagesize()) {
		t.Errorf("parsed %+v", p)
	}
	if got := terminal(p.TTY); got != "pts/1" {
		t.Errorf("terminal %s", got)
	}
	for _, bad := range []string{"", "42 (a", "42 (a) S 1 2", "x (a) S" + strings.Repeat(" 1", 40), "1 (a) S" + strings.Repeat(" y", 40)} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (init) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parseStat(data) })
}

func TestLayouts(t *testing.T) {
	for _, c := range []struct{ words, titles string }{
		{"", "UID PID PPID C STIME TTY TIME CMD"},
		{"-ef", "UID PID PPID C STIME TTY TIME CMD"},
		{"-e", "PID TTY TIME CMD"},
		{"aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"},
		{"aux ww", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"},
		{"-aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"},
		{"x", "PID TTY STAT TIME COMMAND"},
		{"-eo pid,comm", "PID COMMAND"},
		{"-opid -o user=WHO", "PID WHO"},
		{"-o pid=,args=", ",args="},
		{"o pid,%cpu", "PID %CPU"},
		{"--format=pid,etime", "PID ELAPSED"},
		{"--format pid", "PID"},
		{"-el", "F S UID PID PPID C PRI NI SZ WCHAN TTY TIME CMD"},
	} {
		titles, _, err := Table(nil, Options{PS: strings.Fields(c.words)})
		if err != nil || strings.Join(titles, " ") != c.titles {
			t.Errorf("ps %s: %q, %v", c.words, titles, err)
		}
	}
	for _, bad := range []string{"-Z", "-o", "-o nosuch", "--nosuch", "-p 1", "-o ,"} {
		if _, _, err := Table(nil, Options{PS: strings.Fields(bad)}); err == nil {
			t.Errorf("ps %s was understood", bad)
		}
	}
}

func TestListDescendants(t *testing.T) {
	child := exec.Command("sleep", "1000")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	// In our own pid namespace: the named process and what it started, no others.
	var list []Process
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var err error
		if list, err = List(child.Process.Pid); err != nil {
			t.Fatal(err)
		}
		if len(list) == 1 && list[0].Name == "sleep" {
			break
		}
	}
	if len(list) != 1 || list[0].Command() != "sleep 1000" || list[0].UID != uint32(os.Geteuid()) {
		t.Fatalf("listed %+v", list)
	}
	both, err := List(os.Getpid())
	if err != nil || !slices.ContainsFunc(both, func(p Process) bool { return p.PID == child.Process.Pid }) {
		t.Errorf("the child is not among %d processes: %v", len(both), err)
	}
	titles, rows, err := Table(list, Options{PS: []string{"-o", "pid,stat,user,etime,tty,args"}, User: func(uint32) string { return "somebody" }})
	if err != nil || len(rows) != 1 || len(rows[0]) != len(titles) || rows[0][2] != "somebody" || rows[0][5] != "sleep 1000" {
		t.Errorf("table %q %q %v", titles, rows, err)
	}
}

func TestUsedGrows(t *testing.T) {
	before, err := used(os.Getpid())
	if err != nil || before.Memory == 0 || before.Tasks == 0 {
		t.Fatalf("used %+v, %v", before, err)
	}
	for end := time.Now().Add(60 * time.Millisecond); time.Now().Before(end); {
	}
	after, err := used(os.Getpid())
	if err != nil || after.CPU <= before.CPU {
		t.Errorf("processor time went from %s to %s: %v", before.CPU, after.CPU, err)
	}
}

func TestElapsed(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "00:00", 61 * time.Second: "01:01", 3723 * time.Second: "01:02:03", 90061 * time.Second: "1-01:01:01",
	} {
		if got := elapsed(d); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}

// A census serves for any number of containers: it knows the namespace of each
// process, and what came later is not in it.
func TestCensus(t *testing.T) {
	census, err := TakeCensus()
	if err != nil {
		t.Fatal(err)
	}
	sleep := exec.Command("sleep", "100")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleep.Process.Kill(); _ = sleep.Wait() }()
	has := func(c Census) bool {
		list, err := c.List(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(list, func(p Process) bool { return p.PID == sleep.Process.Pid })
	}
	if has(census) {
		t.Error("a process is in a census that was taken before it")
	}
	if census, err = TakeCensus(); err != nil || !has(census) {
		t.Errorf("a process is not in the census, %v", err)
	}
}

func used(first int) (Usage, error) {
	census, err := TakeCensus()
	if err != nil {
		return Usage{}, err
	}
	return census.Used(first)
}
