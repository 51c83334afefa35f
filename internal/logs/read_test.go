package logs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// line is an entry of a second of 2026.
func line(stream string, second int, text string) string {
	at := time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC)
	e, _ := newEncoder(nil)
	s := stdout
	if stream == Stderr {
		s = stderr
	}
	whole := strings.HasSuffix(text, "\n")
	return string(e.append(nil, s, at, []byte(strings.TrimSuffix(text, "\n")), whole))
}

func second(n int) time.Time { return time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC) }

// files makes a log of files, the first packed when pack is set.
func files(t testing.TB, pack bool, contents ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i, content := range contents {
		n := numbered{number: i + 4}
		if err := os.WriteFile(n.path(dir), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if !pack || i == len(contents)-1 {
			continue
		}
		if _, err := packFile(dir, n, new(atomic.Bool)); err != nil {
			t.Fatal(err)
		}
		os.Remove(n.path(dir))
		os.Rename(n.path(dir)+temporarySuffix, numbered{number: n.number, packed: true}.path(dir))
	}
	return dir
}

func TestTail(t *testing.T) {
	chunked := line(Stdout, 1, "first\n") + line(Stdout, 2, "lo") + line(Stdout, 2, "ng\n") + line(Stdout, 3, "last\n")
	mixed := line(Stdout, 1, "a\n") + line(Stdout, 2, "lo") + line(Stderr, 2, "err\n") + line(Stdout, 2, "ng\n")
	open := line(Stdout, 1, "a\n") + line(Stdout, 2, "prompt") + line(Stderr, 3, "err\n")
	for _, test := range []struct {
		name  string
		files []string
		tail  int
		want  string
	}{
		{"all", []string{chunked}, All, "first\nlong\nlast\n"},
		{"none", []string{chunked}, 0, ""},
		{"one", []string{chunked}, 1, "last\n"},
		{"a line in pieces is one", []string{chunked}, 2, "long\nlast\n"},
		{"as many as there are", []string{chunked}, 3, "first\nlong\nlast\n"},
		{"more than there are", []string{chunked}, 9, "first\nlong\nlast\n"},
		{"other stream between", []string{mixed}, 2, "loerr\nng\n"},
		{"other stream between, all", []string{mixed}, 3, "a\nloerr\nng\n"},
		{"unfinished line counts", []string{open}, 2, "prompterr\n"},
		{"unfinished line of another stream", []string{open}, 1, "err\n"},
		{"across files", []string{line(Stdout, 1, "a\n") + line(Stdout, 1, "b\n"), line(Stdout, 2, "c\n")}, 2, "b\nc\n"},
		{"at the border of files", []string{line(Stdout, 1, "a\n"), line(Stdout, 2, "c\n")}, 1, "c\n"},
		{"a line across files", []string{line(Stdout, 1, "a\n") + line(Stdout, 1, "b"), line(Stdout, 2, "c\n")}, 1, "bc\n"},
		{"empty last file", []string{line(Stdout, 1, "a\n") + line(Stdout, 1, "b\n"), ""}, 1, "b\n"},
		{"none, empty last file", []string{line(Stdout, 1, "a\n"), ""}, 0, ""},
		{"torn end", []string{chunked + `{"log":"x`}, 1, "last\n"},
		{"corrupt line", []string{line(Stdout, 1, "a\n") + "junk\n" + line(Stdout, 1, "b\n")}, 2, "a\nb\n"},
		{"no file", nil, 5, ""},
		{"empty file", []string{""}, 5, ""},
	} {
		for _, pack := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/packed=%v", test.name, pack), func(t *testing.T) {
				dir := files(t, pack, test.files...)
				if got := read(t, dir, ReadOptions{Tail: test.tail}); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			})
		}
	}
}

func TestTailDoesNotReadAll(t *testing.T) {
	// A sparse file of 1 TiB that ends with two lines: reading it would not end.
	dir := t.TempDir()
	path := filepath.Join(dir, "container.log.1")
	end := "\n" + line(Stdout, 1, "a\n") + line(Stdout, 2, "b\n")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(end), 1<<40); err != nil {
		t.Skipf("no sparse file of this size here: %v", err)
	}
	if got := read(t, dir, ReadOptions{Tail: 1}); got != "b\n" {
		t.Errorf("got %q", got)
	}
}

func TestBackwardsSeesWhatForwardsSees(t *testing.T) {
	var content bytes.Buffer
	for i := range 40 {
		fmt.Fprintf(&content, "%d%s\n", i, strings.Repeat("x", i*i*97%(3*readSize)))
	}
	content.WriteString("long" + strings.Repeat("y", maxLine) + "\nafter\n\n\ntorn")
	for _, size := range []int{content.Len(), content.Len() - 4, readSize, readSize + 1, 2 * readSize, 0, 1} {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, "container.log.1"), content.Bytes()[:size], 0o600)
		l, err := openLines(dir, 1, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		var forwards, reverse []string
		for {
			line, ok, err := l.next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if line != nil {
				forwards = append(forwards, string(line))
			}
		}
		offset := int64(size)
		err = backwards(bytes.NewReader(content.Bytes()[:size]), int64(size), func(line []byte, end int64) bool {
			if end > offset || content.Bytes()[end-1] != '\n' {
				t.Errorf("line at %d ends at %d", offset, end)
			}
			offset = end - int64(len(line)) - 1
			reverse = append([]string{string(line)}, reverse...)
			return true
		})
		if err != nil || strings.Join(forwards, "\n") != strings.Join(reverse, "\n") {
			t.Errorf("size %d: %d lines forwards, %d backwards, %v", size, len(forwards), len(reverse), err)
		}
	}
}

func TestSinceUntil(t *testing.T) {
	content := line(Stdout, 1, "a\n") + line(Stdout, 2, "b\n") + line(Stdout, 3, "c\n") + line(Stdout, 2, "clock went back\n")
	for _, test := range []struct {
		name         string
		since, until int
		tail         int
		want         string
	}{
		{"since", 2, 0, All, "b\nc\nclock went back\n"},
		{"until", 0, 2, All, "a\nb\nclock went back\n"},
		{"both", 3, 3, All, "c\n"},
		{"tail first", 0, 2, 2, "clock went back\n"},
		{"future", 50, 0, All, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := files(t, false, content)
			o := ReadOptions{Tail: test.tail}
			if test.since > 0 {
				o.Since = second(test.since)
			}
			if test.until > 0 {
				o.Until = second(test.until)
			}
			if got := read(t, dir, o); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestSinceSkipsOldFiles(t *testing.T) {
	dir := files(t, false, line(Stdout, 5, "old file\n"), line(Stdout, 6, "new\n"))
	os.Chtimes(filepath.Join(dir, "container.log.4"), second(1), second(1))
	if got := read(t, dir, ReadOptions{Tail: All, Since: second(3)}); got != "new\n" {
		t.Errorf("got %q", got)
	}
	if got := read(t, dir, ReadOptions{Tail: All, Since: second(2)}); got != "old file\nnew\n" {
		t.Errorf("got %q: a file clock may be a little behind", got)
	}
}

func TestBadFiles(t *testing.T) {
	a, b := line(Stdout, 1, "a\n"), line(Stderr, 2, "b\n")
	for _, test := range []struct {
		name, content, want string
		corrupt             int
	}{
		{"torn end", a + `{"log":"b`, "a\n", 0},
		{"torn before the newline", a + strings.TrimSuffix(b, "\n"), "a\nb\n", 0},
		{"junk between", a + "junk\n\n\x00\x00\n" + b, "a\nb\n", 3},
		{"zeros at the end", a + strings.Repeat("\x00", 4096), "a\n", 0},
		{"endless junk", a + strings.Repeat("x", 3*maxLine) + "\n" + b, "a\nb\n", 1},
		{"other order of keys", `{"time":"2026-01-01T00:00:00+01:00","stream":"stdout","log":"q\n"}` + "\n" + b, "q\nb\n", 0},
		{"unknown keys", `{"log":"q\n","stream":"stdout","x":[1],"time":"2026-01-01T00:00:00Z"}` + "\n" + b, "q\nb\n", 0},
		{"no time", `{"log":"q\n","stream":"stdout"}` + "\n" + b, "b\n", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := files(t, false, test.content)
			var out bytes.Buffer
			sum, err := Read(t.Context(), dir, ReadOptions{Tail: All}, &Printer{Out: &out, Err: &out})
			if err != nil || out.String() != test.want || sum.Corrupt != test.corrupt {
				t.Errorf("got %q, %+v, %v; want %q, %d corrupt", out.String(), sum, err, test.want, test.corrupt)
			}
		})
	}
}

func TestDamagedPackedFile(t *testing.T) {
	dir := files(t, true, line(Stdout, 1, "a\n"), line(Stdout, 2, "b\n"))
	path := filepath.Join(dir, "container.log.4.gz")
	packed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(path, packed[:len(packed)-6], 0o600)
	var out bytes.Buffer
	sum, err := Read(t.Context(), dir, ReadOptions{Tail: All}, &Printer{Out: &out, Err: &out})
	if err != nil || !strings.HasSuffix(out.String(), "b\n") || sum.Corrupt != 1 {
		t.Errorf("got %q, %+v, %v", out.String(), sum, err)
	}
}

func TestPrinterKeepsStreamsApart(t *testing.T) {
	dir := files(t, false, line(Stdout, 1, "lo")+line(Stderr, 1, "err\n")+line(Stdout, 1, "ng\n")+line(Stderr, 2, "x\n"))
	var out, errs bytes.Buffer
	if _, err := Read(t.Context(), dir, ReadOptions{Tail: All}, &Printer{Out: &out, Err: &errs, Timestamps: true}); err != nil {
		t.Fatal(err)
	}
	const one, two = "2026-01-01T00:00:01.000000000Z ", "2026-01-01T00:00:02.000000000Z "
	if out.String() != one+"long\n" || errs.String() != one+"err\n"+two+"x\n" {
		t.Errorf("got %q and %q", out.String(), errs.String())
	}
}

func TestDetailsWithoutAttributes(t *testing.T) {
	dir := files(t, false, line(Stdout, 1, "a\n"))
	var out bytes.Buffer
	if _, err := Read(t.Context(), dir, ReadOptions{Tail: All}, &Printer{Out: &out, Err: &out, Details: true}); err != nil {
		t.Fatal(err)
	}
	if out.String() != " a\n" {
		t.Errorf("got %q", out.String())
	}
}

// shared is a buffer that one goroutine fills and another looks at.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *shared) await(t *testing.T, want string) time.Duration {
	t.Helper()
	start := time.Now()
	for s.String() != want {
		if time.Since(start) > 5*time.Second {
			t.Fatalf("got %q, want %q", s.String(), want)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(start)
}

func TestFollow(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	var out shared
	var ended atomic.Bool
	done := make(chan error)
	go func() {
		// The log is not even there yet.
		_, err := Read(context.Background(), dir, ReadOptions{Follow: true, Tail: All, Alive: func() bool { return !ended.Load() }}, &Printer{Out: &out, Err: io.Discard})
		done <- err
	}()
	time.Sleep(30 * time.Millisecond)
	w := mustOpen(t, dir, mustParse(t, ""))
	fmt.Fprintln(w.Stream(Stdout), "a")
	out.await(t, "a\n")
	time.Sleep(30 * time.Millisecond)
	fmt.Fprintln(w.Stream(Stdout), "b")
	if late := out.await(t, "a\nb\n"); late > 50*time.Millisecond {
		t.Errorf("a line was shown after %v", late)
	}
	fmt.Fprint(w.Stream(Stdout), "last")
	w.Close()
	ended.Store(true)
	if err := <-done; err != nil || out.String() != "a\nb\nlast" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestFollowEndsWithContext(t *testing.T) {
	dir := files(t, false, line(Stdout, 1, "a\n"))
	ctx, cancel := context.WithCancel(t.Context())
	var out shared
	done := make(chan error)
	go func() {
		_, err := Read(ctx, dir, ReadOptions{Follow: true, Tail: All}, &Printer{Out: &out, Err: &out})
		done <- err
	}()
	out.await(t, "a\n")
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("got %v", err)
	}
}

func TestFollowUntil(t *testing.T) {
	dir := files(t, false, line(Stdout, 1, "a\n"))
	start := time.Now()
	got := read(t, dir, ReadOptions{Follow: true, Tail: All, Until: start.Add(60 * time.Millisecond)})
	if took := time.Since(start); got != "a\n" || took < 50*time.Millisecond || took > 2*time.Second {
		t.Errorf("got %q after %v", got, took)
	}
	if got := read(t, dir, ReadOptions{Follow: true, Tail: All, Until: second(0)}); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestFollowTornLineThatIsReplaced(t *testing.T) {
	dir := files(t, false, line(Stdout, 1, "a\n")+`{"log":"torn`)
	path := filepath.Join(dir, "container.log.4")
	var out shared
	done := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := Read(ctx, dir, ReadOptions{Follow: true, Tail: All}, &Printer{Out: &out, Err: &out})
		done <- err
	}()
	out.await(t, "a\n")
	// As a writer does after a full disk, in one step for the reader.
	full := line(Stdout, 1, "a\n") + line(Stdout, 2, strings.Repeat("b", 100)+"\n")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteAt([]byte(full), 0)
	out.await(t, "a\n"+strings.Repeat("b", 100)+"\n")
	cancel()
	<-done
}

func TestReadEndsThoughTheLogGrows(t *testing.T) {
	dir := t.TempDir()
	w := mustOpen(t, dir, mustParse(t, ""))
	fmt.Fprintln(w.Stream(Stdout), "a")
	// Each entry that is read makes another one.
	n := 0
	h := handle(func(*Entry) error {
		n++
		fmt.Fprintln(w.Stream(Stdout), strings.Repeat("more", 100))
		return nil
	})
	if _, err := Read(t.Context(), dir, ReadOptions{Tail: All}, h); err != nil || n != 1 {
		t.Errorf("%d entries, %v", n, err)
	}
}

type handle func(*Entry) error

func (h handle) Entry(e *Entry) error { return h(e) }
func (h handle) Flush() error         { return nil }

func TestHandlerEndsReading(t *testing.T) {
	dir := files(t, false, line(Stdout, 1, "a\n"))
	_, err := Read(t.Context(), dir, ReadOptions{Tail: All}, handle(func(*Entry) error { return io.ErrClosedPipe }))
	if err != io.ErrClosedPipe {
		t.Errorf("got %v", err)
	}
}
