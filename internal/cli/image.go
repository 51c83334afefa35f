package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/format"
	"bryo/internal/images"
	"bryo/rootfs/image"
	"bryo/rootfs/reference"
)

// imageCommand groups the verbs of images under docker's newer spelling.
func imageCommand() *cli.Command {
	remove := rmiCommand()
	remove.Name, remove.Aliases = "rm", []string{"remove"}
	return &cli.Command{
		Name:  "image",
		Usage: "manage images",
		Subcommands: []*cli.Command{
			historyCommand(), importCommand(), imageInspectCommand(), loadCommand(), imagesCommand("ls"),
			imagePruneCommand(), pullCommand(), pushCommand(), remove, saveCommand(), tagCommand(),
		},
	}
}

func rmiCommand() *cli.Command {
	return &cli.Command{
		Name:      "rmi",
		Usage:     "remove images",
		ArgsUsage: "IMAGE [IMAGE...]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "remove an image with several names or stopped containers"},
			&cli.BoolFlag{Name: "no-prune", Usage: "keep untagged parents"},
			&cli.StringSliceFlag{Name: "platform", Usage: "remove this platform only"},
		},
		Action: func(c *cli.Context) error {
			if err := atLeast(c, 1); err != nil {
				return err
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			good, bad := imageNames(c.Args().Slice())
			args := images.RemoveArgs{References: good, Force: c.Bool("force"), NoPrune: c.Bool("no-prune")}
			for _, text := range c.StringSlice("platform") {
				platform, err := image.CanonicalPlatform(text)
				if err != nil {
					return err
				}
				args.Platforms = append(args.Platforms, platform)
			}
			result := &images.RemoveResult{}
			if len(good) > 0 {
				if result, err = e.RemoveImages(args); err != nil {
					return err
				}
			}
			result.Errors = append(bad, result.Errors...)
			for _, line := range result.Lines {
				fmt.Fprintln(stdout(c), line)
			}
			if c.Bool("force") && !slices.ContainsFunc(result.Errors, isPresent) {
				// What is to be gone by force, and is not there, is gone: docker's exit code is 0.
				for i := range result.Errors {
					fmt.Fprintln(os.Stderr, printable(result.Errors[i].Message))
				}
				return nil
			}
			return several(result.Errors)
		},
	}
}

// imageNames parts what can name an image from what cannot, which is nobody's absence.
func imageNames(words []string) (good []string, bad []images.Failure) {
	for _, word := range words {
		_, err := reference.ParseName(word)
		if errors.Is(err, reference.ErrFormat) && !strings.HasPrefix(word, "sha256:") {
			bad = append(bad, images.Failure{Message: fmt.Sprintf("%v: %q", err, word)})
			continue
		}
		good = append(good, word)
	}
	return good, bad
}

func isPresent(f images.Failure) bool { return f.Kind != images.KindNotFound }

// several reports the failures of a command with many operands: one line each,
// exit code 1.
func several(failures []images.Failure) error {
	switch len(failures) {
	case 0:
		return nil
	case 1:
		return &failures[0]
	}
	for i := range failures {
		fmt.Fprintln(os.Stderr, "bryo: "+printable(failures[i].Message))
	}
	return exit(1)
}

func tagCommand() *cli.Command {
	return &cli.Command{
		Name:      "tag",
		Usage:     "give an image another name",
		ArgsUsage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
		Action: func(c *cli.Context) error {
			if err := exactly(c, 2); err != nil {
				return err
			}
			for i, name := range c.Args().Slice() {
				// The source may be an ID, which is no reference.
				if _, err := reference.Parse(name); err != nil && (i == 1 || name == "") {
					return fmt.Errorf("Error parsing reference: %q is not a valid repository/tag: %w", name, err)
				}
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			return e.Tag(images.TagArgs{Source: c.Args().Get(0), Target: c.Args().Get(1)})
		},
	}
}

func imageInspectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "show all that is known of images",
		ArgsUsage: "IMAGE [IMAGE...]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "json or a Go template"},
			&cli.StringFlag{Name: "platform", Usage: "inspect this platform"},
		},
		Action: func(c *cli.Context) error {
			platform, err := platformOf(c)
			if err != nil {
				return err
			}
			return inspectAll(c, func(e *engine.Engine, name string) (any, error) { return e.InspectImage(name, platform) })
		},
	}
}

func historyCommand() *cli.Command {
	return &cli.Command{
		Name:      "history",
		Usage:     "show how an image was made",
		ArgsUsage: "IMAGE",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "table, json or a Go template"},
			&cli.BoolFlag{Name: "human", Aliases: []string{"H"}, Value: true, Usage: "print sizes and dates for people"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "print everything whole"},
			&cli.StringFlag{Name: "platform", Usage: "show this platform"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print IDs only"},
		},
		Action: func(c *cli.Context) error {
			if err := exactly(c, 1); err != nil {
				return err
			}
			platform, err := platformOf(c)
			if err != nil {
				return fmt.Errorf("invalid platform: %w", err)
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			steps, err := e.History(c.Args().First(), platform)
			if err != nil {
				return err
			}
			layout := format.List{
				Headers: map[string]string{"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT"},
				Table:   "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
			}
			if !c.Bool("human") {
				layout.Table = strings.Replace(layout.Table, "CreatedSince", "CreatedAt", 1)
			}
			return layout.Write(stdout(c), c.String("format"), c.Bool("quiet"), historyRows(c, steps))
		},
	}
}

// undated is the year 2000: what is older has no date that means something, docker says.
const undated = 946684800

func historyRows(c *cli.Context, steps []image.HistoryEntry) []format.Row {
	var rows []format.Row
	for _, step := range steps {
		id, by, size := step.ID, strings.ReplaceAll(step.CreatedBy, "\t", " "), format.Size(step.Size)
		created := time.Unix(step.Created, 0)
		if !c.Bool("no-trunc") {
			by = format.Ellipsis(by, 45)
			if id != "<missing>" {
				id = format.ShortID(id)
			}
		}
		since := format.Ago(created, time.Now())
		if step.Created <= undated {
			since = "N/A"
		}
		if !c.Bool("human") {
			size, since = fmt.Sprint(step.Size), created.Format(time.RFC3339)
		}
		rows = append(rows, format.Row{
			"ID": id, "CreatedSince": since, "CreatedAt": created.Format(time.RFC3339),
			"CreatedBy": by, "Size": size, "Comment": step.Comment,
		})
	}
	return rows
}

func imagePruneCommand() *cli.Command {
	return &cli.Command{
		Name:  "prune",
		Usage: "remove unused images",
		Flags: append(pruneFlags("only those that match (`until=<timestamp>`, label)"),
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "all unused images, not only dangling ones"}),
		Action: func(c *cli.Context) error {
			filters, err := image.ParseFilter(c.StringSlice("filter"))
			if err != nil {
				return filterError(c, err)
			}
			warning := "WARNING! This will remove all dangling images."
			if c.Bool("all") {
				warning = "WARNING! This will remove all images without at least one container associated to them."
			}
			return prune(c, pruning{warning: warning, filters: format.Filters(filters), steps: []pruneStep{pruneImages(c.Bool("all"))}})
		},
	}
}

func loadCommand() *cli.Command {
	return &cli.Command{
		Name:  "load",
		Usage: "load images from an archive or standard input",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "input", Aliases: []string{"i"}, Usage: "read `FILE` instead of standard input"},
			&cli.StringFlag{Name: "platform", Usage: "load this platform only"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress"},
		},
		Action: func(c *cli.Context) error {
			if err := exactly(c, 0); err != nil {
				return err
			}
			if c.String("input") == "" && isTTY(os.Stdin) {
				return errors.New("requested load from stdin, but stdin is empty")
			}
			platform, err := platformOf(c)
			if err != nil {
				return fmt.Errorf("invalid platform: %w", err)
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			result, err := e.Load(images.LoadArgs{Path: c.String("input"), Platform: platform, Quiet: c.Bool("quiet")})
			if err != nil {
				return err
			}
			for _, name := range result.Loaded {
				fmt.Fprintln(stdout(c), name)
			}
			return nil
		},
	}
}

func saveCommand() *cli.Command {
	return &cli.Command{
		Name:      "save",
		Usage:     "write images to an archive (standard output by default)",
		ArgsUsage: "IMAGE [IMAGE...]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`"},
			&cli.StringFlag{Name: "platform", Usage: "save this platform only"},
		},
		Action: func(c *cli.Context) error {
			if err := atLeast(c, 1); err != nil {
				return err
			}
			if c.String("output") == "" && isTTY(os.Stdout) {
				return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
			}
			platform, err := platformOf(c)
			if err != nil {
				return fmt.Errorf("invalid platform: %w", err)
			}
			if err := checkOutput(c.String("output")); err != nil {
				return fmt.Errorf("failed to save image: %w", err)
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			return e.Save(images.SaveArgs{References: c.Args().Slice(), Platform: platform, Path: c.String("output")})
		},
	}
}

func importCommand() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "make an image from the tar archive of a file system",
		ArgsUsage: "FILE|- [REPOSITORY[:TAG]]",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "change", Aliases: []string{"c"}, Usage: "apply a Dockerfile instruction to the image"},
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "commit message"},
			&cli.StringFlag{Name: "platform", Usage: "platform of the image"},
		},
		Action: func(c *cli.Context) error {
			if err := errors.Join(atLeast(c, 1), atMost(c, 2)); err != nil {
				return err
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			id, err := e.Import(images.ImportArgs{
				Path: c.Args().Get(0), Reference: c.Args().Get(1), Message: c.String("message"),
				Platform: c.String("platform"), Changes: c.StringSlice("change"),
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(stdout(c), "sha256:"+id)
			return err
		},
	}
}
