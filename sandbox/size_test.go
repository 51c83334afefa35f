package sandbox

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestTooLong compares the sum with the kernel's own answer.
func TestTooLong(t *testing.T) {
	for name, args := range map[string][]string{
		"few":             {"x"},
		"longest string":  {strings.Repeat("x", maxString-1)},
		"longer string":   {strings.Repeat("x", maxString)},
		"a megabyte":      slices.Repeat([]string{strings.Repeat("x", 1<<16)}, 16),
		"ten megabytes":   slices.Repeat([]string{strings.Repeat("x", 1<<16)}, 160),
		"a million words": slices.Repeat([]string{"x"}, 1_000_000),
	} {
		t.Run(name, func(t *testing.T) {
			c := exec.Command("/bin/true", args...)
			c.Env = []string{}
			refused := c.Run() != nil
			if got := tooLong(&specs.Process{Args: c.Args}); got != refused {
				t.Fatalf("tooLong: %v, the kernel refused: %v", got, refused)
			}
		})
	}
}
