package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
)

// checkCommand compares the data root with the truth: exit code 0 when nothing is
// wrong, or all of it is repaired.
func checkCommand() *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "find what was left behind or damaged",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "layers", Usage: "compare every image layer with its digest (reads the whole store)"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no line when nothing is wrong"},
			&cli.BoolFlag{Name: "repair", Usage: "remove what was left behind, correct recorded states"},
		},
		Action: func(c *cli.Context) error {
			if err := exactly(c, 0); err != nil {
				return err
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			found, err := e.Check(engine.CheckOptions{Repair: c.Bool("repair"), Layers: c.Bool("layers")})
			left := 0
			for _, f := range found {
				fmt.Fprintln(stdout(c), findingText(f))
				if !f.Repaired {
					left++
				}
			}
			switch {
			case err != nil:
				return err
			case left > 0:
				return exit(1)
			case len(found) == 0 && !c.Bool("quiet"):
				fmt.Fprintln(stdout(c), "nothing is wrong")
			}
			return nil
		},
	}
}

func findingText(f engine.Finding) string {
	text := printable(f.Object) + ": " + printable(f.What)
	switch {
	case f.Repaired:
		return text + " (repaired: " + printable(f.Cure) + ")"
	case f.Err != nil:
		return text + " (not repaired: " + printable(f.Err.Error()) + ")"
	}
	return text + " (cure: " + printable(f.Cure) + ")"
}
