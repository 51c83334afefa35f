package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// canonical rewrites a command's arguments from docker's spelling to the one
// form that the flag package reads without loss: every flag as --name=value,
// then "--", then the operands. It covers what urfave/cli v2 does not: -itw/x,
// -eA=b, flags after operands (when interspersed), and says "unknown flag" in
// docker's words.
func canonical(command *cli.Command, args []string, interspersed bool) ([]string, error) {
	known := flagTable(command)
	var flags, operands []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			operands = append(operands, args[i+1:]...)
			i = len(args)
		case strings.HasPrefix(arg, "--"):
			text, used, err := longFlag(known, args[i:])
			if err != nil {
				return nil, err
			}
			flags = append(flags, text)
			i += used
		case len(arg) > 1 && arg[0] == '-':
			texts, used, err := shortFlags(known, args[i:])
			if err != nil {
				return nil, err
			}
			flags = append(flags, texts...)
			i += used
		default:
			operands = append(operands, arg)
			if !interspersed {
				operands = append(operands, args[i+1:]...)
				i = len(args)
			}
		}
	}
	return append(append(flags, "--"), operands...), nil
}

type flagKind struct {
	name string // the long name
	bool bool
}

func flagTable(command *cli.Command) map[string]flagKind {
	known := map[string]flagKind{"help": {"help", true}}
	for _, f := range command.Flags {
		name, aliases, isBool, _ := partsOf(f)
		known[name] = flagKind{name, isBool}
		for _, alias := range aliases {
			known[alias] = flagKind{name, isBool}
		}
	}
	if _, taken := known["h"]; !taken {
		known["h"] = flagKind{"help", true}
	}
	return known
}

// partsOf reads a flag's definition. Flag.Names would do, but runs a regular
// expression for each name.
func partsOf(f cli.Flag) (name string, aliases []string, isBool, hasDefault bool) {
	switch f := f.(type) {
	case *cli.BoolFlag:
		return f.Name, f.Aliases, true, f.Value || f.EnvVars != nil
	case *cli.StringFlag:
		return f.Name, f.Aliases, false, f.Value != "" || f.EnvVars != nil
	case *cli.IntFlag:
		return f.Name, f.Aliases, false, f.Value != 0 || f.EnvVars != nil
	case *cli.StringSliceFlag:
		return f.Name, f.Aliases, false, f.Value != nil || f.EnvVars != nil
	}
	names := f.Names()
	return names[0], names[1:], false, true
}

// keepFlags leaves a command only the flags that this line uses and those with a
// default: urfave/cli looks at every flag for every flag, which for the hundred
// of `run` takes milliseconds.
func keepFlags(command *cli.Command, words []string) {
	used := map[string]bool{}
	for _, w := range words {
		if w == "--" {
			break
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(w, "--"), "=")
		used[name] = true
	}
	if used["help"] {
		return // help shows them all
	}
	var kept []cli.Flag
	for _, f := range command.Flags {
		if name, _, _, hasDefault := partsOf(f); used[name] || hasDefault {
			kept = append(kept, f)
		}
	}
	command.Flags = kept
}

func longFlag(known map[string]flagKind, args []string) (text string, used int, err error) {
	name, value, hasValue := strings.Cut(strings.TrimPrefix(args[0], "--"), "=")
	kind, ok := known[name]
	switch {
	case !ok || len(name) < 2:
		return "", 0, usageError("unknown flag: --" + name)
	case hasValue:
		return "--" + kind.name + "=" + value, 0, nil
	case kind.bool:
		return "--" + kind.name + "=true", 0, nil
	case len(args) < 2:
		return "", 0, usageError("flag needs an argument: --" + name)
	}
	return "--" + kind.name + "=" + args[1], 1, nil
}

// shortFlags reads one cluster such as -it, -itw/x, -e=A=b or -e A=b.
func shortFlags(known map[string]flagKind, args []string) (texts []string, used int, err error) {
	cluster := args[0][1:]
	for at := 0; at < len(cluster); at++ {
		letter, rest := cluster[at:at+1], cluster[at+1:]
		kind, ok := known[letter]
		switch {
		case !ok:
			return nil, 0, usageError(fmt.Sprintf("unknown shorthand flag: '%s' in %s", letter, args[0]))
		case kind.bool && strings.HasPrefix(rest, "="):
			return append(texts, "--"+kind.name+rest), 0, nil
		case kind.bool:
			texts = append(texts, "--"+kind.name+"=true")
		case rest != "":
			return append(texts, "--"+kind.name+"="+strings.TrimPrefix(rest, "=")), 0, nil
		case len(args) < 2:
			return nil, 0, usageError(fmt.Sprintf("flag needs an argument: '%s' in %s", letter, args[0]))
		default:
			return append(texts, "--"+kind.name+"="+args[1]), 1, nil
		}
	}
	return texts, 0, nil
}

// usageError is a mistake on the command line: exit code 125, as docker.
type usageError string

func (e usageError) Error() string { return string(e) }
