package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"bryo/internal/engine"
	"bryo/internal/format"
)

func statsCommand() *cli.Command {
	return &cli.Command{
		Name:      "stats",
		Usage:     "show what containers use, again and again",
		ArgsUsage: "[CONTAINER...]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "show all, not only running ones"},
			&cli.StringFlag{Name: "format", Usage: "table, json or a Go template"},
			&cli.BoolFlag{Name: "no-stream", Usage: "show once"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "print whole IDs"},
		},
		Action: stats,
	}
}

func statsLayout() format.List {
	return format.List{
		Headers: map[string]string{
			"Container": "CONTAINER", "ID": "CONTAINER ID", "Name": "NAME", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT",
			"MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
		},
		Table: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
	}
}

// How often figures are taken: processor time is the difference of two.
const (
	statsPeriod = time.Second
	firstPeriod = 500 * time.Millisecond
)

func stats(c *cli.Context) error {
	e, err := engineOf(c)
	if err != nil {
		return err
	}
	watch := &watcher{engine: e, all: c.Bool("all"), whole: c.Bool("no-trunc"), once: c.Bool("no-stream"), keys: c.Args().Slice(), last: map[string]engine.Usage{}}
	ctx, stop := untilSignal(c.Context, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	layout := statsLayout()
	if err := layout.Try(c.String("format")); err != nil {
		return err
	}
	redraw := isTTY(os.Stdout) && !c.Bool("no-stream")
	if _, err := watch.rows(); err != nil { // the first of two
		return err
	}
	for wait := firstPeriod; ; wait = statsPeriod {
		if !pause(ctx, wait) {
			return nil
		}
		rows, err := watch.rows()
		if err != nil {
			return err
		}
		var screen bytes.Buffer
		if err := layout.Write(&screen, c.String("format"), false, rows); err != nil {
			return err
		}
		text := screen.Bytes()
		if redraw {
			text = overwriting(append(text, watch.footnote()...))
		} else {
			watch.sayOnce()
		}
		if _, err := stdout(c).Write(text); err != nil || c.Bool("no-stream") {
			return err
		}
	}
}

// pause is false when the user has enough.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// overwriting draws from the top left corner: each line clears what was behind
// it, the last what was below.
func overwriting(text []byte) []byte {
	text = bytes.ReplaceAll(text, []byte("\n"), []byte("\x1b[K\n"))
	return append(append([]byte("\x1b[H"), text...), "\x1b[J"...)
}

// watcher remembers the last figures of each container.
type watcher struct {
	engine     *engine.Engine
	all, whole bool
	once       bool     // what does not run shows zeros
	keys       []string // as the user named them; none: every container
	last       map[string]engine.Usage
	sums, said bool // figures are sums over processes; that was said
}

// containers is what there is to show now. A name that is no container is an
// error; one that stops stays in the list.
func (w *watcher) containers() (list []*engine.Container, err error) {
	if len(w.keys) == 0 {
		every, err := w.engine.Containers()
		for _, c := range every {
			if c.Broken == nil && (w.all || c.Running()) {
				list = append(list, c)
			}
		}
		return list, err
	}
	for _, key := range w.keys {
		c, err := w.engine.Container(key)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

func (w *watcher) rows() ([]format.Row, error) {
	list, err := w.containers()
	if err != nil {
		return nil, err
	}
	figures := make([]*engine.Usage, len(list))
	sample := engine.Sample()
	var reads sync.WaitGroup
	for i, c := range list {
		reads.Go(func() {
			if u, err := sample.Usage(c); err == nil { // else it stopped
				figures[i] = &u
			}
		})
	}
	reads.Wait()
	rows := make([]format.Row, len(list))
	for i, c := range list {
		w.sums = w.sums || figures[i] != nil && !figures[i].Exact
		rows[i] = w.row(i, c, figures[i])
	}
	return rows, nil
}

// areSums: they miss what has ended, and the user should know.
const areSums = "bryo: figures are sums over the processes in /proc: no control group of its own (bryo doctor has the cure)\n"

func (w *watcher) sayOnce() {
	if w.sums && !w.said {
		w.said = true
		fmt.Fprint(os.Stderr, areSums)
	}
}

// footnote is drawn below the table: on a screen that is drawn again and again no other
// line stays.
func (w *watcher) footnote() string {
	if w.sums {
		return areSums
	}
	return ""
}

func (w *watcher) row(i int, c *engine.Container, u *engine.Usage) format.Row {
	id, key := c.ID, c.ID
	if !w.whole {
		id = format.ShortID(id)
		key = id
	}
	if i < len(w.keys) {
		key = w.keys[i]
	}
	row := format.Row{"Container": key, "ID": id, "Name": c.Name}
	if u == nil && w.once { // docker's daemon answers the one question with zeros
		u = &engine.Usage{}
	}
	if u == nil {
		for _, column := range []string{"CPUPerc", "MemPerc", "PIDs", "NetIO", "BlockIO"} {
			row[column] = "--"
		}
		row["MemUsage"] = "-- / --"
		return row
	}
	row["CPUPerc"] = fmt.Sprintf("%.2f%%", w.busy(c.ID, u))
	row["MemUsage"] = units.BytesSize(float64(u.Memory)) + " / " + units.BytesSize(float64(u.Limit))
	row["MemPerc"] = "0.00%"
	if u.Limit > 0 {
		row["MemPerc"] = fmt.Sprintf("%.2f%%", 100*float64(u.Memory)/float64(u.Limit))
	}
	row["NetIO"] = format.Size(int64(u.Received)) + " / " + format.Size(int64(u.Sent))
	row["BlockIO"] = format.Size(int64(u.Read)) + " / " + format.Size(int64(u.Written))
	row["PIDs"] = strconv.Itoa(u.Tasks)
	return row
}

// busy is processor time since the last figures, in percent of one processor.
func (w *watcher) busy(id string, u *engine.Usage) float64 {
	last, known := w.last[id]
	w.last[id] = *u
	if !known || u.CPU < last.CPU || !u.At.After(last.At) {
		return 0
	}
	return 100 * float64(u.CPU-last.CPU) / float64(u.At.Sub(last.At))
}
