package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// clientError is what docker ends with exit code 1, where a wrong flag is 125: a wrong
// number of arguments, a command or a filter that is none.
type clientError string

func (e clientError) Error() string { return string(e) }

// filterError: docker's client refuses a --filter that is not KEY=VALUE, as a wrong flag;
// keys and values that mean nothing are the daemon's to refuse, with exit code 1.
func filterError(c *cli.Context, err error) error {
	if !strings.HasPrefix(err.Error(), "invalid argument ") {
		return clientError(err.Error())
	}
	flag := fmt.Sprintf("%q flag: bad format", spelling(c.Command.Flags, "filter"))
	return usageError(strings.Replace(err.Error(), `"--filter" flag: bad format`, flag, 1))
}

// flagError words a flag's bad value as docker does, with the flag's own spelling, not
// the name that it has inside.
func flagError(c *cli.Context, err error) error {
	value, rest, found := strings.Cut(strings.TrimPrefix(err.Error(), "invalid boolean value "), " for -")
	if !found {
		value, rest, found = strings.Cut(strings.TrimPrefix(err.Error(), "invalid value "), " for flag -")
	}
	name, cause, _ := strings.Cut(rest, ": ")
	if !found || value == err.Error() || c == nil || c.Command == nil {
		return usageError(err.Error())
	}
	if cause == "parse error" {
		cause = "invalid syntax"
	}
	return usageError(fmt.Sprintf("invalid argument %s for %q flag: %s", value, spelling(c.Command.Flags, name), cause))
}

// badValue is flagError for a value that is judged here.
func badValue(value, flag string, cause error) error {
	return usageError(fmt.Sprintf("invalid argument %q for %q flag: %v", value, flag, cause))
}

// spelling is a flag as help shows it: -t, --timeout.
func spelling(flags []cli.Flag, name string) string {
	short, long := "", ""
	for _, f := range flags {
		if !slices.Contains(f.Names(), name) {
			continue
		}
		for _, n := range f.Names() {
			if len(n) == 1 {
				short = "-" + n + ", "
			} else if long == "" {
				long = n
			}
		}
	}
	return short + "--" + long
}

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
	return clientError(fmt.Sprintf("'%s' %s\nSee '%s --help'", c.Command.HelpName, what, c.Command.HelpName))
}

func plural(word string, n int) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
