package cli

import (
	"slices"
	"strings"
	"testing"
)

// Flags may follow operands, but for the words of a program inside.
func TestFlagsBehindOperands(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"network create lan --subnet 10.1.0.0/24", "network create --subnet=10.1.0.0/24 -- lan"},
		{"volume create data --label k=v", "volume create --label=k=v -- data"},
		{"manifest create list image --amend", "manifest create --amend=true -- list image"},
		{"volume rm data -f", "volume rm --force=true -- data"},
		{"create -i image sh -c true", "create --interactive=true -- image sh -c true"},
		{"container create image sh -c true", "container create -- image sh -c true"},
		{"run image ls --all", "run -- image ls --all"},
		{"container exec -t web ls -l", "container exec --tty=true -- web ls -l"},
		{"top web -o pid", "top -- web -o pid"},
	} {
		args := append([]string{"bryo"}, strings.Fields(c.line)...)
		got, err := rewrite(newApp(args), args)
		if want := append([]string{"bryo"}, strings.Fields(c.want)...); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q %v, want %q", c.line, got, err, want)
		}
	}
}
