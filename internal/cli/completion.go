package cli

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/format"
	"bryo/rootfs/volume"
	"bryo/sandbox"
)

// The scripts hand the words of the line to `bryo __complete` and show what it
// prints: what there is to complete is said in one place, here.
var (
	//go:embed completion/bash
	bashScript string
	//go:embed completion/zsh
	zshScript string
	//go:embed completion/fish
	fishScript string
)

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print the script that completes command lines in a shell",
		ArgsUsage: "bash|zsh|fish",
		Action: func(c *cli.Context) error {
			if err := exactly(c, 1); err != nil {
				return err
			}
			scripts := map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}
			script, ok := scripts[c.Args().First()]
			if !ok {
				return usageError(fmt.Sprintf("no completion for %q: use bash, zsh or fish", c.Args().First()))
			}
			_, err := fmt.Fprint(stdout(c), script)
			return err
		},
	}
}

// completeVerb is not in the list of commands: people do not type it.
const completeVerb = "__complete"

func completeCommand() *cli.Command {
	return &cli.Command{
		Name:   completeVerb,
		Hidden: true,
		Action: func(c *cli.Context) error {
			words := c.Args().Slice()
			if len(words) == 0 {
				words = []string{""}
			}
			e, err := engineOf(c)
			if err != nil {
				return nil // completion stays silent
			}
			for _, found := range complete(&completer{e}, words) {
				fmt.Fprintln(stdout(c), format.Cell(found.word)+"\t"+format.Cell(found.text))
			}
			return nil
		},
	}
}

// candidate is one way to go on.
type candidate struct{ word, text string }

// objects that exist; an interface, so that tests need none.
type objects interface {
	containers(running bool) []candidate
	images() []candidate
	volumes() []candidate
	networks() []candidate
}

// complete finds the candidates for the last word of a line; none means files.
func complete(n objects, words []string) []candidate {
	if len(words) > 1 && words[0] == "help" {
		return topics(words[1:])
	}
	last := words[len(words)-1]
	root := &cli.Command{Flags: globalFlags(), Subcommands: append(allCommands(), &cli.Command{Name: "help", Usage: "show how a command is used"})}
	command, rest := descend(root, words[:len(words)-1])
	var found []candidate
	switch flag := pendingFlag(command, rest); {
	case flag != "":
		found = flagValues(n, flag)
	case strings.HasPrefix(last, "--") && strings.Contains(last, "="):
		found = assigned(n, command, last)
	case strings.HasPrefix(last, "-") && !slices.Contains(rest, "--"):
		found = flagNames(command)
	case len(command.Subcommands) > 0:
		for _, c := range command.Subcommands {
			found = append(found, candidate{c.Name, sentence(c.Usage)})
		}
	default:
		found = operands(n, command, operandCount(command, rest))
	}
	return beginning(last, found)
}

// beginning keeps the candidates for a word, each once.
func beginning(word string, found []candidate) (kept []candidate) {
	for _, c := range found {
		if strings.HasPrefix(c.word, word) && !slices.ContainsFunc(kept, func(k candidate) bool { return k.word == c.word }) {
			kept = append(kept, c)
		}
	}
	return kept
}

// topics are what may follow help: the names of commands.
func topics(words []string) (found []candidate) {
	command, rest := descend(&cli.Command{Subcommands: allCommands()}, words[:len(words)-1])
	if len(rest) > 0 {
		return nil
	}
	for _, c := range command.Subcommands {
		found = append(found, candidate{c.Name, sentence(c.Usage)})
	}
	return beginning(words[len(words)-1], found)
}

// assigned completes --flag=VALUE.
func assigned(n objects, c *cli.Command, word string) (found []candidate) {
	flag, _, _ := strings.Cut(word, "=")
	kind, ok := flagTable(c)[strings.TrimPrefix(flag, "--")]
	if !ok || kind.bool {
		return nil
	}
	for _, value := range flagValues(n, kind.name) {
		found = append(found, candidate{flag + "=" + value.word, value.text})
	}
	return found
}

func allCommands() (list []*cli.Command) {
	for _, v := range verbs() {
		list = append(list, v.define())
	}
	return list
}

// descend follows the words to their command and returns those behind its name.
func descend(c *cli.Command, words []string) (*cli.Command, []string) {
	for len(c.Subcommands) > 0 {
		at, _ := operandIndex(c, words)
		if at >= len(words) {
			return c, words
		}
		next := find(c.Subcommands, words[at])
		if next == nil {
			return &cli.Command{}, nil
		}
		c, words = next, words[at+1:]
	}
	return c, words
}

// pendingFlag is the flag whose value comes next.
func pendingFlag(c *cli.Command, words []string) string {
	if len(words) == 0 {
		return ""
	}
	word := words[len(words)-1]
	if !strings.HasPrefix(word, "-") || strings.Contains(word, "=") || word == "--" {
		return ""
	}
	name := strings.TrimLeft(word, "-")
	if !strings.HasPrefix(word, "--") {
		name = name[len(name)-1:] // the last of a cluster
	}
	if kind, ok := flagTable(c)[name]; ok && !kind.bool {
		return kind.name
	}
	return ""
}

func flagNames(c *cli.Command) (found []candidate) {
	for _, f := range visible(c.Flags) {
		name, _, _, _ := partsOf(f)
		_, usage := placeholder(f)
		found = append(found, candidate{"--" + name, sentence(usage)})
	}
	return append(found, candidate{"--help", "Print usage"})
}

// flagValues completes what names an object or one of few words.
func flagValues(n objects, flag string) []candidate {
	switch flag {
	case "network":
		return append(n.networks(), fixed("none", "host", "default")...)
	case "volumes-from":
		return n.containers(false)
	case "pull":
		return fixed("always", "missing", "never")
	case "restart":
		return fixed("no", "on-failure", "always", "unless-stopped")
	case "log-driver":
		return fixed("json-file", "local", "journald", "none")
	case "type":
		return fixed("container", "image", "network", "volume")
	case "condition":
		return fixed("not-running", "next-exit", "removed", "healthy")
	case "signal", "stop-signal":
		return fixed("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT", "SIGWINCH")
	case "cap-add", "cap-drop":
		return fixed(append(sandbox.AllCapabilities(), "ALL")...)
	case "pid", "uts", "cgroupns":
		return fixed("private", "host")
	case "ipc":
		return fixed("private", "none", "shareable", "host")
	case "userns":
		return fixed("host", "keep-id")
	}
	return nil
}

func fixed(words ...string) (found []candidate) {
	for _, w := range words {
		found = append(found, candidate{w, ""})
	}
	return found
}

// operandCount counts the operands before the last word.
func operandCount(c *cli.Command, words []string) (n int) {
	for len(words) > 0 {
		at, _ := operandIndex(c, words)
		if at >= len(words) {
			return n
		}
		if n++; stopsAtOperand(c) {
			return n + len(words) - at - 1
		}
		words = words[at+1:]
	}
	return n
}

// running are the commands that do something to running containers only.
var running = []string{"attach", "exec", "kill", "pause", "stop", "top", "unpause", "port", "stats"}

// operands goes by the words in capitals of a command's usage.
func operands(n objects, c *cli.Command, before int) (found []candidate) {
	usage := strings.Fields(c.ArgsUsage)
	at := min(before, len(usage)-1)
	if at < 0 || before >= len(usage) && !strings.Contains(usage[at], "...") {
		return nil
	}
	word := usage[at]
	switch {
	case c.Name == "inspect" && strings.Contains(word, "NAME"):
		return slices.Concat(n.containers(false), n.images(), n.volumes(), n.networks())
	case strings.Contains(word, "bash|zsh"):
		return fixed("bash", "fish", "zsh")
	case strings.Contains(word, "NEW_NAME"), strings.Contains(word, "TARGET"):
		return nil
	case strings.Contains(word, "CONTAINER"):
		return n.containers(slices.Contains(running, c.Name))
	case strings.Contains(word, "IMAGE"), strings.Contains(word, "REPOSITORY"), (c.Name == "push" || c.Name == "pull") && strings.Contains(word, "NAME"):
		return n.images()
	case strings.Contains(word, "VOLUME"):
		return n.volumes()
	case strings.Contains(word, "NETWORK") && c.Name != "create":
		return n.networks()
	}
	return nil
}

// completer reads the data root; what cannot be read is not offered.
type completer struct{ engine *engine.Engine }

func (e *completer) containers(running bool) (found []candidate) {
	list, _ := e.engine.Containers()
	for _, c := range list {
		if c.Broken == nil && (!running || c.Running()) {
			found = append(found, candidate{c.Name, c.Image.Reference})
		}
	}
	return found
}

func (e *completer) images() (found []candidate) {
	list, _ := e.engine.Images(nil)
	for _, i := range list {
		for _, tag := range i.RepoTags {
			found = append(found, candidate{tag, format.Size(i.Size)})
		}
	}
	return found
}

func (e *completer) volumes() (found []candidate) {
	list, _ := e.engine.Volumes(volume.Filter{})
	for _, v := range list {
		found = append(found, candidate{v.Name, "volume"})
	}
	return found
}

func (e *completer) networks() (found []candidate) {
	list, _ := e.engine.Networks()
	for _, n := range list {
		found = append(found, candidate{n.Name, n.Driver})
	}
	return found
}
