// Package weight watches what the built binary itself costs: its size, and what each of its
// processes pays before main.
package weight

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// maxSize of the binary. It is copied to machines by hand, and each start maps it:
// 25 MB when this was written, half of it the program of the image role, with the
// registry and image libraries. What comes near the bound brings a library that wants a
// second thought.
const maxSize = 32 << 20

// maxInit bounds the package initialisation, in milliseconds, as the Go runtime
// counts it: each run pays it three times (command, supervisor, init). 0.4 when this
// was written, 1.5 with the libraries that the image role has for itself now; three
// times the present leaves room for a slow machine.
const maxInit = 1.2

func TestWeight(t *testing.T) {
	binary := os.Getenv("BRYO_BIN")
	if binary == "" {
		binary = "../../bryo"
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Skip("no binary: run make")
	}
	if info.Size() > maxSize {
		t.Errorf("the binary has %d bytes, at most %d: what did it grow by?", info.Size(), maxSize)
	}
	best, slowest := initTime(t, binary)
	for range 9 {
		if took, worst := initTime(t, binary); took < best {
			best, slowest = took, worst
		}
	}
	if best > maxInit {
		t.Errorf("package initialisation takes %.2f ms, at most %.1f: %s", best, maxInit, slowest)
	}
}

// initTime adds up GODEBUG=inittrace=1 and names the slowest packages.
func initTime(t *testing.T, binary string) (sum float64, slowest string) {
	t.Helper()
	cmd := exec.Command(binary, "version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace bytes.Buffer
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(trace.String()) {
		before, _, found := strings.Cut(line, " ms clock")
		words := strings.Fields(before)
		if !found || len(words) < 3 {
			continue
		}
		ms, err := strconv.ParseFloat(words[len(words)-1], 64)
		if err != nil {
			t.Fatalf("inittrace: %q", line)
		}
		if sum += ms; ms > 0.2 {
			slowest += words[1] + " "
		}
	}
	if sum == 0 {
		t.Fatal("inittrace said nothing")
	}
	return sum, slowest
}
