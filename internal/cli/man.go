package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

func manCommand() *cli.Command {
	return &cli.Command{
		Name:      "man",
		Usage:     "write the manual pages into a directory",
		ArgsUsage: "DIR",
		Action: func(c *cli.Context) error {
			if err := exactly(c, 1); err != nil {
				return err
			}
			return writeManual(c.Args().First())
		},
	}
}

// writeManual makes one page for bryo and one for each command, from the same
// definitions as the help.
func writeManual(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root := &cli.Command{
		HelpName: "bryo", Usage: appUsage, Flags: globalFlags(), Subcommands: allCommands(),
	}
	return writePages(dir, root)
}

func writePages(dir string, c *cli.Command) error {
	name := strings.ReplaceAll(c.HelpName, " ", "-") + ".1"
	failed := os.WriteFile(filepath.Join(dir, name), []byte(manPage(c)), 0o644)
	for _, sub := range c.Subcommands {
		sub.HelpName = c.HelpName + " " + sub.Name
		failed = errors.Join(failed, writePages(dir, sub))
	}
	return failed
}

// manPage is one page in the language of man(7).
func manPage(c *cli.Command) string {
	title := strings.ReplaceAll(c.HelpName, " ", "-")
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"bryo %s\" \"bryo manual\"\n", strings.ToUpper(roff(title)), roff(version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(title), roff(c.Usage))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n%s\n", roff(c.HelpName), roff(synopsis(c)))
	if c.Description != "" {
		fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\n", roff(c.Description))
	}
	if len(c.Subcommands) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range c.Subcommands {
			fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s\n", roff(title+"-"+sub.Name), roff(sentence(sub.Usage)))
		}
	}
	if options := optionsOf(c.Flags); len(options) > 0 {
		b.WriteString(".SH OPTIONS\n")
		for _, o := range options {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(o.name)), roff(o.text))
		}
	}
	if at := strings.LastIndexByte(title, '-'); at >= 0 {
		fmt.Fprintf(&b, ".SH SEE ALSO\n.BR %s (1)\n", roff(title[:at]))
	}
	return b.String()
}

// roff keeps text from being read as a request or an escape.
func roff(text string) string {
	lines := strings.Split(strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text), "\n")
	for i, line := range lines {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + line
		}
		lines[i] = line
	}
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return l == "" }), "\n")
}
