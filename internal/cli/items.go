package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"bryo/internal/engine"
	"bryo/internal/format"
)

// forEach runs do for every operand; one failure does not keep the others, each
// is a line on stderr, and the exit code is 1.
func forEach(c *cli.Context, do func(e *engine.Engine, operand string) error) error {
	if err := atLeast(c, 1); err != nil {
		return err
	}
	e, err := engineOf(c)
	if err != nil {
		return err
	}
	failed := false
	for _, operand := range c.Args().Slice() {
		if err := do(e, operand); err != nil {
			complain(err.Error(), err)
			failed = true
		}
	}
	if failed {
		return exit(1)
	}
	return nil
}

// each is forEach with operands that name containers; a success prints its operand.
func each(c *cli.Context, do func(*engine.Engine, *engine.Container) error) error {
	return forEach(c, func(e *engine.Engine, key string) error {
		container, err := e.Container(key)
		if err == nil {
			err = do(e, container)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.Command.Name, err)
		}
		fmt.Fprintln(stdout(c), key)
		return nil
	})
}

// containerOf is the container that key names.
func containerOf(c *cli.Context, key string) (*engine.Engine, *engine.Container, error) {
	e, err := engineOf(c)
	if err != nil {
		return nil, nil, err
	}
	container, err := e.Container(key)
	return e, container, err
}

// checkDetachKeys refuses keys that nobody can type, whether they are needed or not:
// without a terminal it would show only on the day when there is one.
func checkDetachKeys(c *cli.Context) error {
	_, err := engine.DetachKeys(c.String("detach-keys"))
	return err
}

// inspectAll prints what find returns for each operand; those that are not
// found are named on stderr and do not keep the others, as docker has it.
func inspectAll(c *cli.Context, find func(e *engine.Engine, name string) (any, error)) error {
	items := []any{}
	missing := forEach(c, func(e *engine.Engine, name string) error {
		item, err := find(e, name)
		if err == nil {
			items = append(items, item)
		}
		return err
	})
	if missing != nil && !errors.Is(missing, exit(1)) {
		return missing // nothing was looked for
	}
	if err := format.Inspect(stdout(c), c.String("format"), items); err != nil {
		return err
	}
	return missing
}

// showOne prints one value as --format says: json is the value, not a list of one.
func showOne(out io.Writer, how string, item any) error {
	if how == "json" {
		how = "{{json .}}"
	}
	return format.Inspect(out, how, []any{item})
}

// timeRange reads --since and --until.
func timeRange(c *cli.Context, since, until *time.Time) (err error) {
	for flag, to := range map[string]*time.Time{"since": since, "until": until} {
		if value := c.String(flag); value != "" {
			if *to, err = format.Time(value, time.Now()); err != nil {
				return fmt.Errorf("invalid value for \"%s\": %w", flag, err)
			}
		}
	}
	return nil
}

// checkOutput refuses a place for a file where none can be, in docker's words.
func checkOutput(path string) error {
	info, err := os.Stat(path)
	switch {
	case path == "" || err != nil:
		return nil // what creates it knows better
	case info.IsDir():
		return errors.New("cannot write to a directory")
	}
	return nil
}

func isTTY(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
