package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
)

func diffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "Inspect changes to files or directories on a container's filesystem",
		ArgsUsage: "CONTAINER",
		Action: func(c *cli.Context) error {
			if err := exactly(c, 1); err != nil {
				return err
			}
			e, container, err := containerOf(c, c.Args().First())
			if err != nil {
				return err
			}
			changes, err := e.Changes(container)
			if err != nil {
				return err
			}
			for _, change := range changes {
				fmt.Fprintln(stdout(c), change.Kind+" "+printable(change.Path))
			}
			return nil
		},
	}
}

func exportCommand() *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "Export a container's filesystem as a tar archive",
		ArgsUsage: "CONTAINER",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "Write to a `FILE`, instead of STDOUT"},
		},
		Action: func(c *cli.Context) error {
			if err := exactly(c, 1); err != nil {
				return err
			}
			output := c.String("output")
			if output == "" && isTTY(os.Stdout) {
				return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
			}
			e, container, err := containerOf(c, c.Args().First())
			if err != nil {
				return err
			}
			if output == "" {
				return e.Export(container, os.Stdout)
			}
			if err := checkOutput(output); err != nil {
				return fmt.Errorf("failed to export container: %w", err)
			}
			return e.ExportTo(container, output)
		},
	}
}

func commitCommand() *cli.Command {
	return &cli.Command{
		Name:      "commit",
		Usage:     "Create a new image from a container's changes",
		ArgsUsage: "CONTAINER [REPOSITORY[:TAG]]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "author", Aliases: []string{"a"}, Usage: "Author (e.g., \"John Hannibal Smith <hannibal@a-team.com>\")"},
			&cli.StringSliceFlag{Name: "change", Aliases: []string{"c"}, Usage: "Apply Dockerfile instruction to the created image"},
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "Commit message"},
			&cli.BoolFlag{Name: "pause", Aliases: []string{"p"}, Value: true, Usage: "Pause container during commit"},
		},
		Action: func(c *cli.Context) error {
			if err := between(c, 1, 2); err != nil {
				return err
			}
			e, container, err := containerOf(c, c.Args().First())
			if err != nil {
				return err
			}
			id, err := e.Commit(container, engine.CommitOptions{
				Reference: c.Args().Get(1), Author: c.String("author"), Message: c.String("message"),
				Changes: c.StringSlice("change"), Pause: c.Bool("pause"),
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(stdout(c), "sha256:"+id)
			return err
		},
	}
}
