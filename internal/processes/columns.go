package processes

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// column is one of ps(1): its title and how a cell is made.
type column struct {
	title string
	cell  func(*view, *Process) string
}

// view is what cells need beside the process.
type view struct {
	now    time.Time
	boot   time.Time
	memory uint64
	user   func(uint32) string
	group  func(uint32) string
}

// columns by the names of ps -o; the first name is the one that others stand for.
var columns = []struct {
	names []string
	column
}{
	{[]string{"pid", "tgid", "lwp", "tid", "spid"}, column{"PID", func(_ *view, p *Process) string { return strconv.Itoa(p.PID) }}},
	{[]string{"ppid"}, column{"PPID", func(_ *view, p *Process) string { return strconv.Itoa(p.Parent) }}},
	{[]string{"pgid", "pgrp"}, column{"PGID", func(_ *view, p *Process) string { return strconv.Itoa(p.Group) }}},
	{[]string{"sid", "sess", "session"}, column{"SID", func(_ *view, p *Process) string { return strconv.Itoa(p.Session) }}},
	{[]string{"user", "euser", "uname", "ruser"}, column{"USER", func(v *view, p *Process) string { return v.user(p.UID) }}},
	{[]string{"uid", "euid", "ruid"}, column{"UID", func(_ *view, p *Process) string { return numeric(p.UID) }}},
	{[]string{"group", "egroup", "rgroup"}, column{"GROUP", func(v *view, p *Process) string { return v.group(p.GID) }}},
	{[]string{"gid", "egid", "rgid"}, column{"GID", func(_ *view, p *Process) string { return numeric(p.GID) }}},
	{[]string{"comm", "ucmd", "ucomm", "exe"}, column{"COMMAND", func(_ *view, p *Process) string { return p.Name }}},
	{[]string{"args", "cmd", "command"}, column{"COMMAND", func(_ *view, p *Process) string { return p.Command() }}},
	{[]string{"pcpu", "%cpu"}, column{"%CPU", func(v *view, p *Process) string { return fmt.Sprintf("%.1f", v.share(p)) }}},
	{[]string{"c", "cp"}, column{"C", func(v *view, p *Process) string { return strconv.Itoa(int(v.share(p))) }}},
	{[]string{"pmem", "%mem"}, column{"%MEM", func(v *view, p *Process) string { return fmt.Sprintf("%.1f", v.memoryShare(p)) }}},
	{[]string{"rss", "rssize", "rsz"}, column{"RSS", func(_ *view, p *Process) string { return strconv.FormatUint(p.Resident/1024, 10) }}},
	{[]string{"vsz", "vsize"}, column{"VSZ", func(_ *view, p *Process) string { return strconv.FormatUint(p.Virtual/1024, 10) }}},
	{[]string{"sz"}, column{"SZ", func(_ *view, p *Process) string { return strconv.FormatUint(p.Virtual/uint64(os.Getpagesize()), 10) }}},
	{[]string{"tty", "tt", "tname"}, column{"TTY", func(_ *view, p *Process) string { return terminal(p.TTY) }}},
	{[]string{"stat"}, column{"STAT", func(_ *view, p *Process) string { return p.stat() }}},
	{[]string{"s", "state"}, column{"S", func(_ *view, p *Process) string { return string(p.State) }}},
	{[]string{"time", "cputime"}, column{"TIME", func(_ *view, p *Process) string { return clock(p.time(), false) }}},
	{[]string{"bsdtime"}, column{"TIME", func(_ *view, p *Process) string { return clock(p.time(), true) }}},
	{[]string{"etime"}, column{"ELAPSED", func(v *view, p *Process) string { return elapsed(v.now.Sub(v.started(p))) }}},
	{[]string{"etimes"}, column{"ELAPSED", func(v *view, p *Process) string { return strconv.Itoa(int(v.now.Sub(v.started(p)).Seconds())) }}},
	{[]string{"stime", "start", "start_time", "bsdstart"}, column{"STIME", func(v *view, p *Process) string { return v.since(p) }}},
	{[]string{"lstart"}, column{"STARTED", func(v *view, p *Process) string { return v.started(p).Format(time.ANSIC) }}},
	{[]string{"ni", "nice"}, column{"NI", func(_ *view, p *Process) string { return strconv.Itoa(p.Nice) }}},
	{[]string{"pri"}, column{"PRI", func(_ *view, p *Process) string { return strconv.Itoa(39 - p.Priority) }}},
	{[]string{"opri", "priority"}, column{"PRI", func(_ *view, p *Process) string { return strconv.Itoa(60 + p.Priority) }}},
	{[]string{"nlwp", "thcount"}, column{"NLWP", func(_ *view, p *Process) string { return strconv.Itoa(p.Threads) }}},
	{[]string{"psr"}, column{"PSR", func(_ *view, p *Process) string { return strconv.Itoa(p.CPU) }}},
	{[]string{"f", "flag", "flags"}, column{"F", func(_ *view, p *Process) string { return strconv.FormatUint(p.Flags>>6&7, 8) }}},
	{[]string{"wchan"}, column{"WCHAN", func(_ *view, p *Process) string { return waiting(p.PID) }}},
}

func columnNamed(name string) (column, bool) {
	for _, c := range columns {
		if slices.Contains(c.names, name) {
			return c.column, true
		}
	}
	return column{}, false
}

// time is what the process used itself.
func (p *Process) time() time.Duration { return time.Duration(p.User+p.System) * time.Second / ticks }

func (v *view) started(p *Process) time.Time {
	return v.boot.Add(time.Duration(p.Start) * time.Second / ticks)
}

// share of one processor over the life of the process, in percent, as ps has it.
func (v *view) share(p *Process) float64 {
	life := v.now.Sub(v.started(p))
	if life <= 0 {
		return 0
	}
	return 100 * float64(p.time()) / float64(life)
}

func (v *view) memoryShare(p *Process) float64 {
	if v.memory == 0 {
		return 0
	}
	return 100 * float64(p.Resident) / float64(v.memory)
}

// since: the time of day for a process of today, the day for one of this year.
func (v *view) since(p *Process) string {
	at, now := v.started(p).Local(), v.now.Local()
	switch {
	case at.YearDay() == now.YearDay() && at.Year() == now.Year():
		return at.Format("15:04")
	case at.Year() == now.Year():
		return at.Format("Jan02")
	}
	return at.Format("2006")
}

// terminal reads a device number, see proc_pid_stat(5).
func terminal(device uint64) string {
	if device == 0 {
		return "?"
	}
	const pts = 136 // to 143
	major, minor := uint64(unix.Major(device)), uint64(unix.Minor(device))
	switch {
	case major >= pts && major < pts+8:
		return "pts/" + strconv.FormatUint((major-pts)<<8+minor, 10)
	case major == 4:
		return "tty" + strconv.FormatUint(minor, 10)
	}
	return fmt.Sprintf("%d:%d", major, minor)
}

// stat is the state with what ps adds to it.
func (p *Process) stat() string {
	text := string(p.State)
	switch {
	case p.Nice < 0:
		text += "<"
	case p.Nice > 0:
		text += "N"
	}
	if p.Session == p.PID {
		text += "s"
	}
	if p.Threads > 1 {
		text += "l"
	}
	return text
}

// clock is 01:02:03, or 62:03 as BSD has it.
func clock(d time.Duration, bsd bool) string {
	s := int(d.Seconds())
	if bsd {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}

// elapsed is [[days-]hours:]minutes:seconds.
func elapsed(d time.Duration) string {
	s := int(max(0, d).Seconds())
	switch days := s / 86400; {
	case days > 0:
		return fmt.Sprintf("%d-%02d:%02d:%02d", days, s/3600%24, s/60%60, s%60)
	case s >= 3600:
		return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// waiting is the kernel function that a process sleeps in.
func waiting(pid int) string {
	data, err := os.ReadFile(path(pid, "wchan"))
	if err != nil || len(data) == 0 || string(data) == "0" {
		return "-"
	}
	return string(data)
}

// bootTime is when the ticks of /proc began.
func bootTime(now time.Time) time.Time {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return now
	}
	return now.Add(-time.Duration(ts.Nano()))
}

// numeric: ids as they are.
func numeric(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

// titled gives the columns of a ready-made layout their titles there.
func titled(title, name string) column {
	c, _ := columnNamed(name)
	c.title = title
	return c
}
