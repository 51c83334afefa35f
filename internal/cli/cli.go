// Package cli is docker's command line: one file per verb, flags in, one line
// of error out. Start reading at Main; errors.go turns errors into exit codes
// and cures. It decides nothing about containers: that is package engine.
package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/trace"
)

// Set by the linker, see the Makefile.
var (
	version = "dev"
	commit  = "unknown"
)

// Main runs one command line and returns the process's exit code.
func Main(args []string) int {
	args, err := helpAsFlag(args)
	if err != nil {
		return report(args, err)
	}
	app := newApp(args)
	trace.Mark("command line defined")
	words, err := rewrite(app, args)
	if err != nil {
		return report(words, err)
	}
	return report(words, cmp.Or(app.Run(words), app.Writer.(*output).err))
}

// output is stdout. What is printed there is the result: a command whose result was
// lost has failed, whatever printed it.
type output struct{ err error }

func (o *output) Write(b []byte) (int, error) {
	n, err := os.Stdout.Write(b)
	o.err = cmp.Or(o.err, err)
	return n, err
}

// newApp defines the command line: all of it for help and completion, else the
// one verb that is asked for, because every start pays for it.
func newApp(args []string) *cli.App {
	cli.HelpPrinter = printHelp
	app := &cli.App{
		Name:                      "bryo",
		Usage:                     appUsage,
		HideVersion:               true,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		Writer:                    &output{},
		ErrWriter:                 os.Stderr,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              func(c *cli.Context, err error, _ bool) error { return flagError(c, err) },
		Flags:                     append(globalFlags(), dockersGlobals()...),
		Before:                    heedGlobals,
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				fmt.Fprintf(c.App.Writer, "bryo version %s, build %s\n", version, commit)
				return nil
			}
			if c.NArg() > 0 {
				return clientError(fmt.Sprintf("unknown command: bryo %s\nSee 'bryo --help'", c.Args().First()))
			}
			return cli.ShowAppHelp(c)
		},
	}
	at, _ := operandIndex(&cli.Command{Flags: app.Flags}, args[1:])
	if at+1 < len(args) {
		if define := verbNamed(args[at+1]); define != nil {
			app.Commands = []*cli.Command{define()}
		}
	}
	if app.Commands == nil {
		for _, v := range verbs() {
			app.Commands = append(app.Commands, v.define())
		}
	}
	for _, c := range app.Commands {
		prepare(c)
	}
	return app
}

// helpAsFlag: `bryo help WORDS` is `bryo WORDS --help`.
func helpAsFlag(args []string) ([]string, error) {
	if len(args) < 2 || args[1] != "help" {
		return args, nil
	}
	words := args[2:]
	if len(words) > 0 && strings.HasPrefix(words[0], "-") {
		words = nil // docker help --help
	}
	command := &cli.Command{Subcommands: allCommands()}
	for _, word := range words {
		if command = find(command.Subcommands, word); command == nil {
			return args, clientError("unknown help topic: " + strings.Join(words, " "))
		}
	}
	return append(append(args[:1:1], words...), "--help"), nil
}

const appUsage = "run containers without root, daemon or helper programs"

func prepare(c *cli.Command) {
	c.OnUsageError = func(c *cli.Context, err error, _ bool) error { return flagError(c, err) }
	c.HideHelpCommand = true
	c.HideHelp = hasFlag(c, "help")
	for _, f := range c.Flags {
		if list, ok := f.(*cli.StringSliceFlag); ok {
			list.KeepSpace = true // -e 'A= b ' is the user's
		}
	}
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

// stopsAtOperand: what comes after the image or the container belongs to the
// program inside, or to ps, and may look like flags of ours.
func stopsAtOperand(c *cli.Command) bool {
	return strings.HasSuffix(c.ArgsUsage, "[ARG...]") || strings.HasSuffix(c.ArgsUsage, "[ps OPTIONS]")
}

// rewrite finds the command of the line and brings its arguments into canonical
// form. Words that name no command are left for the app to refuse.
func rewrite(app *cli.App, args []string) ([]string, error) {
	root := &cli.Command{Name: "bryo", Flags: app.Flags, Subcommands: app.Commands}
	out := args[:1:1]
	rest := args[1:]
	for command := root; ; {
		if len(command.Subcommands) == 0 {
			words, err := canonical(command, rest, !stopsAtOperand(command))
			keepFlags(command, words)
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
		if command == root {
			keepFlags(root, words)
			app.Flags = root.Flags
		}
		next := find(command.Subcommands, rest[at])
		if next == nil {
			return append(out, rest[at]), unknownCommand(append([]string{"bryo"}, names(out[1:])...), rest[at])
		}
		out, rest, command = append(out, next.Name), rest[at+1:], next
	}
}

func unknownCommand(group []string, word string) error {
	path := strings.Join(group, " ")
	return clientError(fmt.Sprintf("unknown command: %s %s\nSee '%s --help'", path, word, path))
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
		return usageError(fmt.Sprintf("%s\nSee '%s --help'", usage, strings.TrimSuffix("bryo "+strings.TrimPrefix(command.Name, "bryo"), " ")))
	}
	return err
}

// definition is a command's name and how it is made.
type definition struct {
	name   string
	define func() *cli.Command
}

func verbs() []definition {
	return []definition{
		{"attach", attachCommand},
		{"commit", commitCommand},
		{"completion", completionCommand},
		{"container", containerCommand},
		{"cp", copyCommand},
		{"create", createCommand},
		{"diff", diffCommand},
		{"doctor", doctorCommand},
		{"events", eventsCommand},
		{"exec", execCommand},
		{"export", exportCommand},
		{"generate", generateCommand},
		{"hello", helloCommand},
		{"history", historyCommand},
		{"image", imageCommand},
		{"images", func() *cli.Command { return imagesCommand("images") }},
		{"import", importCommand},
		{"info", infoCommand},
		{"inspect", inspectCommand},
		{"kill", killCommand},
		{"load", loadCommand},
		{"login", loginCommand},
		{"logout", logoutCommand},
		{"logs", logsCommand},
		{"man", manCommand},
		{"manifest", manifestCommand},
		{"network", networkCommand},
		{"pause", func() *cli.Command { return pauseCommand(true) }},
		{"port", portCommand},
		{"ps", func() *cli.Command { return psCommand("ps") }},
		{"pull", pullCommand},
		{"push", pushCommand},
		{"rename", renameCommand},
		{"restart", restartCommand},
		{"rm", removeCommand},
		{"rmi", rmiCommand},
		{"run", runCommand},
		{"save", saveCommand},
		{"search", searchCommand},
		{"start", startCommand},
		{"stats", statsCommand},
		{"stop", stopCommand},
		{"system", systemCommand},
		{"tag", tagCommand},
		{"top", topCommand},
		{"unpause", func() *cli.Command { return pauseCommand(false) }},
		{"update", updateCommand},
		{"version", versionCommand},
		{"volume", volumeCommand},
		{"wait", waitCommand},
	}
}

func verbNamed(name string) func() *cli.Command {
	if name == completeVerb {
		return completeCommand
	}
	for _, v := range verbs() {
		if v.name == name {
			return v.define
		}
	}
	return nil
}

func engineOf(c *cli.Context) (*engine.Engine, error) {
	return engine.New(engine.Options{
		Root:  c.String("root"),
		Debug: c.Bool("debug"),
		Warn:  func(line string) { fmt.Fprintln(c.App.ErrWriter, "bryo: "+line) },
	})
}

func stdout(c *cli.Context) io.Writer { return c.App.Writer }
