package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/format"
	"bryo/internal/state"
)

func removeContainers(c *cli.Context) error {
	if err := atLeast(c, 1); err != nil {
		return err
	}
	e, err := engineOf(c)
	if err != nil {
		return err
	}
	failed := false
	for _, key := range c.Args().Slice() {
		container, err := e.Container(key)
		if container != nil && container.Broken != nil && c.Bool("force") {
			err = nil // what cannot be read can still be removed
		}
		if err == nil {
			err = e.Remove(container, engine.RemoveOptions{Force: c.Bool("force"), Volumes: c.Bool("volumes")})
		}
		if errors.Is(err, state.ErrNotFound) && c.Bool("force") {
			continue
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "bryo: rm: %s\n", oneLine(err.Error()))
			failed = true
			continue
		}
		fmt.Fprintln(stdout(c), key)
	}
	if failed {
		return exit(1)
	}
	return nil
}

func containerPruneCommand() *cli.Command {
	return &cli.Command{
		Name:  "prune",
		Usage: "remove all stopped containers",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "filter", Usage: "only those that match (until, label)"},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "do not ask"},
		},
		Action: func(c *cli.Context) error {
			if err := exactly(c, 0); err != nil {
				return err
			}
			filters, err := format.ParseFilters(c.StringSlice("filter"), "until", "label", "label!")
			if err != nil {
				return usageError(err.Error())
			}
			if !c.Bool("force") && !confirmed(c, "WARNING! This will remove all stopped containers.") {
				return nil
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			freed, err := pruneContainers(e, stdout(c), filters)
			fmt.Fprintf(stdout(c), "Total reclaimed space: %s\n", units.HumanSize(float64(freed)))
			return err
		},
	}
}
