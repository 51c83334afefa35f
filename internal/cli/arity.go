package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// arityError is a wrong number of arguments, or a command that is none: exit
// code 1, as docker, where a wrong flag is 125.
type arityError string

func (e arityError) Error() string { return string(e) }

func exactly(c *cli.Context, n int) error {
	switch {
	case c.NArg() == n:
		return nil
	case n == 0:
		return arity(c, "accepts no arguments")
	}
	return arity(c, fmt.Sprintf("requires %d %s", n, plural("argument", n)))
}

func atLeast(c *cli.Context, n int) error {
	if c.NArg() >= n {
		return nil
	}
	return arity(c, fmt.Sprintf("requires at least %d %s", n, plural("argument", n)))
}

func between(c *cli.Context, least, most int) error {
	if c.NArg() >= least && c.NArg() <= most {
		return nil
	}
	return arity(c, fmt.Sprintf("requires at least %d and at most %d %s", least, most, plural("argument", most)))
}

func atMost(c *cli.Context, n int) error {
	if c.NArg() <= n {
		return nil
	}
	return arity(c, fmt.Sprintf("requires at most %d %s", n, plural("argument", n)))
}

func arity(c *cli.Context, what string) error {
	return arityError(fmt.Sprintf("'%s' %s\nSee '%s --help'", c.Command.HelpName, what, c.Command.HelpName))
}

func plural(word string, n int) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
