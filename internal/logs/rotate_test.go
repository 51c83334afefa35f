package logs

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func names(t *testing.T, dir string) string {
	t.Helper()
	files, err := list(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range files {
		all = append(all, strings.TrimPrefix(f.name(), currentName+"."))
	}
	return strings.Join(all, " ")
}

func TestRotation(t *testing.T) {
	for _, test := range []struct {
		name    string
		options []string
		want    string // files
		text    string
	}{
		{"none", nil, "1", "0 1 2 3 4 5 6 7 8 9"},
		{"one file", []string{"max-size=130"}, "5", "8 9"},
		{"three files", []string{"max-size=130", "max-file=3"}, "3 4 5", "4 5 6 7 8 9"},
		{"more files than needed", []string{"max-size=130", "max-file=30"}, "1 2 3 4 5", "0 1 2 3 4 5 6 7 8 9"},
		{"an entry per file", []string{"max-size=1", "max-file=2"}, "9 10", "8 9"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			c := mustParse(t, "", test.options...)
			w, err := open(dir, c, "", at(noon))
			if err != nil {
				t.Fatal(err)
			}
			// In one batch: the limit holds inside it too.
			fmt.Fprint(w.Stream(Stdout), "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n")
			w.Close()
			if got := names(t, dir); got != test.want {
				t.Errorf("files %s, want %s", got, test.want)
			}
			if got := strings.Join(strings.Fields(read(t, dir, ReadOptions{Tail: All})), " "); got != test.text {
				t.Errorf("text %s, want %s", got, test.text)
			}
			if to, err := os.Readlink(Path(dir)); err != nil || !strings.HasSuffix(test.want, strings.TrimPrefix(to, currentName+".")) {
				t.Errorf("link to %q, %v", to, err)
			}
		})
	}
}

func TestCompression(t *testing.T) {
	dir := t.TempDir()
	w := mustOpen(t, dir, mustParse(t, "", "max-size=10k", "max-file=4", "compress=true"))
	var want strings.Builder
	for i := range 1000 {
		fmt.Fprintln(w.Stream(Stdout), "line", i)
		fmt.Fprintln(&want, "line", i)
	}
	for start := time.Now(); strings.Count(names(t, dir), ".gz") != 3; time.Sleep(time.Millisecond) {
		if time.Since(start) > 5*time.Second {
			t.Fatalf("files %s: not packed", names(t, dir))
		}
	}
	w.Close()
	got := read(t, dir, ReadOptions{Tail: All})
	if got == "" || !strings.HasSuffix(want.String(), got) {
		t.Errorf("got %d bytes that are not the end of what was written", len(got))
	}
	if got := read(t, dir, ReadOptions{Tail: 400}); !strings.HasPrefix(got, "line 600\n") || !strings.HasSuffix(want.String(), got) {
		t.Errorf("tail begins with %.20q", got)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 5 {
		t.Errorf("%v left", entries)
	}
}

func TestLeftoversOfAKilledWriter(t *testing.T) {
	dir := files(t, true, line(Stdout, 1, "a\n"), line(Stdout, 2, "b\n"), line(Stdout, 3, "c\n"))
	// Killed between the two steps that end a compression, in one, and at the link.
	plain := line(Stdout, 2, "b\n")
	os.WriteFile(numbered{number: 5}.path(dir), []byte(plain), 0o600)
	os.WriteFile(numbered{number: 6}.path(dir)+temporarySuffix, []byte("x"), 0o600)
	os.Symlink("container.log.6", Path(dir)+temporarySuffix)
	if got := read(t, dir, ReadOptions{Tail: All}); got != "a\nb\nc\n" {
		t.Errorf("got %q", got)
	}
	w := mustOpen(t, dir, mustParse(t, "", "max-size=1", "max-file=2"))
	fmt.Fprintln(w.Stream(Stdout), "d")
	w.Close()
	if got := read(t, dir, ReadOptions{Tail: All}); got != "c\nd\n" {
		t.Errorf("got %q", got)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 3 {
		t.Errorf("left: %v", entries)
	}
}

// TestFollowAcrossRotation is F38: a follower of a log that rotates as fast as
// it can sees each line once, in order, packed or not.
func TestFollowAcrossRotation(t *testing.T) {
	lines := 200_000
	if testing.Short() {
		lines = 30_000
	}
	for _, options := range [][]string{
		{"max-size=10k", "max-file=3"},
		{"max-size=10k"},
		{"max-size=100k", "max-file=3", "compress=true"},
	} {
		t.Run(strings.Join(options, ","), func(t *testing.T) {
			dir := t.TempDir()
			w := mustOpen(t, dir, mustParse(t, "", options...))
			fmt.Fprintln(w.Stream(Stdout), 0)
			var ended atomic.Bool
			r, out := io.Pipe()
			var sum Summary
			var readers sync.WaitGroup
			readers.Add(1)
			started := make(chan bool, 1)
			go func() {
				defer readers.Done()
				var err error
				p := &Printer{Out: out, Err: out}
				sum, err = Read(context.Background(), dir, ReadOptions{Follow: true, Tail: All, Alive: func() bool { return !ended.Load() }}, p)
				out.CloseWithError(err)
			}()
			next := 0
			readers.Add(1)
			go func() {
				defer readers.Done()
				s := bufio.NewScanner(r)
				for ; s.Scan(); next++ {
					if n, err := strconv.Atoi(s.Text()); err != nil || n != next {
						t.Errorf("line %d came as %q", next, s.Text())
						r.CloseWithError(io.ErrClosedPipe)
						return
					}
					if next == 0 {
						started <- true
					}
				}
			}()
			<-started
			var batch bytes.Buffer
			for i := 1; i < lines; i++ {
				fmt.Fprintln(&batch, i)
				if i%37 == 0 || i == lines-1 {
					w.Stream(Stdout).Write(batch.Bytes())
					batch.Reset()
				}
			}
			w.Close()
			ended.Store(true)
			readers.Wait()
			if next != lines || sum.Lost > 0 || sum.Corrupt > 0 {
				t.Errorf("%d lines of %d, %+v", next, lines, sum)
			}
		})
	}
}

func TestKeptForFollowersOnlyWithinBounds(t *testing.T) {
	dir := t.TempDir()
	w := mustOpen(t, dir, mustParse(t, "", "max-size=4m", "max-file=2"))
	follower := hold(dir) // a follower that stands still
	chunk := []byte(strings.Repeat("x", 1000) + "\n")
	for range 120 << 10 {
		w.Stream(Stdout).Write(chunk)
	}
	var size int64
	files, _ := list(dir)
	for _, f := range files {
		size += f.size
	}
	if size < maxKeptBytes || size > maxKeptBytes+3*(4<<20) {
		t.Errorf("%d bytes kept for a follower", size)
	}
	follower.release(ReadOptions{})
	w.Close()
	if got := names(t, dir); strings.Count(got, " ") != 1 {
		t.Errorf("files %s left without a follower", got)
	}
}

func TestFollowerThatFellBehind(t *testing.T) {
	dir := files(t, false, line(Stdout, 1, "a\n"), line(Stdout, 2, "b\n"), line(Stdout, 3, "c\n"), line(Stdout, 4, "d\n"))
	var got []string
	sum, err := Read(t.Context(), dir, ReadOptions{Tail: All}, handle(func(e *Entry) error {
		if len(got) == 0 { // the lock ignored, as on a file system without
			os.Remove(numbered{number: 5}.path(dir))
			os.Remove(numbered{number: 6}.path(dir))
		}
		got = append(got, string(e.Text))
		return nil
	}))
	if err != nil || strings.Join(got, "") != "a\nd\n" || sum.Lost != 2 {
		t.Errorf("got %q, %+v, %v", got, sum, err)
	}
}

// TestKeptForFollowersGoesWithTheLast: the container ended while they read.
func TestKeptForFollowersGoesWithTheLast(t *testing.T) {
	dir := t.TempDir()
	config := mustParse(t, "", "max-size=4k", "max-file=2")
	w := mustOpen(t, dir, config)
	first, second := hold(dir), hold(dir)
	for range 64 {
		w.Stream(Stdout).Write([]byte(strings.Repeat("x", 1000) + "\n"))
	}
	w.Close()
	ended := ReadOptions{Keep: config.Kept(), Alive: func() bool { return false }}
	running := ReadOptions{Keep: config.Kept(), Alive: func() bool { return true }}
	for _, step := range []struct {
		leave func()
		few   bool
	}{{func() { first.release(ended) }, false}, {func() { second.release(running) }, false}, {func() { hold(dir).release(ended) }, true}} {
		step.leave()
		if got := len(strings.Fields(names(t, dir))); got <= 2 != step.few {
			t.Errorf("%d files, few: %v", got, step.few)
		}
	}
	if got := read(t, dir, ReadOptions{Tail: 1}); len(got) != 1001 {
		t.Errorf("the last line is gone: %q", got)
	}
}
