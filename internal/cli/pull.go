package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"bryo/internal/images"
	"bryo/rootfs/reference"
)

func pullCommand() *cli.Command {
	return &cli.Command{
		Name:      "pull",
		Usage:     "download an image from a registry",
		ArgsUsage: "NAME[:TAG|@DIGEST]",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "all-tags", Aliases: []string{"a"}, Usage: "download all tags of the repository"},
			&cli.StringFlag{Name: "platform", Usage: "platform of the image (`OS/ARCH[/VARIANT]`)"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print the name alone"},
		}, refusedFlags("pull")...),
		Action: func(c *cli.Context) error {
			if err := refuse(c); err != nil {
				return err
			}
			if err := exactly(c, 1); err != nil {
				return err
			}
			platform, err := platformOf(c)
			if err != nil {
				return err
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			result, err := e.Pull(c.Context, images.PullArgs{
				Reference: c.Args().First(), Platform: platform, AllTags: c.Bool("all-tags"), Quiet: c.Bool("quiet"),
			}, false)
			if err != nil {
				return err
			}
			if _, err := reference.Parse(c.Args().First()); err == nil {
				return nil // the progress view ends with the name
			}
			_, err = fmt.Fprintln(stdout(c), pulledName(result))
			return err
		},
	}
}

// pulledName names what came from an archive or a foreign store.
func pulledName(result *images.PullResult) string {
	if result.Record.Reference != "" {
		return result.Record.Reference
	}
	return "sha256:" + result.Record.ID
}

func pushCommand() *cli.Command {
	return &cli.Command{
		Name:      "push",
		Usage:     "upload an image to a registry",
		ArgsUsage: "NAME[:TAG]",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "all-tags", Aliases: []string{"a"}, Usage: "upload all tags of the repository"},
			&cli.StringFlag{Name: "platform", Usage: "platform of the image (`OS/ARCH[/VARIANT]`)"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress"},
		}, refusedFlags("push")...),
		Action: func(c *cli.Context) error {
			if err := refuse(c); err != nil {
				return err
			}
			if err := exactly(c, 1); err != nil {
				return err
			}
			platform, err := platformOf(c)
			if err != nil {
				return err
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			_, err = e.Push(images.PushArgs{
				Reference: c.Args().First(), Platform: platform, AllTags: c.Bool("all-tags"), Quiet: c.Bool("quiet"),
			})
			return err
		},
	}
}
