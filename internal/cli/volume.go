package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/format"
	"bryo/internal/images"
	"bryo/rootfs/volume"
)

func volumeCommand() *cli.Command {
	return &cli.Command{
		Name:  "volume",
		Usage: "manage volumes",
		Subcommands: []*cli.Command{
			volumeCreate(), volumeInspect(), volumeList(), volumePrune(), volumeRemove(),
		},
	}
}

func volumeCreate() *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "make a volume and print its name",
		ArgsUsage: "[VOLUME]",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "driver", Aliases: []string{"d"}, Value: volume.Driver, Usage: "driver: local"},
			&cli.StringSliceFlag{Name: "label", Usage: "set a label"},
			&cli.StringSliceFlag{Name: "opt", Aliases: []string{"o"}, Usage: "option of the driver (`KEY=VALUE`)"},
			&cli.StringFlag{Name: "name", Hidden: true},
		}, refusedFlags("volume create")...),
		Action: func(c *cli.Context) error {
			if err := refuse(c); err != nil {
				return err
			}
			if err := atMost(c, 1); err != nil {
				return err
			}
			labels, err := keyValues(c, "label", c.StringSlice("label"))
			if err != nil {
				return err
			}
			options, err := keyValues(c, "opt", c.StringSlice("opt"))
			if err != nil {
				return err
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			name := c.Args().First()
			if name == "" {
				name = c.String("name")
			}
			made, err := e.CreateVolume(name, volume.CreateOptions{Driver: c.String("driver"), Labels: labels, Options: options})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(stdout(c), made.Name)
			return err
		},
	}
}

func volumeInspect() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "show all that is known of volumes",
		ArgsUsage: "VOLUME [VOLUME...]",
		Flags:     []cli.Flag{&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "json or a Go template"}},
		Action: func(c *cli.Context) error {
			return inspectAll(c, func(e *engine.Engine, name string) (any, error) {
				v, err := e.Volume(name)
				if err != nil {
					return nil, err
				}
				return v.Inspect(), nil
			})
		},
	}
}

func volumeList() *cli.Command {
	return &cli.Command{
		Name:    "ls",
		Aliases: []string{"list"},
		Usage:   "list volumes",
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"}, Usage: "keep volumes that match `KEY=VALUE`"},
			&cli.StringFlag{Name: "format", Usage: "table, json or a Go template"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print names only"},
		}, refusedFlags("volume ls")...),
		Action: func(c *cli.Context) error {
			if err := refuse(c); err != nil {
				return err
			}
			if err := exactly(c, 0); err != nil {
				return err
			}
			filter, err := volume.ParseFilter(c.StringSlice("filter"), "dangling", "driver", "label", "name")
			if err != nil {
				return filterError(c, err)
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			list, err := e.Volumes(filter)
			if err != nil {
				return err
			}
			var rows []format.Row
			for _, v := range list {
				rows = append(rows, volumeRow(v))
			}
			layout := format.List{
				Headers: map[string]string{"Driver": "DRIVER", "Name": "VOLUME NAME", "Scope": "SCOPE", "Mountpoint": "MOUNTPOINT", "Labels": "LABELS", "Size": "SIZE", "Links": "LINKS",
					"Group": "GROUP", "Availability": "AVAILABILITY", "Status": "STATUS"},
				Table: "{{.Driver}}\t{{.Name}}", Quiet: "{{.Name}}",
				Raw: "name: {{.Name}}\ndriver: {{.Driver}}\n", RawQuiet: "name: {{.Name}}",
			}
			return layout.Write(stdout(c), c.String("format"), c.Bool("quiet"), rows)
		},
	}
}

func volumeRow(v *volume.Volume) format.Row {
	show := v.Inspect()
	return format.Row{
		"Driver": show.Driver, "Name": show.Name, "Scope": show.Scope, "Mountpoint": show.Mountpoint,
		"Labels": format.Labels(show.Labels), "Size": "N/A", "Links": "N/A", "Availability": "N/A", "Group": "N/A", "Status": "N/A",
	}
}

func volumeRemove() *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Aliases:   []string{"remove"},
		Usage:     "remove volumes",
		ArgsUsage: "VOLUME [VOLUME...]",
		Flags:     []cli.Flag{&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "no error for a volume that is not there"}},
		Action: func(c *cli.Context) error {
			if err := atLeast(c, 1); err != nil {
				return err
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			result, err := e.RemoveVolumes(images.VolumeRemoveArgs{Names: c.Args().Slice(), Force: c.Bool("force")})
			if err != nil {
				return err
			}
			for _, line := range result.Lines {
				fmt.Fprintln(stdout(c), line)
			}
			return several(result.Errors)
		},
	}
}

func volumePrune() *cli.Command {
	return &cli.Command{
		Name:  "prune",
		Usage: "remove unused anonymous volumes",
		Flags: append(pruneFlags("only those that match (label)"),
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "named volumes too"}),
		Action: func(c *cli.Context) error {
			keys := []string{"label", "label!", "all"}
			if _, err := volume.ParseFilter(c.StringSlice("filter"), keys...); err != nil { // the values too
				return filterError(c, err)
			}
			filters, err := format.ParseFilters(c.StringSlice("filter"), keys...)
			if err != nil {
				return filterError(c, err)
			}
			kind := "anonymous volumes not used by at least one container"
			if c.Bool("all") {
				kind = "volumes not used by at least one container"
			}
			return prune(c, pruning{
				warning: "WARNING! This will remove " + kind + ".", filters: filters, steps: []pruneStep{pruneVolumes(c.Bool("all"))},
			})
		},
	}
}
