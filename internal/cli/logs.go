package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"bryo/internal/engine"
	"bryo/internal/logs"
)

func logsCommand() *cli.Command {
	return &cli.Command{
		Name:      "logs",
		Usage:     "show what a container printed",
		ArgsUsage: "CONTAINER",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "details", Usage: "show the attributes of the log options"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what comes"},
			&cli.StringFlag{Name: "since", Usage: "from this time on, or this long ago"},
			&cli.StringFlag{Name: "tail", Aliases: []string{"n"}, Value: "all", Usage: "the last `N` lines"},
			&cli.BoolFlag{Name: "timestamps", Aliases: []string{"t"}, Usage: "show times"},
			&cli.StringFlag{Name: "until", Usage: "up to this time, or this long ago"},
		},
		Action: showLogs,
	}
}

func showLogs(c *cli.Context) error {
	if err := exactly(c, 1); err != nil {
		return err
	}
	options, err := logOptions(c)
	if err != nil {
		return err
	}
	e, container, err := containerOf(c, c.Args().First())
	if err != nil {
		return err
	}
	return readLogs(c, e, container, options)
}

func readLogs(c *cli.Context, e *engine.Engine, container *engine.Container, options logs.ReadOptions) error {
	if !container.Host.Log.InFiles() {
		return logs.ErrUnreadable
	}
	options.Keep = container.Host.Log.Kept()
	options.Alive = func() bool { return container.Status.Supervisor.Alive() }
	ctx, stop := untilSignal(c.Context, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	printer := &logs.Printer{Out: stdout(c), Err: os.Stderr, Timestamps: c.Bool("timestamps"), Details: c.Bool("details")}
	summary, err := logs.Read(ctx, e.LogDir(container), options, printer)
	if err != nil && ctx.Err() == context.Canceled {
		return nil
	}
	if summary.Corrupt > 0 {
		fmt.Fprintf(os.Stderr, "bryo: logs: %d damaged %s left out\n", summary.Corrupt, plural("line", summary.Corrupt))
	}
	return err
}

func logOptions(c *cli.Context) (o logs.ReadOptions, err error) {
	o.Follow = c.Bool("follow")
	if o.Tail, err = logs.ParseTail(c.String("tail")); err != nil {
		return o, err
	}
	return o, timeRange(c, &o.Since, &o.Until)
}
