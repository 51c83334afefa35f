package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"bryo/internal/format"
)

// helpWidth is what a terminal shows without scrolling sideways.
const helpWidth = 80

// printHelp is docker's layout: usage, what it does, aliases, commands, options.
// data is the app, or a command.
func printHelp(out io.Writer, _ string, data any) {
	switch d := data.(type) {
	case *cli.App:
		root := &cli.Command{HelpName: d.Name, Usage: d.Usage, Flags: d.Flags, Subcommands: d.Commands}
		fmt.Fprint(out, helpText(root))
	case *cli.Command:
		fmt.Fprint(out, helpText(d))
	}
}

func helpText(c *cli.Command) string {
	var b strings.Builder
	b.WriteString(usageLine(c))
	fmt.Fprintf(&b, "\n%s\n", strings.Join(format.Wrap(sentence(c.Usage), helpWidth), "\n"))
	for paragraph := range strings.SplitSeq(c.Description, "\n") {
		if strings.TrimSpace(paragraph) != "" {
			fmt.Fprintf(&b, "%s\n", strings.Join(format.Wrap(strings.TrimSpace(paragraph), helpWidth), "\n"))
		}
	}
	if aliases := aliasesOf(c); len(aliases) > 1 {
		fmt.Fprintf(&b, "\nAliases:\n  %s\n", strings.Join(format.Wrap(strings.Join(aliases, ", "), helpWidth-2), "\n  "))
	}
	if len(c.Subcommands) > 0 {
		b.WriteString("\nCommands:\n" + commandList(c.Subcommands))
	}
	if options := optionList(c.Flags); options != "" {
		b.WriteString("\nOptions:\n" + options)
	}
	if len(c.Subcommands) > 0 {
		fmt.Fprintf(&b, "\nRun '%s COMMAND --help' for more information on a command.\n", c.HelpName)
	}
	return b.String()
}

func usageLine(c *cli.Command) string {
	const lead = "Usage:  "
	text := c.HelpName + " " + synopsis(c)
	return lead + strings.Join(format.Wrap(text, helpWidth-len(lead)), "\n"+strings.Repeat(" ", len(lead)+2)) + "\n"
}

// synopsis is what may follow a command's name.
func synopsis(c *cli.Command) string {
	var words []string
	if len(visible(c.Flags)) > 0 {
		words = append(words, "[OPTIONS]")
	}
	if len(c.Subcommands) > 0 {
		words = append(words, "COMMAND")
	} else if c.ArgsUsage != "" {
		words = append(words, strings.Fields(c.ArgsUsage)...)
	}
	return strings.Join(words, " ")
}

// sentence begins as docker's do.
func sentence(usage string) string {
	if usage == "" {
		return ""
	}
	return strings.ToUpper(usage[:1]) + usage[1:]
}

// aliasesOf lists the spellings of a command: its own first.
func aliasesOf(c *cli.Command) []string {
	words := strings.Fields(c.HelpName)
	if len(words) < 2 {
		return nil
	}
	out := []string{c.HelpName}
	for _, alias := range c.Aliases {
		out = append(out, strings.Join(append(slices.Clone(words[:len(words)-1]), alias), " "))
	}
	switch last := words[len(words)-1]; {
	case len(words) == 2 && find(containerCommand().Subcommands, last) != nil:
		out = append(out, "bryo container "+last)
	case len(words) == 2 && find(imageCommand().Subcommands, last) != nil:
		out = append(out, "bryo image "+last)
	case len(words) == 3 && verbNamed(last) != nil && slices.Contains([]string{"container", "image", "system"}, words[1]):
		out = append(out, "bryo "+last)
	}
	return slices.Compact(out)
}

func commandList(list []*cli.Command) string {
	width := 0
	for _, c := range list {
		width = max(width, len(c.Name))
	}
	var b strings.Builder
	for _, c := range list {
		if !c.Hidden {
			b.WriteString(twoColumns("  "+c.Name, width+5, sentence(c.Usage)))
		}
	}
	return b.String()
}

// twoColumns puts text beside a name, and below it when the name is too long.
func twoColumns(name string, at int, text string) string {
	lines := format.Wrap(text, helpWidth-at)
	indent := "\n" + strings.Repeat(" ", at)
	if len(name) >= at {
		return name + indent + strings.Join(lines, indent) + "\n"
	}
	return name + strings.Repeat(" ", at-len(name)) + strings.Join(lines, indent) + "\n"
}

func visible(flags []cli.Flag) (out []cli.Flag) {
	for _, f := range flags {
		if hidden, ok := f.(interface{ IsVisible() bool }); f != cli.HelpFlag && (!ok || hidden.IsVisible()) {
			out = append(out, f)
		}
	}
	return out
}

// option is one flag as help and the manual show it.
type option struct{ name, text string }

func optionsOf(flags []cli.Flag) (out []option) {
	for _, f := range visible(flags) {
		name, aliases, isBool, _ := partsOf(f)
		word := "    --" + name
		for _, alias := range aliases {
			if len(alias) == 1 {
				word = "-" + alias + ", --" + name
			}
		}
		kind, usage := placeholder(f)
		if !isBool {
			word += " " + kind
		}
		out = append(out, option{word, sentence(usage)})
	}
	slices.SortFunc(out, func(a, b option) int { return strings.Compare(a.name[4:], b.name[4:]) })
	return out
}

// placeholder is the word in backquotes of a flag's usage, or its kind.
func placeholder(f cli.Flag) (kind, usage string) {
	kind = "string"
	switch f := f.(type) {
	case *cli.StringSliceFlag:
		kind, usage = "list", f.Usage
	case *cli.IntFlag:
		kind, usage = "int", f.Usage
	case *cli.StringFlag:
		usage = f.Usage
	case *cli.BoolFlag:
		usage = f.Usage
	}
	before, rest, found := strings.Cut(usage, "`")
	if word, after, closed := strings.Cut(rest, "`"); found && closed {
		if _, isBool := f.(*cli.BoolFlag); !isBool {
			kind = word
		}
		usage = before + word + after
	}
	return kind, usage
}

func optionList(flags []cli.Flag) string {
	const widest = 30
	options := optionsOf(flags)
	width := 0
	for _, o := range options {
		if n := len(o.name); n <= widest {
			width = max(width, n)
		}
	}
	var b strings.Builder
	for _, o := range options {
		b.WriteString(twoColumns("  "+o.name, width+5, o.text))
	}
	return b.String()
}
