package cli

import (
	"bufio"
	"errors"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"bryo/internal/events"
	"bryo/internal/format"
)

func eventsCommand() *cli.Command {
	return &cli.Command{
		Name:  "events",
		Usage: "show what happens to containers, images, volumes and networks",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"}, Usage: "keep events that match `KEY=VALUE`"},
			&cli.StringFlag{Name: "format", Usage: "json or a Go template"},
			&cli.StringFlag{Name: "since", Usage: "from this time on, or this long ago"},
			&cli.StringFlag{Name: "until", Usage: "up to this time, or this long ago"},
		},
		Action: showEvents,
	}
}

func showEvents(c *cli.Context) error {
	if err := exactly(c, 0); err != nil {
		return err
	}
	var o events.Options
	var err error
	if o.Filters, err = events.ParseFilters(c.StringSlice("filter")); err != nil {
		return filterError(c, err)
	}
	if err := timeRange(c, &o.Since, &o.Until); err != nil {
		return err
	}
	if err := format.Check(c.String("format")); err != nil {
		return err // not first when something happens
	}
	e, err := engineOf(c)
	if err != nil {
		return err
	}
	ctx, stop := untilSignal(c.Context, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	out := bufio.NewWriter(stdout(c))
	e.KeepPromises()
	err = events.Read(ctx, e.Root, o, func(event *events.Event) error {
		if err := events.Print(out, c.String("format"), event); err != nil {
			return err
		}
		return out.Flush()
	})
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}
