// Package cli is docker's command line: one file per verb, flags in, one line
// of error out. Start reading at Main; errors.go turns errors into exit codes
// and cures. It decides nothing about containers: that is package engine.
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
)

// Set by the linker, see the Makefile.
var (
	version = "dev"
	commit  = "unknown"
)

// stopAtOperand names the commands whose operands may look like flags: all
// after the image or container belongs to the program inside.
var stopAtOperand = map[string]bool{"run": true, "create": true, "exec": true, "top": true, "container": true, "image": true, "volume": true, "system": true, "network": true, "manifest": true}

// Main runs one command line and returns the process's exit code.
func Main(args []string) int {
	app := newApp()
	words, err := rewrite(app, args)
	if err != nil {
		return report(words, err)
	}
	return report(words, app.Run(words))
}

func newApp() *cli.App {
	app := &cli.App{
		Name:                      "bryo",
		Usage:                     "run containers without root, daemon or helper programs",
		HideVersion:               true,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		Writer:                    os.Stdout,
		ErrWriter:                 os.Stderr,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              func(_ *cli.Context, err error, _ bool) error { return usageError(err.Error()) },
		CommandNotFound:           nil,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "root", Usage: "data `DIR` instead of ~/.local/share/bryo", EnvVars: []string{"BRYO_ROOT"}},
			&cli.BoolFlag{Name: "debug", Aliases: []string{"D"}, Usage: "say more on stderr"},
			&cli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "print the version"},
		},
		Commands: commands(),
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				fmt.Fprintf(c.App.Writer, "bryo version %s, build %s\n", version, commit)
				return nil
			}
			if c.NArg() > 0 {
				return usageError(fmt.Sprintf("'%s' is not a bryo command", c.Args().First()))
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, c := range app.Commands {
		prepare(c)
	}
	return app
}

func prepare(c *cli.Command) {
	c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return usageError(err.Error()) }
	c.HideHelpCommand = true
	c.HideHelp = hasFlag(c, "help")
	for _, sub := range c.Subcommands {
		prepare(sub)
	}
}

func hasFlag(c *cli.Command, name string) bool {
	for _, f := range c.Flags {
		for _, n := range f.Names() {
			if n == name {
				return true
			}
		}
	}
	return false
}

// rewrite finds the command of the line and brings its arguments into canonical
// form. Words that name no command are left for the app to refuse.
func rewrite(app *cli.App, args []string) ([]string, error) {
	root := &cli.Command{Name: "bryo", Flags: app.Flags, Subcommands: app.Commands}
	out := args[:1:1]
	rest := args[1:]
	for command := root; ; {
		if len(command.Subcommands) == 0 {
			words, err := canonical(command, rest, !stopAtOperand[command.Name])
			return append(out, words...), wrapUsage(command, err)
		}
		at, err := operandIndex(command, rest)
		if err != nil {
			return out, wrapUsage(command, err)
		}
		words, err := canonical(command, rest[:at], false)
		if err != nil {
			return out, wrapUsage(command, err)
		}
		out = append(out, words[:len(words)-1]...) // without the "--"
		if at == len(rest) {
			return out, nil
		}
		next := find(command.Subcommands, rest[at])
		if next == nil {
			return append(out, rest[at]), usageError(fmt.Sprintf("'%s' is not a bryo command.\nSee '%s --help'",
				strings.TrimSpace(strings.Join(append(names(out[1:]), rest[at]), " ")), strings.Join(append([]string{"bryo"}, names(out[1:])...), " ")))
		}
		out, rest, command = append(out, next.Name), rest[at+1:], next
	}
}

func names(words []string) (out []string) {
	for _, w := range words {
		if !strings.HasPrefix(w, "-") {
			out = append(out, w)
		}
	}
	return out
}

// operandIndex is where the flags of a command group end.
func operandIndex(command *cli.Command, args []string) (int, error) {
	known := flagTable(command)
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if len(arg) < 2 || arg[0] != '-' {
			return i, nil
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if kind, ok := known[name]; ok && !kind.bool && !hasValue {
			i++
		}
	}
	return len(args), nil
}

func find(list []*cli.Command, name string) *cli.Command {
	for _, c := range list {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func wrapUsage(command *cli.Command, err error) error {
	var usage usageError
	if errors.As(err, &usage) {
		return usageError(fmt.Sprintf("%s\nSee 'bryo %s --help'", usage, strings.TrimPrefix(command.Name, "bryo")))
	}
	return err
}

func commands() []*cli.Command {
	return []*cli.Command{
		attachCommand(),
		containerCommand(),
		createCommand(),
		doctorCommand(),
		execCommand(),
		helloCommand(),
		historyCommand(),
		imageCommand(),
		imagesCommand("images"),
		importCommand(),
		inspectCommand(),
		killCommand(),
		loadCommand(),
		loginCommand(),
		logoutCommand(),
		logsCommand(),
		pauseCommand(true),
		psCommand("ps"),
		pullCommand(),
		pushCommand(),
		removeCommand(),
		renameCommand(),
		restartCommand(),
		rmiCommand(),
		runCommand(),
		saveCommand(),
		startCommand(),
		stopCommand(),
		tagCommand(),
		pauseCommand(false),
		versionCommand(),
		volumeCommand(),
		waitCommand(),
	}
}

func engineOf(c *cli.Context) (*engine.Engine, error) {
	return engine.New(engine.Options{
		Root:  c.String("root"),
		Debug: c.Bool("debug"),
		Warn:  func(line string) { fmt.Fprintln(c.App.ErrWriter, "bryo: "+line) },
	})
}

func stdout(c *cli.Context) io.Writer { return c.App.Writer }

func exactly(c *cli.Context, n int) error {
	if c.NArg() == n {
		return nil
	}
	return arity(c, fmt.Sprintf("requires %d %s", n, plural("argument", n)))
}

func atLeast(c *cli.Context, n int) error {
	if c.NArg() >= n {
		return nil
	}
	return arity(c, fmt.Sprintf("requires at least %d %s", n, plural("argument", n)))
}

func arity(c *cli.Context, what string) error {
	return usageError(fmt.Sprintf("'%s' %s.\nSee '%s --help'", c.Command.HelpName, what, c.Command.HelpName))
}

func plural(word string, n int) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
