package cli

import (
	"slices"

	"github.com/urfave/cli/v2"
)

// refusal is a flag of docker's that bryo knows and does not have: it is refused
// by name, with the reason, and never taken for something else or passed over.
type refusal struct {
	name, short string
	bool        bool
	why         string
}

// refusals by command; what this list has shrinks, and a test compares it with
// docker's flags.
var refusals = map[string][]refusal{
	"update": {
		{name: "cpu-rt-period", why: noRealTime},
		{name: "cpu-rt-runtime", why: noRealTime},
	},
}

const noRealTime = "cgroup v2 has no real-time budget"

// refusedFlags are in no help text.
func refusedFlags(command string) (flags []cli.Flag) {
	for _, r := range refusals[command] {
		var aliases []string
		if r.short != "" {
			aliases = []string{r.short}
		}
		if r.bool {
			flags = append(flags, &cli.BoolFlag{Name: r.name, Aliases: aliases, Hidden: true})
		} else {
			flags = append(flags, &cli.StringSliceFlag{Name: r.name, Aliases: aliases, Hidden: true})
		}
	}
	return flags
}

// refuse names the first refused flag that the command line has.
func refuse(c *cli.Context) error {
	given := c.LocalFlagNames()
	for _, r := range refusals[c.Command.Name] {
		if slices.Contains(given, r.name) {
			return usageError("--" + r.name + " is not supported: " + r.why)
		}
	}
	return nil
}
