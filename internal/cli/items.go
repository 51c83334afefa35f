package cli

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"bryo/internal/format"
)

// inspectAll prints what find returns for each operand; those that are not
// found are named on stderr and do not keep the others, as docker has it.
func inspectAll(c *cli.Context, find func(name string) (any, error)) error {
	items := []any{}
	failed := false
	for _, name := range c.Args().Slice() {
		item, err := find(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bryo: "+oneLine(err.Error()))
			failed = true
			continue
		}
		items = append(items, item)
	}
	if err := format.Inspect(stdout(c), c.String("format"), items); err != nil {
		return err
	}
	if failed {
		return exit(1)
	}
	return nil
}

func isTTY(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
