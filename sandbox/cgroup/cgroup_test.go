package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

func TestGroupOfProcess(t *testing.T) {
	for text, want := range map[string]string{
		"0::/user.slice/a.scope\n": "/user.slice/a.scope",
		"12:pids:/x\n0::/\n":       "/",
		"3:cpu:/x\n":               "",
		"":                         "",
	} {
		file := filepath.Join(t.TempDir(), "cgroup")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := of(file)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestCounters(t *testing.T) {
	if got := value([]byte("low 0\noom 3\noom_kill 2\n"), "oom_kill"); got != 2 {
		t.Errorf("oom_kill %d", got)
	}
	read, written, known := disk("8:0 rbytes=10 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n254:0 rbytes=1 wbytes=2\n")
	if read != 11 || written != 22 || !known {
		t.Errorf("disk %d %d %v", read, written, known)
	}
	if _, _, known := disk(""); known {
		t.Error("an empty file counts something")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "memory.max"), []byte("max\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := number(dir, "memory.max"); n != 0 {
		t.Errorf("max is %d", n)
	}
}

// Without systemd's bus and without a writable group there is no way, and it is said.
func TestNoWay(t *testing.T) {
	if (Way{}).Possible() {
		t.Error("a way from nothing")
	}
	if _, err := (Way{}).Make("0123456789abcdef"); err == nil {
		t.Error("a group was made from nothing")
	}
	if _, err := (Way{Bus: filepath.Join(t.TempDir(), "bus")}).Make("0123456789abcdef"); err == nil {
		t.Error("a scope was made without a bus")
	}
}

func TestRemoveEmptyGoesDown(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "bryo-a-1", "supervisor"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := removeEmpty(filepath.Join(dir, "bryo-a-1")); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left %v", entries)
	}
}
