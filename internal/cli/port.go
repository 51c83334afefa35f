package cli

import (
	"fmt"
	"slices"

	"github.com/docker/go-connections/nat"
	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/format"
	"bryo/internal/state"
	"bryo/network/port"
)

// portsOf reads -p, -P and --expose.
func portsOf(c *cli.Context, r *engine.RunRequest) error {
	h := &r.Host
	for _, text := range c.StringSlice("publish") {
		list, err := port.Parse(text)
		if err != nil {
			return usageError(fmt.Sprintf("invalid argument %q for \"-p, --publish\" flag: %v", text, err))
		}
		for _, m := range list {
			if !slices.Contains(h.Publish, m) {
				h.Publish = append(h.Publish, m)
			}
		}
	}
	for _, text := range c.StringSlice("expose") {
		list, err := port.ParseExpose(text)
		if err != nil {
			return usageError(err.Error())
		}
		h.Exposed = append(h.Exposed, list...)
	}
	h.PublishAll = c.Bool("publish-all")
	if (len(h.Publish) > 0 || h.PublishAll) && (h.Network == state.NetworkHost || h.Network == state.NetworkNone) {
		fmt.Fprintf(c.App.ErrWriter, "WARNING: Published ports are discarded when using %s network mode\n", h.Network)
	}
	return nil
}

func portCommand() *cli.Command {
	return &cli.Command{
		Name: "port", Usage: "list the published ports of a container",
		ArgsUsage: "CONTAINER [PRIVATE_PORT[/PROTO]]", Action: showPorts,
	}
}

func showPorts(c *cli.Context) error {
	if err := between(c, 1, 2); err != nil {
		return err
	}
	name := c.Args().First()
	_, container, err := containerOf(c, name)
	if err != nil {
		return err
	}
	list := container.OpenPorts()
	if c.NArg() == 1 {
		for _, m := range list {
			fmt.Fprintf(stdout(c), "%s -> %s\n", m.Container(), m.Host())
		}
		return nil
	}
	return showPort(c, list, name, c.Args().Get(1))
}

// showPort prints where one port of the container is published.
func showPort(c *cli.Context, list []port.Mapping, name, text string) error {
	proto, number := nat.SplitProtoPort(text)
	wanted, err := nat.NewPort(proto, number)
	if err != nil {
		return clientError(err.Error())
	}
	found := false
	for _, m := range list {
		if m.Container() == string(wanted) {
			found = true
			fmt.Fprintln(stdout(c), m.Host())
		}
	}
	if !found {
		return fmt.Errorf("No public port '%s' published for %s", wanted, printable(name))
	}
	return nil
}

// exposedWhile are the exposed ports of a container that runs: docker lists no
// others.
func exposedWhile(c *engine.Container) []string {
	if !c.Running() {
		return nil
	}
	return c.Host.Exposed
}

// matchesPorts: the filters publish and expose, PORT[-PORT][/PROTOCOL].
func matchesPorts(c *engine.Container, f format.Filters) bool {
	var published []string
	for _, m := range c.Host.Publish {
		published = append(published, m.Container())
	}
	return anyPort(f["publish"], published) && anyPort(f["expose"], append(published, c.Host.Exposed...))
}

func anyPort(wanted, have []string) bool {
	for _, text := range wanted {
		list, err := port.ParseExpose(text)
		if err == nil && slices.ContainsFunc(list, func(p string) bool { return slices.Contains(have, p) }) {
			return true
		}
	}
	return len(wanted) == 0
}
