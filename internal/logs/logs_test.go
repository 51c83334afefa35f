package logs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func mustParse(t testing.TB, driver string, options ...string) Config {
	t.Helper()
	m := map[string]string{}
	for _, o := range options {
		key, value, _ := strings.Cut(o, "=")
		m[key] = value
	}
	c, err := Parse(driver, m)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustOpen(t testing.TB, dir string, c Config) *Writer {
	t.Helper()
	w, err := Open(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// read returns what logs prints, both streams together.
func read(t testing.TB, dir string, o ReadOptions) string {
	t.Helper()
	var out bytes.Buffer
	if _, err := Read(context.Background(), dir, o, &Printer{Out: &out, Err: &out}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// at is a clock that stands still.
func at(t time.Time) clock { return func() time.Time { return t } }

var noon = time.Date(2026, 1, 2, 12, 0, 0, 120_000_000, time.UTC)

func TestLineFormat(t *testing.T) {
	for _, test := range []struct {
		name, write, want string
	}{
		{"plain", "hello\n", `{"log":"hello\n","stream":"stdout","time":"2026-01-02T12:00:00.12Z"}`},
		{"empty line", "\n", `{"log":"\n","stream":"stdout","time":"2026-01-02T12:00:00.12Z"}`},
		{"two lines", "a\nb\n", `{"log":"a\n","stream":"stdout","time":"2026-01-02T12:00:00.12Z"}` + "\n" + `{"log":"b\n","stream":"stdout","time":"2026-01-02T12:00:00.12Z"}`},
		{"no newline at the end", "a", `{"log":"a","stream":"stdout","time":"2026-01-02T12:00:00.12Z"}`},
		{"terminal", "a\r\n", `{"log":"a\r\n","stream":"stdout","time":"2026-01-02T12:00:00.12Z"}`},
		{"controls", "\x00\t\x1b[0m\x7f\n", `{"log":"\u0000\u0009\u001b[0m` + "\x7f" + `\n","stream":"stdout","time":"2026-01-02T12:00:00.12Z"}`},
		{"quotes and HTML", `"\<a>&` + "\n", `{"log":"\"\\\u003ca\u003e\u0026\n","stream":"stdout","time":"2026-01-02T12:00:00.12Z"}`},
		{"invalid UTF-8", "\xff\xe2\x82x€\n", `{"log":"\ufffd\ufffd\ufffdx€\n","stream":"stdout","time":"2026-01-02T12:00:00.12Z"}`},
		{"line separators", "\u2028\u2029\n", `{"log":"\u2028\u2029\n","stream":"stdout","time":"2026-01-02T12:00:00.12Z"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			w, err := open(dir, mustParse(t, ""), "", at(noon))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(w.Stream(Stdout), test.write)
			w.Close()
			got, err := os.ReadFile(Path(dir))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want+"\n" {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestAttributesInEachLine(t *testing.T) {
	c := mustParse(t, JSONFile, "labels=app,none", "env-regex=^VER", "tag={{.Name}}/{{.ID}}")
	c, err := c.For(Container{ID: strings.Repeat("ab", 32), Name: "web",
		Labels: map[string]string{"app": "a<b", "other": "x"}, Env: []string{"VERSION=1", "HOME=/"}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w, err := open(dir, c, "", at(noon))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w.Stream(Stderr), "x")
	w.Close()
	got, _ := os.ReadFile(Path(dir))
	want := `{"log":"x\n","stream":"stderr","attrs":{"VERSION":"1","app":"a\u003cb","tag":"web/abababababab"},"time":"2026-01-02T12:00:00.12Z"}` + "\n"
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	var out, errs bytes.Buffer
	p := &Printer{Out: &out, Err: &errs, Details: true, Timestamps: true}
	if _, err := Read(t.Context(), dir, ReadOptions{Tail: All}, p); err != nil {
		t.Fatal(err)
	}
	if want := "2026-01-02T12:00:00.120000000Z VERSION=1,app=a%3Cb,tag=web%2Fabababababab x\n"; errs.String() != want || out.Len() > 0 {
		t.Errorf("printed %q and %q, want %q", out.String(), errs.String(), want)
	}
}

func TestLongLineComesInChunks(t *testing.T) {
	for _, test := range []struct {
		name   string
		write  []string
		chunks []int // lengths of the entries, newline counted
	}{
		{"one byte below", []string{strings.Repeat("x", maxChunk-1) + "\n"}, []int{maxChunk}},
		{"exactly", []string{strings.Repeat("x", maxChunk) + "\n"}, []int{maxChunk, 1}},
		{"two and a bit", []string{strings.Repeat("x", 2*maxChunk+5) + "\nab\n"}, []int{maxChunk, maxChunk, 6, 3}},
		{"in small writes", strings.SplitAfter(strings.Repeat("123456789,", maxChunk/10+7)+"\n", ","), []int{maxChunk, (maxChunk/10+7)*10 - maxChunk + 1}},
		{"character across the cut", []string{strings.Repeat("x", maxChunk-1) + "€uro\n"}, []int{maxChunk - 1, 7}},
		{"character across the cut, in small writes", []string{strings.Repeat("x", maxChunk-1), "\xe2", "\x82", "\xacuro\n"}, []int{maxChunk - 1, 7}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			w := mustOpen(t, dir, mustParse(t, ""))
			for _, s := range test.write {
				fmt.Fprint(w.Stream(Stdout), s)
			}
			w.Close()
			var got collected
			if _, err := Read(t.Context(), dir, ReadOptions{Tail: All}, &got); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got.lengths) != fmt.Sprint(test.chunks) {
				t.Errorf("entries of %v bytes, want %v", got.lengths, test.chunks)
			}
			if want := strings.Join(test.write, ""); got.text.String() != want {
				t.Errorf("text differs: %d bytes, want %d", got.text.Len(), len(want))
			}
		})
	}
}

type collected struct {
	lengths []int
	text    strings.Builder
	times   []time.Time
}

func (c *collected) Entry(e *Entry) error {
	c.lengths = append(c.lengths, len(e.Text))
	c.times = append(c.times, e.Time)
	c.text.Write(e.Text)
	return nil
}

func (c *collected) Flush() error { return nil }

func TestCopy(t *testing.T) {
	dir := t.TempDir()
	w := mustOpen(t, dir, mustParse(t, ""))
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- w.Copy(Stdout, r) }()
	fmt.Fprint(out, "a\nb")
	// A line is there at once, not when a buffer is full.
	for start := time.Now(); read(t, dir, ReadOptions{Tail: All}) != "a\n"; time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Second {
			t.Fatal("line not visible")
		}
	}
	out.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir, ReadOptions{Tail: All}); got != "a\nb" {
		t.Errorf("got %q", got)
	}
}

func TestCopyEndsWithDeadline(t *testing.T) {
	w := mustOpen(t, t.TempDir(), mustParse(t, None))
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close() // held, as by a process outside the pid namespace
	r.SetReadDeadline(time.Now())
	if err := w.Copy(Stderr, r); err != nil {
		t.Fatal(err)
	}
}

func TestNoneWritesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	c := mustParse(t, None)
	w := mustOpen(t, dir, c)
	fmt.Fprintln(w.Stream(Stdout), "x")
	w.Close()
	if _, err := os.Stat(dir); err == nil || c.InFiles() {
		t.Error("driver none left a file")
	}
}

func TestResumeBehindTornLine(t *testing.T) {
	for _, test := range []struct{ name, file, want string }{
		{"whole", `{"log":"a\n","stream":"stdout","time":"2026-01-02T12:00:00Z"}` + "\n", "a\nnew\n"},
		{"torn", `{"log":"a\n","stream":"stdout","time":"2026-01-02T12:00:00Z"}` + "\n" + `{"log":"b\n","str`, "a\nnew\n"},
		{"only torn", `{"log":"b`, "new\n"},
		{"zeros after power loss", `{"log":"a\n","stream":"stdout","time":"2026-01-02T12:00:00Z"}` + "\n" + strings.Repeat("\x00", 5000), "a\nnew\n"},
		{"long junk", strings.Repeat("\x00", maxLine+10), "new\n"},
		{"empty", "", "new\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "container.log.3"), []byte(test.file), 0o600); err != nil {
				t.Fatal(err)
			}
			w := mustOpen(t, dir, mustParse(t, ""))
			fmt.Fprintln(w.Stream(Stdout), "new")
			w.Close()
			if got := read(t, dir, ReadOptions{Tail: All}); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestFilesAreTheUsersOwn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "log")
	w := mustOpen(t, dir, mustParse(t, ""))
	fmt.Fprintln(w.Stream(Stdout), "x")
	for path, want := range map[string]os.FileMode{dir: 0o700, Path(dir): 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", path, info.Mode().Perm(), err, want)
		}
	}
}

func TestNonBlockingDropsAndGoesOn(t *testing.T) {
	q := newQueue(10)
	q.put(stdout, []byte("12345"))
	q.put(stdout, []byte("123456\n")) // does not fit
	q.put(stdout, []byte("x\n"))
	q.put(stderr, []byte("y\n"))
	var got []string
	go q.close()
	q.run(func(s stream, p []byte) { got = append(got, fmt.Sprintf("%v %q", s, p)) })
	want := `[stdout "12345" stdout "" stdout "x\n" stderr "y\n"]`
	if fmt.Sprint(got) != want || q.lost() != 1 {
		t.Errorf("got %v and %d lost, want %v and 1", got, q.lost(), want)
	}
}

func TestNonBlocking(t *testing.T) {
	dir := t.TempDir()
	w := mustOpen(t, dir, mustParse(t, JSONFile, "mode=non-blocking", "max-buffer-size=1m"))
	fmt.Fprintln(w.Stream(Stdout), "a")
	fmt.Fprint(w.Stream(Stdout), "b")
	w.Close()
	if got := read(t, dir, ReadOptions{Tail: All}); got != "a\nb" {
		t.Errorf("got %q", got)
	}
}
