// Command report reads the event stream of `go test -json` on its input and
// prints what a person wants of it: the line of each package, the output of
// what failed, every skip with its reason, and one closing line with the
// counts. It exits 1 when anything failed and when no test ran at all.
//
// It knows nothing of bryo; the make targets unit and integration pipe into it.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"sort"
	"strings"
)

func main() {
	name := flag.String("name", "tests", "what to call this run in the closing line")
	flag.Parse()
	if !report(os.Stdin, os.Stdout, *name) {
		os.Exit(1)
	}
}

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build-output and build-fail
	Test        string
	Output      string
	FailedBuild string
	Elapsed     float64
}

// key names one test of one package; an empty test is the package itself.
type key struct{ pkg, test string }

type tally struct {
	out                     io.Writer
	output                  map[key][]string
	build                   map[string][]string
	parents                 map[key]bool // tests that have subtests: counted through them
	results                 map[key]string
	skips                   map[string][]string // reason -> tests
	passed, failed, skipped int
	broken                  bool // a package failed outside of any test
}

func report(in io.Reader, out io.Writer, name string) bool {
	t := &tally{out: out, output: map[key][]string{}, build: map[string][]string{},
		parents: map[key]bool{}, results: map[key]string{}, skips: map[string][]string{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			t.line(line)
		}
		if err != nil {
			break
		}
	}
	t.count()
	t.printSkips()
	fmt.Fprintf(out, "%s: %d passed, %d failed, %d skipped\n", name, t.passed, t.failed, t.skipped)
	return t.failed == 0 && !t.broken && t.passed > 0
}

func (t *tally) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		fmt.Fprint(t.out, string(line)) // the go command's own complaints
		return
	}
	k := key{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		t.build[e.ImportPath] = append(t.build[e.ImportPath], e.Output)
	case "output":
		t.output[k] = append(t.output[k], e.Output)
		if e.Test == "" && packageLine(e.Output) {
			fmt.Fprint(t.out, e.Output)
		}
	case "pass", "fail", "skip":
		t.finish(k, e)
	}
}

// packageLine tells the lines that plain `go test` prints for a package that
// has tests.
func packageLine(s string) bool {
	for _, prefix := range []string{"ok  \t", "FAIL\t"} {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

func (t *tally) finish(k key, e event) {
	if k.test == "" {
		if e.Action == "fail" {
			t.broken = true
			for _, line := range t.build[e.FailedBuild] {
				fmt.Fprint(t.out, line)
			}
			t.printOutput(k)
		}
		return
	}
	t.results[k] = e.Action
	if at := strings.LastIndex(k.test, "/"); at > 0 {
		t.parents[key{k.pkg, k.test[:at]}] = true
	}
	switch e.Action {
	case "fail":
		if t.parents[k] {
			return // its cases said it
		}
		fmt.Fprintf(t.out, "--- FAIL: %s %s (%.2fs)\n", k.pkg, k.test, e.Elapsed)
		t.printOutput(k)
	case "skip":
		reason := skipReason(t.output[k])
		t.skips[reason] = append(t.skips[reason], strings.TrimPrefix(k.pkg, "bryo/")+"."+k.test)
	}
	delete(t.output, k)
}

func (t *tally) printOutput(k key) {
	for _, line := range t.output[k] {
		if !packageLine(line) && !strings.HasPrefix(strings.TrimSpace(line), "=== ") {
			fmt.Fprint(t.out, "    "+line)
		}
	}
}

// count leaves out tests that only hold subtests, so that one failing case
// counts once.
func (t *tally) count() {
	for k, result := range t.results {
		if t.parents[k] {
			continue
		}
		switch result {
		case "pass":
			t.passed++
		case "fail":
			t.failed++
		case "skip":
			t.skipped++
		}
	}
}

// skipReason takes the text of t.Skip out of a line `    file_test.go:12: text`;
// what a test logs beside it has other forms.
func skipReason(output []string) string {
	reason := "no reason given"
	for _, line := range output {
		if where, text, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && goLine.MatchString(where) && !strings.HasPrefix(text, "WORK=") {
			reason = text
		}
	}
	return reason
}

var goLine = regexp.MustCompile(`^\w+\.go:\d+$`)

func (t *tally) printSkips() {
	reasons := make([]string, 0, len(t.skips))
	for reason := range t.skips {
		reasons = append(reasons, reason)
	}
	sort.Strings(reasons)
	for _, reason := range reasons {
		tests := t.skips[reason]
		sort.Strings(tests)
		shown := tests
		if len(shown) > 3 {
			shown = append(shown[:3:3], fmt.Sprintf("and %d more", len(tests)-3))
		}
		fmt.Fprintf(t.out, "skipped: %s: %s\n", reason, strings.Join(shown, ", "))
	}
}
