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
	e, container, err := containerOf(c, c.Args().First())
	if err != nil {
		return err
	}
	list, err := e.Processes(container)
	if err != nil {
		return err
	}
	titles, rows, err := processes.Table(list, processes.Options{
		PS: c.Args().Tail(), User: insideName(users(container)), Group: insideName(groups(container)),
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

// ids are those of users or of groups: how they lead from the container to the
// host, and what the host calls the others.
type ids struct {
	mapped, kept []userns.Range // kept: the second map, of --userns keep-id
	own          int
	nameOf       func(id string) (string, error)
}

func users(c *engine.Container) ids {
	kept, _ := c.Host.KeepID.Maps()
	return ids{mapped: c.Mapping.UIDs, kept: kept, own: os.Geteuid(), nameOf: func(id string) (string, error) {
		u, err := user.LookupId(id)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	}}
}

func groups(c *engine.Container) ids {
	_, kept := c.Host.KeepID.Maps()
	return ids{mapped: c.Mapping.GIDs, kept: kept, own: os.Getegid(), nameOf: func(id string) (string, error) {
		g, err := user.LookupGroupId(id)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	}}
}

// insideName shows an id of the host as the container knows it: root, or its
// number there. Names of the image are not looked up: its files are a stranger's.
func insideName(i ids) func(uint32) string {
	return func(id uint32) string {
		if len(i.mapped) == 0 && id == uint32(i.own) {
			return "root"
		}
		inside, mapped := userns.Inside(i.mapped, id)
		if !mapped {
			text := strconv.FormatUint(uint64(id), 10)
			if name, err := i.nameOf(text); err == nil {
				return name
			}
			return text
		}
		if kept, ok := userns.Inside(i.kept, inside); ok {
			inside = kept
		}
		if inside == 0 {
			return "root"
		}
		return strconv.FormatUint(uint64(inside), 10)
	}
}
