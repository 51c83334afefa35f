package logs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMain lets a test run the writer alone in a process, as in a supervisor:
// only so its memory can be measured.
func TestMain(m *testing.M) {
	switch os.Getenv("LOGS_TEST_ROLE") {
	case "writer":
		os.Exit(writerProcess())
	case "full disk":
		os.Exit(fullDiskProcess())
	}
	os.Exit(m.Run())
}

func writerProcess() int {
	options := map[string]string{}
	for o := range strings.FieldsSeq(os.Getenv("LOGS_TEST_OPTIONS")) {
		key, value, _ := strings.Cut(o, "=")
		options[key] = value
	}
	c, err := Parse("", options)
	if err != nil {
		return 2
	}
	w, err := Open(os.Getenv("LOGS_TEST_DIR"), c)
	if err != nil {
		return 3
	}
	before := peak()
	start := time.Now()
	if err := w.Copy(Stdout, os.Stdin); err != nil {
		return 4
	}
	took := time.Since(start)
	w.Close()
	fmt.Println(before, peak(), took.Milliseconds())
	return 0
}

// peak is the most memory this process had, in kB.
func peak() int {
	status, _ := os.ReadFile("/proc/self/status")
	found := regexp.MustCompile(`VmHWM:\s+(\d+)`).FindSubmatch(status)
	if found == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(found[1]))
	return n
}

// TestGigabyte is F35, F36 and F37: a gigabyte in lines or in one, nobody
// reading or someone who reads nothing, within 64 MiB of memory. The plain cases
// take the gigabyte, their variants four times the memory.
func TestGigabyte(t *testing.T) {
	for _, test := range []struct {
		name    string
		content []byte
		options string
	}{
		{"lines", []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 640)), "max-size=20m max-file=3"},
		{"one line", []byte(strings.Repeat("x", 64000)), "max-size=20m max-file=3"},
		{"one line of what must be escaped", []byte(strings.Repeat("\x01\xff", 32000)), "max-size=20m max-file=3"},
		{"lines, packed", []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 640)), "max-size=20m max-file=3 compress=true"},
		{"lines, non-blocking", []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 640)), "max-size=20m max-file=3 mode=non-blocking"},
	} {
		t.Run(test.name, func(t *testing.T) {
			size := 256 << 20
			if test.name == "lines" || test.name == "one line" {
				size = 1 << 30
			}
			if testing.Short() {
				size = 64 << 20
			}
			dir := t.TempDir()
			defer hold(dir).release(ReadOptions{}) // a reader that reads nothing
			child := exec.Command(os.Args[0], "-test.run=^$")
			child.Env = append(os.Environ(), "LOGS_TEST_ROLE=writer", "LOGS_TEST_DIR="+dir, "LOGS_TEST_OPTIONS="+test.options)
			child.Stderr = os.Stderr
			var out bytes.Buffer
			child.Stdout = &out
			in, err := child.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			for sent := 0; sent < size; sent += len(test.content) {
				if _, err := in.Write(test.content); err != nil {
					t.Fatal(err)
				}
			}
			in.Close()
			if err := child.Wait(); err != nil {
				t.Fatal(err)
			}
			var before, after, ms int
			fmt.Sscan(out.String(), &before, &after, &ms)
			t.Logf("%d MB/s, memory %.1f MiB, %.1f more than before", size/1000/max(ms, 1), float64(after)/1024, float64(after-before)/1024)
			if after > 64<<10 || after == 0 {
				t.Errorf("%d kB of memory", after)
			}
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	for name, content := range map[string]string{
		"100": strings.Repeat(strings.Repeat("x", 99)+"\n", 640),
		"10":  strings.Repeat("xxxxxxxxx\n", 6400),
		"20k": strings.Repeat(strings.Repeat("x", 20000)+"\n", 3),
		"utf": strings.Repeat(strings.Repeat("äöü", 20)+"\n", 640),
	} {
		b.Run(name, func(b *testing.B) {
			w := mustOpen(b, b.TempDir(), mustParse(b, "", "max-size=10m"))
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				io.WriteString(w.Stream(Stdout), content)
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	text := []byte(strings.Repeat("hello, world of logs ", 5))
	e, _ := newEncoder(nil)
	var dst []byte
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		dst = e.append(dst[:0], stdout, noon, text, true)
	}
}

func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	w := mustOpen(b, dir, mustParse(b, ""))
	content := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 640))
	const batches = 500
	for range batches {
		w.Stream(Stdout).Write(content)
	}
	w.Close()
	b.SetBytes(int64(len(content)) * batches)
	b.ResetTimer()
	for b.Loop() {
		if _, err := Read(context.Background(), dir, ReadOptions{Tail: All}, &Printer{Out: io.Discard, Err: io.Discard, Timestamps: true}); err != nil {
			b.Fatal(err)
		}
	}
}
