package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/format"
)

func diskUsageCommand() *cli.Command {
	return &cli.Command{
		Name:  "df",
		Usage: "show disk usage",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "table, json or a Go template"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "show each object"},
		},
		Action: func(c *cli.Context) error {
			if err := exactly(c, 0); err != nil {
				return err
			}
			if c.Bool("verbose") && strings.HasPrefix(c.String("format"), "table ") {
				return usageError("--verbose has tables of its own: give it no --format with a table")
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			used, err := e.DiskUsage()
			if err != nil {
				return err
			}
			if c.Bool("verbose") {
				return showObjects(stdout(c), c.String("format"), used)
			}
			return diskLayout().Write(stdout(c), c.String("format"), false, diskRows(used))
		},
	}
}

func diskLayout() format.List {
	return format.List{
		Headers: map[string]string{"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE"},
		Table:   "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
		Raw:     "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n",
	}
}

// diskRows are docker's four: a build's steps are images here, and kept as such.
func diskRows(used *engine.DiskUsage) []format.Row {
	var idleImages, containers, idleContainers, volumes, idleVolumes int64
	activeImages, activeContainers, activeVolumes := 0, 0, 0
	for _, i := range used.Images {
		if i.Containers > 0 {
			activeImages++
		} else {
			idleImages += i.Unique
		}
	}
	for _, c := range used.Containers {
		containers += c.Size
		if c.Running() {
			activeContainers++
		} else {
			idleContainers += c.Size
		}
	}
	for _, v := range used.Volumes {
		volumes += v.Size
		if v.Links > 0 {
			activeVolumes++
		} else {
			idleVolumes += v.Size
		}
	}
	if activeImages == 0 {
		idleImages = used.LayersSize // what they share goes too
	}
	return []format.Row{
		diskRow("Images", len(used.Images), activeImages, used.LayersSize, idleImages),
		diskRow("Containers", len(used.Containers), activeContainers, containers, idleContainers),
		diskRow("Local Volumes", len(used.Volumes), activeVolumes, volumes, idleVolumes),
		diskRow("Build Cache", 0, 0, 0, 0),
	}
}

func diskRow(kind string, total, active int, size, reclaimable int64) format.Row {
	text := units.HumanSize(float64(reclaimable))
	if size > 0 {
		text += fmt.Sprintf(" (%d%%)", reclaimable*100/size)
	}
	return format.Row{
		"Type": kind, "TotalCount": strconv.Itoa(total), "Active": strconv.Itoa(active), "Size": units.HumanSize(float64(size)), "Reclaimable": text,
	}
}

// showObjects prints docker's tables, or one object as JSON or by a template.
func showObjects(out io.Writer, how string, used *engine.DiskUsage) error {
	tables := []objectTable{imageObjects(used), containerObjects(used), volumeObjects(used), cacheObjects()}
	if how != "" && how != "table" {
		all := format.Row{}
		for _, t := range tables {
			all[t.key] = t.rows
		}
		return format.List{}.Write(out, how, false, []format.Row{all})
	}
	for i, t := range tables {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if _, err := fmt.Fprintf(out, "%s\n\n", t.title); err != nil {
			return err
		}
		if err := t.layout.Write(out, "", false, t.rows); err != nil {
			return err
		}
	}
	return nil
}

type objectTable struct {
	key, title string
	layout     format.List
	rows       []format.Row
}

func imageObjects(used *engine.DiskUsage) objectTable {
	t := objectTable{key: "Images", title: "Images space usage:", rows: []format.Row{}, layout: format.List{
		Headers: imageHeaders, Table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
	}}
	for _, i := range used.Images {
		for _, row := range imageRows(i.Summary, false, nil, "") {
			row["SharedSize"], row["UniqueSize"], row["Containers"] = units.HumanSize(float64(i.Shared)), units.HumanSize(float64(i.Unique)), strconv.Itoa(i.Containers)
			t.rows = append(t.rows, row)
		}
	}
	return t
}

func containerObjects(used *engine.DiskUsage) objectTable {
	t := objectTable{key: "Containers", title: "Containers space usage:", rows: []format.Row{}, layout: format.List{
		Headers: psHeaders, Table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
	}}
	for _, c := range used.Containers {
		t.rows = append(t.rows, psRow(c.Container, false, format.Size(c.Size)))
	}
	return t
}

func volumeObjects(used *engine.DiskUsage) objectTable {
	t := objectTable{key: "Volumes", title: "Local Volumes space usage:", rows: []format.Row{}, layout: format.List{
		Headers: map[string]string{"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}, Table: "{{.Name}}\t{{.Links}}\t{{.Size}}",
	}}
	for _, v := range used.Volumes {
		row := volumeRow(v.Volume)
		row["Links"], row["Size"] = strconv.Itoa(v.Links), units.HumanSize(float64(v.Size))
		t.rows = append(t.rows, row)
	}
	return t
}

func cacheObjects() objectTable {
	return objectTable{key: "BuildCache", title: "Build cache usage: 0B", rows: []format.Row{}, layout: format.List{
		Headers: map[string]string{"ID": "CACHE ID", "CacheType": "CACHE TYPE", "Size": "SIZE", "CreatedSince": "CREATED", "LastUsedSince": "LAST USED", "UsageCount": "USAGE", "Shared": "SHARED"},
		Table:   "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}",
	}}
}
