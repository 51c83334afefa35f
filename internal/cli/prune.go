package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/format"
	"bryo/internal/images"
	"bryo/rootfs/image"
)

// pruneFlags are those of every prune.
func pruneFlags(filter string) []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "filter", Usage: filter},
		&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "do not ask"},
	}
}

// pruneFilters are those of most prunes.
func pruneFilters(c *cli.Context) (format.Filters, error) {
	filters, err := format.ParseFilters(c.StringSlice("filter"), "until", "label", "label!")
	if err != nil {
		return nil, filterError(c, err)
	}
	return filters, nil
}

// pruning is what one prune asks, and what it removes.
type pruning struct {
	warning string
	filters format.Filters
	steps   []pruneStep
	noTotal bool // what it removes takes no room
}

type pruneStep func(*engine.Engine, io.Writer, format.Filters) (freed int64, err error)

// prune asks and takes the steps. One failure does not keep the rest; the total
// is what was freed all the same.
func prune(c *cli.Context, p pruning) error {
	if err := exactly(c, 0); err != nil {
		return err
	}
	for _, value := range p.filters["until"] {
		if _, err := format.Time(value, time.Now()); err != nil {
			return clientError(err.Error()) // before anybody is asked
		}
	}
	if !c.Bool("force") && !confirmed(c, p.warning) {
		return nil
	}
	e, err := engineOf(c)
	if err != nil {
		return err
	}
	var total int64
	var failed []error
	for _, step := range p.steps {
		freed, err := step(e, stdout(c), p.filters)
		total += freed
		failed = append(failed, err)
	}
	if !p.noTotal && (total > 0 || errors.Join(failed...) == nil) {
		fmt.Fprintf(stdout(c), "Total reclaimed space: %s\n", units.HumanSize(float64(total)))
	}
	return errors.Join(failed...)
}

// confirmed asks on stdout as docker does; anything but y is no.
func confirmed(c *cli.Context, warning string) bool {
	fmt.Fprintf(stdout(c), "%s\nAre you sure you want to continue? [y/N] ", warning)
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(answer), "y")
}

func systemPruneCommand() *cli.Command {
	return &cli.Command{
		Name:  "prune",
		Usage: "remove unused data",
		Flags: append(pruneFlags("only what matches (`until=<timestamp>`, label)"),
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "all unused images, not only dangling ones"},
			&cli.BoolFlag{Name: "volumes", Usage: "unused anonymous volumes too"}),
		Action: func(c *cli.Context) error {
			filters, err := pruneFilters(c)
			if err != nil {
				return err
			}
			if c.Bool("volumes") && len(filters["until"]) > 0 {
				return clientError("the \"until\" filter is not supported with \"--volumes\"")
			}
			return prune(c, pruning{warning: pruneWarning(c, filters), filters: filters, steps: pruneSteps(c)})
		},
	}
}

// pruneWarning is docker's list; confirmed puts the question behind it.
func pruneWarning(c *cli.Context, filters format.Filters) string {
	what := []string{"all stopped containers", "all networks not used by at least one container"}
	if c.Bool("volumes") {
		what = append(what, "all anonymous volumes not used by at least one container")
	}
	if c.Bool("all") {
		what = append(what, "all images without at least one container associated to them")
	} else {
		what = append(what, "all dangling images")
	}
	what = append(what, "unused build cache")
	text := "WARNING! This will remove:\n  - " + strings.Join(what, "\n  - ") + "\n"
	if len(filters) == 0 {
		return text
	}
	text += "\n  Items to be pruned will be filtered with:\n"
	for _, key := range filters.Keys() {
		for _, value := range filters[key] {
			text += "  - " + printable(key+"="+value) + "\n"
		}
	}
	return text
}

// pruneSteps go from what uses to what is used.
func pruneSteps(c *cli.Context) []pruneStep {
	steps := []pruneStep{pruneContainers, pruneNetworks}
	if c.Bool("volumes") {
		steps = append(steps, pruneVolumes(false))
	}
	return append(steps, pruneImages(c.Bool("all")))
}

func pruneContainers(e *engine.Engine, out io.Writer, filters format.Filters) (int64, error) {
	removed, freed, err := e.PruneContainers(filters)
	deleted(out, "Containers", removed)
	return freed, err
}

func pruneNetworks(e *engine.Engine, out io.Writer, filters format.Filters) (int64, error) {
	removed, err := e.PruneNetworks(filters)
	deleted(out, "Networks", removed)
	return 0, err
}

func pruneVolumes(all bool) pruneStep {
	return func(e *engine.Engine, out io.Writer, filters format.Filters) (int64, error) {
		args := images.VolumePruneArgs{All: all}
		for key, values := range filters {
			for _, value := range values {
				args.Filters = append(args.Filters, key+"="+value)
			}
		}
		pruned, err := e.PruneVolumes(args)
		if err != nil {
			return 0, err
		}
		deleted(out, "Volumes", pruned.VolumesDeleted)
		return int64(pruned.SpaceReclaimed), nil
	}
}

func pruneImages(all bool) pruneStep {
	return func(e *engine.Engine, out io.Writer, filters format.Filters) (int64, error) {
		result, err := e.PruneImages(images.PruneArgs{All: all, Filters: image.Filter(filters)})
		if err != nil {
			return 0, err
		}
		deleted(out, "Images", result.Lines)
		return result.Reclaimed, nil
	}
}

func deleted(out io.Writer, what string, names []string) {
	if len(names) == 0 {
		return
	}
	fmt.Fprintf(out, "Deleted %s:\n", what)
	for _, name := range names {
		fmt.Fprintln(out, name)
	}
	fmt.Fprintln(out)
}
