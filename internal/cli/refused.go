package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// refusal is a flag of docker's that bryo knows and does not have: it is refused
// by name, with the reason, and never taken for something else or passed over.
type refusal struct {
	name, short string
	bool        bool
	why         string
	accepts     string // a value that asks for what is done anyway
}

// refusalsOf is what one command refuses, made when it is asked for and not at
// every start. What it has shrinks, and a test compares it with docker's flags.
func refusalsOf(command string) []refusal {
	switch refusalKey(command) {
	case "run", "create":
		return append(ofContainers(), ofRealTime()...)
	case "update":
		return ofRealTime()
	case "start":
		const why = "a container's processes are not saved to disk"
		return []refusal{{name: "checkpoint", why: why}, {name: "checkpoint-dir", why: why}}
	case "rm":
		return []refusal{{name: "link", short: "l", bool: true, why: "links of docker's first network do not exist"}}
	case "pull", "push":
		return []refusal{contentTrust()}
	case "images", "image ls":
		return []refusal{{name: "tree", bool: true, why: "an image here has one platform"}}
	case "volume ls":
		return []refusal{{name: "cluster", bool: true, why: noSwarm}}
	case "network create":
		return []refusal{
			{name: "config-from", why: noSwarm}, {name: "config-only", bool: true, why: noSwarm}, {name: "ingress", bool: true, why: noSwarm},
		}
	case "network connect":
		return []refusal{
			{name: "driver-opt", why: "the driver has none"}, {name: "link", why: noLinks}, {name: "link-local-ip", why: noLinkLocal},
		}
	case "volume create":
		return []refusal{
			{name: "availability", why: noSwarm}, {name: "group", why: noSwarm}, {name: "limit-bytes", why: noSwarm},
			{name: "required-bytes", why: noSwarm}, {name: "scope", why: noSwarm}, {name: "secret", why: noSwarm}, {name: "sharing", why: noSwarm},
			{name: "topology-preferred", why: noSwarm}, {name: "topology-required", why: noSwarm}, {name: "type", why: noSwarm},
		}
	}
	return nil
}

func ofContainers() []refusal {
	return []refusal{
		{name: "cpu-count", why: onWindows},
		{name: "cpu-percent", why: onWindows},
		{name: "device-cgroup-rule", why: "a user namespace makes no device nodes, so no rule could allow one (--device passes a node of the host in)"},
		contentTrust(),
		{name: "gpus", why: "no driver is set up for it (--device passes a node of the host in)"},
		{name: "io-maxbandwidth", why: onWindows},
		{name: "io-maxiops", why: onWindows},
		{name: "isolation", why: onWindows, accepts: "default"},
		{name: "kernel-memory", why: "the kernel has dropped it"},
		{name: "link", why: noLinks},
		{name: "link-local-ip", why: noLinkLocal},
		{name: "memory-swappiness", why: "cgroup v2 has none"},
		{name: "oom-kill-disable", bool: true, why: "cgroup v2 cannot switch the killer off"},
		{name: "runtime", why: "there is one", accepts: "bryo"},
		{name: "storage-opt", why: "a container's own layer has no quota"},
		{name: "use-api-socket", bool: true, why: "there is no daemon and no socket of one"},
		{name: "volume-driver", why: "there is one", accepts: "local"},
	}
}

func ofRealTime() []refusal {
	return []refusal{{name: "cpu-rt-period", why: noRealTime}, {name: "cpu-rt-runtime", why: noRealTime}}
}

func contentTrust() refusal {
	return refusal{
		name: "disable-content-trust", bool: true, why: "there is no content trust (docs/registries.md says what is checked)", accepts: "true",
	}
}

const (
	noLinks     = "links are of docker's first network (a network of your own has names: bryo network create)"
	noLinkLocal = "no network here has link-local addresses to give"
	noRealTime  = "cgroup v2 has no real-time budget"
	noSwarm     = "of Swarm"
	onWindows   = "on Windows only"
)

// refusedFlags are in no help text.
func refusedFlags(command string) (flags []cli.Flag) {
	for _, r := range refusalsOf(command) {
		var aliases []string
		if r.short != "" {
			aliases = []string{r.short}
		}
		if r.bool {
			flags = append(flags, &cli.BoolFlag{Name: r.name, Aliases: aliases, Hidden: true})
		} else {
			flags = append(flags, &cli.StringFlag{Name: r.name, Aliases: aliases, Hidden: true})
		}
	}
	return flags
}

// refusalKey: what container, image and system group is the same command.
func refusalKey(command string) string {
	group, name, grouped := strings.Cut(command, " ")
	if grouped && (group == "container" || group == "image" && name != "ls" || group == "system") {
		return name
	}
	return command
}

// refuse names the first refused flag that the command line has.
func refuse(c *cli.Context) error {
	given := c.LocalFlagNames()
	for _, r := range refusalsOf(strings.TrimPrefix(c.Command.HelpName, "bryo ")) {
		if slices.Contains(given, r.name) && (r.accepts == "" || fmt.Sprint(c.Value(r.name)) != r.accepts) {
			return usageError("--" + r.name + " is not supported: " + r.why)
		}
	}
	return nil
}
