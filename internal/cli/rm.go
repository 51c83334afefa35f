package cli

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/state"
)

func removeContainers(c *cli.Context) error {
	force := c.Bool("force")
	return forEach(c, func(e *engine.Engine, key string) error {
		container, err := e.Container(key)
		if container != nil && container.Broken != nil && force {
			err = nil // what cannot be read can still be removed
		}
		if err == nil {
			err = e.Remove(container, engine.RemoveOptions{Force: force, Volumes: c.Bool("volumes")})
		}
		switch {
		case err == nil:
			fmt.Fprintln(stdout(c), key)
		case force && errors.Is(err, state.ErrNotFound):
			complain("rm: "+err.Error(), err) // said, as docker does, and no failure
		default:
			return fmt.Errorf("rm: %w", err)
		}
		return nil
	})
}

func containerPruneCommand() *cli.Command {
	return &cli.Command{
		Name:  "prune",
		Usage: "remove all stopped containers",
		Flags: pruneFlags("only those that match (until, label)"),
		Action: func(c *cli.Context) error {
			filters, err := pruneFilters(c)
			if err != nil {
				return err
			}
			return prune(c, pruning{
				warning: "WARNING! This will remove all stopped containers.", filters: filters, steps: []pruneStep{pruneContainers},
			})
		},
	}
}
