package cli

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/format"
	"bryo/internal/processes"
	"bryo/sandbox/userns"
)

func topCommand() *cli.Command {
	return &cli.Command{
		Name:      "top",
		Usage:     "show the processes of a container",
		ArgsUsage: "CONTAINER [ps OPTIONS]",
		Action:    top,
	}
}

// top prints what ps would: the cells are read here, no ps is executed.
func top(c *cli.Context) error {
	if err := atLeast(c, 1); err != nil {
		return err
	}
	e, err := engineOf(c)
	if err != nil {
		return err
	}
	container, err := e.Container(c.Args().First())
	if err != nil {
		return err
	}
	list, err := e.Processes(container)
	if err != nil {
		return err
	}
	titles, rows, err := processes.Table(list, processes.Options{
		PS: c.Args().Tail(), User: insideName(container, container.Mapping.UIDs), Group: insideName(container, container.Mapping.GIDs),
	})
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(stdout(c))
	out := tabwriter.NewWriter(buffered, 20, 1, 3, ' ', 0) // docker's widths
	fmt.Fprintln(out, strings.Join(titles, "\t"))
	for _, row := range rows {
		for i := range row {
			row[i] = format.Cell(row[i])
		}
		fmt.Fprintln(out, strings.Join(row, "\t"))
	}
	return errors.Join(out.Flush(), buffered.Flush())
}

// insideName shows an id of the host as the container knows it: root, or its
// number there. Names of the image are not looked up: its files are a stranger's.
func insideName(container *engine.Container, ranges []userns.Range) func(uint32) string {
	return func(id uint32) string {
		if len(ranges) == 0 && id == uint32(os.Geteuid()) {
			return "root"
		}
		for _, r := range ranges {
			if id >= r.Outside && id-r.Outside < r.Count {
				inside := containerID(container, r.Inside+id-r.Outside)
				if inside == 0 {
					return "root"
				}
				return strconv.FormatUint(uint64(inside), 10)
			}
		}
		if u, err := user.LookupId(strconv.FormatUint(uint64(id), 10)); err == nil {
			return u.Username
		}
		return strconv.FormatUint(uint64(id), 10)
	}
}

// containerID goes through the second map of --userns keep-id.
func containerID(container *engine.Container, id uint32) uint32 {
	if container.Host.KeepID == nil {
		return id
	}
	for _, r := range container.Host.KeepID.UIDs {
		if id >= r.Outside && id-r.Outside < r.Count {
			return r.Inside + id - r.Outside
		}
	}
	return id
}
