package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/format"
	"bryo/internal/state"
	"bryo/network/bridge"
)

func networkCommand() *cli.Command {
	return &cli.Command{
		Name:  "network",
		Usage: "manage networks",
		Subcommands: []*cli.Command{
			networkConnect(), networkCreate(), networkDisconnect(), networkInspect(), networkList(), networkPrune(), networkRemove(),
		},
	}
}

func networkCreate() *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "make a network and print its ID",
		ArgsUsage: "NETWORK",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "attachable", Usage: "noted; every network can be attached to"},
			&cli.StringSliceFlag{Name: "aux-address", Usage: "address that no container gets (`NAME=IP`)"},
			&cli.StringFlag{Name: "driver", Aliases: []string{"d"}, Value: bridge.Driver, Usage: "driver: bridge"},
			&cli.StringSliceFlag{Name: "gateway", Usage: "address of the gateway of a subnet"},
			&cli.BoolFlag{Name: "internal", Usage: "no way out of the network"},
			&cli.StringSliceFlag{Name: "ip-range", Usage: "give containers addresses of this part of a subnet"},
			&cli.StringFlag{Name: "ipam-driver", Value: "default", Usage: "driver for addresses: default"},
			&cli.StringSliceFlag{Name: "ipam-opt", Usage: "option of that driver (`KEY=VALUE`)"},
			&cli.BoolFlag{Name: "ipv4", Value: true, Usage: "IPv4 addresses"},
			&cli.BoolFlag{Name: "ipv6", Usage: "IPv6 addresses"},
			&cli.StringSliceFlag{Name: "label", Usage: "set a label"},
			&cli.StringSliceFlag{Name: "opt", Aliases: []string{"o"}, Usage: "option of the driver (`KEY=VALUE`)"},
			&cli.StringFlag{Name: "scope", Usage: "scope: local"},
			&cli.StringSliceFlag{Name: "subnet", Usage: "subnet in CIDR format"},
		}, refusedFlags("network create")...),
		Action: func(c *cli.Context) error {
			if err := refuse(c); err != nil {
				return err
			}
			if err := exactly(c, 1); err != nil {
				return err
			}
			o, err := networkOptions(c)
			if err != nil {
				return err
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			made, err := e.CreateNetwork(o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(stdout(c), made.ID)
			return err
		},
	}
}

func networkOptions(c *cli.Context) (o bridge.CreateOptions, err error) {
	if d := c.String("ipam-driver"); d != "default" {
		return o, usageError(fmt.Sprintf("--ipam-driver %s: there is only default", printable(d)))
	}
	o = bridge.CreateOptions{
		Name: c.Args().First(), Driver: c.String("driver"), Scope: c.String("scope"), IPv4: c.Bool("ipv4"), IPv6: c.Bool("ipv6"),
		Internal: c.Bool("internal"), Attachable: c.Bool("attachable"),
		Subnets: commaList(c, "subnet"), Gateways: commaList(c, "gateway"), IPRanges: commaList(c, "ip-range"),
	}
	for _, f := range []struct {
		flag string
		to   *map[string]string
	}{{"label", &o.Labels}, {"opt", &o.Options}, {"ipam-opt", &o.IPAM}, {"aux-address", &o.Aux}} {
		if *f.to, err = keyValues(c, f.flag, c.StringSlice(f.flag)); err != nil {
			return o, err
		}
	}
	return o, nil
}

// commaList: docker's lists of strings take several in one flag.
func commaList(c *cli.Context, flag string) (list []string) {
	for _, text := range c.StringSlice(flag) {
		list = append(list, strings.Split(text, ",")...)
	}
	return list
}

func networkList() *cli.Command {
	return &cli.Command{
		Name:    "ls",
		Aliases: []string{"list"},
		Usage:   "list networks",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"}, Usage: "keep networks that match `KEY=VALUE`"},
			&cli.StringFlag{Name: "format", Usage: "table, json or a Go template"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "print whole IDs"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print IDs only"},
		},
		Action: func(c *cli.Context) error {
			if err := exactly(c, 0); err != nil {
				return err
			}
			filters, err := format.ParseFilters(c.StringSlice("filter"), "dangling", "driver", "id", "label", "name", "scope", "type")
			if err != nil {
				return filterError(c, err)
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			list, err := e.Networks()
			if err != nil {
				return err
			}
			slices.SortFunc(list, func(a, b *engine.Network) int { return strings.Compare(a.Name, b.Name) })
			var rows []format.Row
			for _, n := range list {
				keep, err := networkMatches(e, n, filters)
				if err != nil {
					return err
				}
				if keep {
					rows = append(rows, networkRow(n, c.Bool("no-trunc")))
				}
			}
			layout := format.List{
				Headers: map[string]string{"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4",
					"IPv6": "IPV6", "Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT"},
				Table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}", Quiet: "{{.ID}}",
				Raw: "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n", RawQuiet: "network_id: {{.ID}}",
			}
			return layout.Write(stdout(c), c.String("format"), c.Bool("quiet"), rows)
		},
	}
}

func networkRow(n *engine.Network, whole bool) format.Row {
	id := n.ID
	if !whole {
		id = format.ShortID(id)
	}
	return format.Row{
		"ID": id, "Name": n.Name, "Driver": n.Driver, "Scope": "local", "IPv4": strconv.FormatBool(n.IPv4), "IPv6": strconv.FormatBool(n.IPv6),
		"Internal": strconv.FormatBool(n.Internal), "Labels": format.Labels(n.Labels), "CreatedAt": n.Created.Local().String(),
	}
}

func networkMatches(e *engine.Engine, n *engine.Network, f format.Filters) (bool, error) {
	kind := "custom"
	if n.Builtin {
		kind = "builtin"
	}
	for _, value := range f["type"] {
		if value != "custom" && value != "builtin" {
			return false, fmt.Errorf("invalid filter: 'type'='%s'", printable(value))
		}
	}
	if !f.Matches("driver", n.Driver) || !f.MatchesPrefix("id", n.ID) || !f.MatchesPattern("name", n.Name) ||
		!f.Matches("scope", "local") || !f.Matches("type", kind) || !f.MatchesLabels(n.Labels) {
		return false, nil
	}
	if _, asked := f["dangling"]; !asked {
		return true, nil
	}
	want, err := f.Bool("dangling", false)
	if err != nil {
		return false, err
	}
	shown, err := e.InspectNetwork(n)
	return err == nil && want == (!n.Builtin && len(shown.Containers) == 0), err
}

func networkInspect() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "show all that is known of networks",
		ArgsUsage: "NETWORK [NETWORK...]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "json or a Go template"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "no more than without"},
		},
		Action: func(c *cli.Context) error {
			return inspectAll(c, func(e *engine.Engine, name string) (any, error) {
				n, err := e.Network(name)
				if err != nil {
					return nil, err
				}
				return e.InspectNetwork(n)
			})
		},
	}
}

func networkRemove() *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Aliases:   []string{"remove"},
		Usage:     "remove networks",
		ArgsUsage: "NETWORK [NETWORK...]",
		Flags:     []cli.Flag{&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "no error for a network that is not there"}},
		Action: func(c *cli.Context) error {
			return forEach(c, func(e *engine.Engine, name string) error {
				err := e.RemoveNetwork(name)
				if c.Bool("force") && errors.As(err, new(*bridge.NotFoundError)) {
					return nil
				}
				if err == nil {
					fmt.Fprintln(stdout(c), name)
				}
				return err
			})
		},
	}
}

func networkPrune() *cli.Command {
	return &cli.Command{
		Name:  "prune",
		Usage: "remove all unused networks",
		Flags: pruneFlags("only those that match (`until=<timestamp>`, label)"),
		Action: func(c *cli.Context) error {
			filters, err := pruneFilters(c)
			if err != nil {
				return err
			}
			return prune(c, pruning{
				warning: "WARNING! This will remove all custom networks not used by at least one container.",
				filters: filters, steps: []pruneStep{pruneNetworks}, noTotal: true,
			})
		},
	}
}

func networkConnect() *cli.Command {
	return &cli.Command{
		Name:      "connect",
		Usage:     "put a container on a network",
		ArgsUsage: "NETWORK CONTAINER",
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "alias", Usage: "another name on this network"},
			&cli.IntFlag{Name: "gw-priority", Usage: "the network of the highest priority has the default route"},
			&cli.StringFlag{Name: "ip", Usage: "IPv4 address"},
			&cli.StringFlag{Name: "ip6", Usage: "IPv6 address"},
		}, refusedFlags("network connect")...),
		Action: func(c *cli.Context) error {
			if err := exactly(c, 2); err != nil {
				return err
			}
			if err := refuse(c); err != nil {
				return err
			}
			n := state.Network{Name: c.Args().Get(0), Priority: c.Int("gw-priority")}
			for _, alias := range commaList(c, "alias") {
				n.Aliases = append(n.Aliases, strings.ToLower(alias))
			}
			if err := addressFlags(c, &n); err != nil {
				return err
			}
			e, container, err := containerOf(c, c.Args().Get(1))
			if err != nil {
				return err
			}
			return e.ConnectNetwork(container, n)
		},
	}
}

// addressFlags reads --ip and --ip6.
func addressFlags(c *cli.Context, n *state.Network) (err error) {
	if text := c.String("ip"); text != "" {
		if n.IP, err = state.ParseIP(text, true); err != nil {
			return usageError(err.Error())
		}
	}
	if text := c.String("ip6"); text != "" {
		if n.IP6, err = state.ParseIP(text, false); err != nil {
			return usageError(err.Error())
		}
	}
	return nil
}

func networkDisconnect() *cli.Command {
	return &cli.Command{
		Name:      "disconnect",
		Usage:     "take a container off a network",
		ArgsUsage: "NETWORK CONTAINER",
		Flags:     []cli.Flag{&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "no error for a container that is not there"}},
		Action: func(c *cli.Context) error {
			if err := exactly(c, 2); err != nil {
				return err
			}
			e, container, err := containerOf(c, c.Args().Get(1))
			if err != nil {
				if c.Bool("force") && errors.Is(err, state.ErrNotFound) {
					return nil
				}
				return err
			}
			return e.DisconnectNetwork(container, c.Args().Get(0))
		},
	}
}
