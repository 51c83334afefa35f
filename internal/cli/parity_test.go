package cli

import (
	"bufio"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/urfave/cli/v2"
)

// notYet are commands of docker's that bryo does not have at all.
var notYet = []string{"build"}

// dockersFlag is one flag as docker has it.
type dockersFlag struct {
	name, short string
	bool        bool
}

func dockersFlags(t *testing.T) map[string][]dockersFlag {
	t.Helper()
	f, err := os.Open("testdata/docker-flags.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string][]dockersFlag{}
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		command, flags, ok := strings.Cut(scanner.Text(), ":")
		if strings.HasPrefix(command, "#") || !ok {
			continue
		}
		all[command] = []dockersFlag{}
		for word := range strings.FieldsSeq(flags) {
			word, takesValue := strings.CutSuffix(word, "=")
			name, short, _ := strings.Cut(word, ",")
			all[command] = append(all[command], dockersFlag{name, short, !takesValue})
		}
	}
	return all
}

// TestFlagsOfDocker: every flag of docker's is known in its long and its short
// form, with or without a value. What is known and refused is refused by name
// when the command runs.
func TestFlagsOfDocker(t *testing.T) {
	for name, flags := range dockersFlags(t) {
		command := commandNamed(strings.Fields(name))
		if command == nil && slices.Contains(notYet, name) {
			continue
		}
		if command == nil {
			t.Errorf("%s: no such command", name)
			continue
		}
		known := flagTable(command)
		for _, f := range flags {
			kind, ok := known[f.name]
			switch {
			case !ok:
				t.Errorf("%s --%s is not known", name, f.name)
			case kind.bool != f.bool:
				t.Errorf("%s --%s: takes a value: %v, in docker %v", name, f.name, !kind.bool, !f.bool)
			}
			if short, ok := known[f.short]; f.short != "" && (!ok || short.name != kind.name) {
				t.Errorf("%s -%s is not --%s", name, f.short, f.name)
			}
		}
		for _, f := range command.Flags {
			if hidden, ok := f.(interface{ IsVisible() bool }); ok && !hidden.IsVisible() {
				refusedByName(t, strings.Fields(name), f)
			}
		}
	}
}

// quiet are hidden flags that are accepted: older spellings, and those that ask
// for nothing.
var quiet = []string{"volume create --name"}

func refusedByName(t *testing.T, command []string, f cli.Flag) {
	t.Helper()
	name, _, isBool, _ := partsOf(f)
	text := strings.Join(command, " ") + " --" + name
	if slices.Contains(quiet, text) {
		return
	}
	if !slices.ContainsFunc(refusalsOf(strings.Join(command, " ")), func(r refusal) bool { return r.name == name && r.why != "" }) {
		t.Errorf("%s is hidden, and no reason says that it is refused", text)
		return // running it might do anything
	}
	word := "--" + name + "=false"
	if !isBool {
		word = "--" + name + "=1"
	}
	if isBool && name != "disable-content-trust" {
		word = "--" + name
	}
	args := slices.Concat([]string{"bryo", "--root", t.TempDir()}, command, []string{word, "operand", "operand"})
	app := newApp(args)
	words, err := rewrite(app, args)
	if err == nil {
		err = app.Run(words)
	}
	var usage usageError
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "--"+name+" ") {
		t.Errorf("%s is not refused by name: %v", text, err)
	}
}

func commandNamed(words []string) *cli.Command {
	define := verbNamed(words[0])
	if define == nil {
		return nil
	}
	command := define()
	for _, word := range words[1:] {
		if command = find(command.Subcommands, word); command == nil {
			return nil
		}
	}
	return command
}

// TestHelpFits: nobody scrolls sideways.
func TestHelpFits(t *testing.T) {
	var walk func(words []string, c *cli.Command)
	walk = func(words []string, c *cli.Command) {
		text := helpOf(t, words)
		for line := range strings.Lines(text) {
			if strings.ContainsFunc(line, func(r rune) bool { return r > unicode.MaxASCII }) {
				t.Errorf("%s --help: not every manual and terminal can show %q", strings.Join(words, " "), line)
			}
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
				t.Errorf("%s --help: %d columns: %s", strings.Join(words, " "), n, strings.TrimSpace(line))
			}
		}
		for _, sub := range c.Subcommands {
			walk(append(slices.Clone(words), sub.Name), sub)
		}
	}
	for _, v := range verbs() {
		walk([]string{v.name}, v.define())
	}
}

func helpOf(t *testing.T, words []string) string {
	t.Helper()
	args := slices.Concat([]string{"bryo"}, words, []string{"--help"})
	app := newApp(args)
	var out strings.Builder
	app.Writer = &out
	line, err := rewrite(app, args)
	if err == nil {
		err = app.Run(line)
	}
	if err != nil {
		t.Errorf("%s --help: %v", strings.Join(words, " "), err)
	}
	return out.String()
}
