package cli

import (
	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/state"
)

func updateCommand() *cli.Command {
	return &cli.Command{
		Name:      "update",
		Usage:     "change limits and the restart policy of containers",
		ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags: append(append(limitFlags(),
			&cli.StringFlag{Name: "restart", Usage: "restart policy: no, on-failure[:N], always, unless-stopped"}),
			refusedFlags("update")...),
		Action: func(c *cli.Context) error {
			if err := refuse(c); err != nil {
				return err
			}
			if err := parseLimits(c, &state.Limits{}); err != nil {
				return err // before any container is looked at
			}
			u := engine.Update{}
			if c.IsSet("restart") {
				policy, err := restartPolicy(c.String("restart"))
				if err != nil {
					return clientError(err.Error()) // docker's code for it is 1 here
				}
				u.Restart = &policy
			}
			for _, f := range limitFlags() {
				if c.IsSet(f.Names()[0]) {
					u.Limits = func(l *state.Limits) error { return readLimits(c, l) }
				}
			}
			if u.Restart == nil && u.Limits == nil {
				return clientError("you must provide one or more flags when using this command")
			}
			return each(c, func(e *engine.Engine, container *engine.Container) error { return e.Update(container, u) })
		},
	}
}
