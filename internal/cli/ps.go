package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/format"
	"bryo/internal/state"
	"bryo/network/port"
	"bryo/rootfs/mount"
)

func psCommand(name string) *cli.Command {
	command := &cli.Command{
		Name:  name,
		Usage: "list containers",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "show all, not only running ones"},
			&cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"}, Usage: "keep containers that match `KEY=VALUE`"},
			&cli.StringFlag{Name: "format", Usage: "table, json or a Go template"},
			&cli.IntFlag{Name: "last", Aliases: []string{"n"}, Value: -1, Usage: "show the last `N` created, in any state"},
			&cli.BoolFlag{Name: "latest", Aliases: []string{"l"}, Usage: "show the last created, in any state"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "print whole IDs and commands"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print IDs only"},
			&cli.BoolFlag{Name: "size", Aliases: []string{"s"}, Usage: "show sizes on disk"},
		},
		Action: ps,
	}
	if name == "ls" {
		command.Aliases = []string{"list", "ps"}
	}
	return command
}

var psKeys = []string{
	"id", "name", "label", "label!", "exited", "status", "ancestor", "before", "since", "volume", "network", "health", "publish", "expose", "is-task",
}

func ps(c *cli.Context) error {
	if err := exactly(c, 0); err != nil {
		return err
	}
	filters, err := format.ParseFilters(c.StringSlice("filter"), psKeys...)
	if err != nil {
		return filterError(c, err)
	}
	if err := checkPsValues(filters); err != nil {
		return err
	}
	template := c.String("format")
	if c.Bool("quiet") && template != "" && template != "raw" {
		fmt.Fprintln(c.App.ErrWriter, "WARNING: Ignoring custom format, because both --format and --quiet are set.")
		template = ""
	}
	if err := psLayout(false).Try(template); err != nil {
		return err
	}
	addUnslashed(filters)
	e, err := engineOf(c)
	if err != nil {
		return err
	}
	list, err := e.Containers()
	if err != nil {
		return err
	}
	if err := checkNamed(list, filters); err != nil {
		return err
	}
	last := c.Int("last")
	if c.Bool("latest") {
		last = 1
	}
	all := c.Bool("all") || last > 0 || len(filters["status"]) > 0 || len(filters["exited"]) > 0
	var rows []format.Row
	for _, container := range list {
		if !psMatches(list, container, filters) || !all && !container.Running() && container.Status.Phase != state.Restarting {
			continue
		}
		if last > 0 && len(rows) == last {
			break
		}
		rows = append(rows, psRow(container, c.Bool("no-trunc"), psSize(c, e, container)))
	}
	return psLayout(c.Bool("size")).Write(stdout(c), template, c.Bool("quiet"), rows)
}

func psLayout(size bool) format.List {
	layout := format.List{
		Headers:  psHeaders,
		Table:    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
		Raw:      psRaw,
		RawQuiet: "container_id: {{.ID}}",
	}
	if size {
		layout.Table += "\t{{.Size}}"
		layout.Raw += "size: {{.Size}}\n"
	}
	return layout
}

// psRaw is docker's --format raw: a line for each value.
const psRaw = `container_id: {{.ID}}
image: {{.Image}}
command: {{.Command}}
created_at: {{.CreatedAt}}
state: {{- pad .State 1 0}}
status: {{- pad .Status 1 0}}
names: {{.Names}}
labels: {{- pad .Labels 1 0}}
ports: {{- pad .Ports 1 0}}
`

func psSize(c *cli.Context, e *engine.Engine, container *engine.Container) string {
	if !c.Bool("size") && !strings.Contains(c.String("format"), ".Size") {
		return "0B"
	}
	size, err := e.UpperSize(container)
	if err != nil {
		return "N/A"
	}
	return format.Size(size) + " (virtual " + format.Size(size+e.ImageSize(container.Image.ID)) + ")"
}

var psHeaders = map[string]string{
	"ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT", "RunningFor": "CREATED",
	"Status": "STATUS", "State": "STATE", "Ports": "PORTS", "Names": "NAMES", "Labels": "LABELS", "Mounts": "MOUNTS",
	"Networks": "NETWORKS", "Size": "SIZE", "LocalVolumes": "LOCAL VOLUMES", "Platform": "PLATFORM",
}

func psRow(c *engine.Container, whole bool, size string) format.Row {
	id, command := c.ID, strconv.Quote(strings.Join(c.Process.Args, " "))
	if !whole {
		id = format.ShortID(id)
		command = strconv.Quote(format.Ellipsis(strings.Join(c.Process.Args, " "), 20))
	}
	var mounts []string
	volumes := 0
	for _, m := range c.Host.Mounts {
		switch m.Type {
		case mount.Volume:
			volumes++
			mounts = append(mounts, shortened(m.Source, 15, whole))
		case mount.Bind:
			mounts = append(mounts, shortened(m.Source, 15, whole))
		}
	}
	return format.Row{
		"ID": id, "Image": c.Image.Reference, "Command": command, "CreatedAt": c.Created.Local().Format("2006-01-02 15:04:05 -0700 MST"),
		"RunningFor": format.Ago(c.Created, time.Now()), "Status": statusText(c.Status, time.Now()), "State": c.Status.Phase,
		"Ports": port.Show(c.OpenPorts(), exposedWhile(c)), "Names": c.Name, "Labels": format.Labels(c.Host.Labels), "Mounts": strings.Join(mounts, ","),
		"Networks": networkNames(c), "Size": size, "LocalVolumes": strconv.Itoa(volumes), "Platform": c.Image.Config.Platform(),
	}
}

// shortened is what docker shows of a name without --no-trunc.
func shortened(name string, length int, whole bool) string {
	if whole {
		return name
	}
	return format.Ellipsis(name, length)
}

// statusText is docker's: "Up 5 minutes (healthy)", "Exited (0) 2 hours ago".
func statusText(s *state.Status, now time.Time) string {
	switch s.Phase {
	case state.Running:
		text := "Up " + format.Duration(now.Sub(s.Started))
		if s.Health != nil && s.Health.Status != "" {
			text += " (" + healthText(s.Health.Status) + ")"
		}
		return text
	case state.Paused:
		return "Up " + format.Duration(now.Sub(s.Started)) + " (Paused)"
	case state.Restarting:
		return fmt.Sprintf("Restarting (%d) %s", s.ExitCode, format.Ago(s.Finished, now))
	case state.Exited:
		if s.Finished.IsZero() {
			return fmt.Sprintf("Exited (%d)", s.ExitCode)
		}
		return fmt.Sprintf("Exited (%d) %s", s.ExitCode, format.Ago(s.Finished, now))
	case state.Created:
		return "Created"
	}
	return "Dead"
}

func healthText(status string) string {
	if status == "starting" {
		return "health: starting"
	}
	return status
}

// checkNamed refuses filters that name a container which is not there.
func checkNamed(list []*engine.Container, f format.Filters) error {
	for _, name := range slices.Concat(f["before"], f["since"]) {
		if findContainer(list, name) == nil {
			return fmt.Errorf("%w: %s", state.ErrNotFound, printable(name))
		}
	}
	return nil
}

func psMatches(list []*engine.Container, c *engine.Container, f format.Filters) bool {
	if c.Broken != nil {
		return len(f) == 0 || f.MatchesPrefix("id", c.ID)
	}
	for key, before := range map[string]bool{"before": true, "since": false} {
		for _, name := range f[key] {
			other := findContainer(list, name)
			if before != c.Created.Before(other.Created) || other.ID == c.ID {
				return false
			}
		}
	}
	health := "none"
	if c.Status.Health != nil {
		health = c.Status.Health.Status
	}
	if task, _ := f.Bool("is-task", false); task {
		return false // of Swarm: there is none
	}
	return matchesExited(c, f["exited"]) && f.MatchesPrefix("id", c.ID) && f.MatchesPattern("name", c.Name) && f.MatchesLabels(c.Host.Labels) &&
		f.Matches("status", c.Status.Phase) && matchesNetwork(c, f["network"]) && matchesPorts(c, f) && f.Matches("health", health) &&
		matchesAncestor(c, f["ancestor"]) && matchesVolume(c, f["volume"])
}

// addUnslashed: docker's names begin with a slash, and ^/web$ is how many a script asks
// for one. A name has no other.
func addUnslashed(filters format.Filters) {
	for _, pattern := range filters["name"] {
		if strings.Contains(pattern, "/") {
			filters["name"] = append(filters["name"], strings.ReplaceAll(pattern, "/", ""))
		}
	}
}

// checkPsValues judges the filters whose values are known words.
func checkPsValues(filters format.Filters) error {
	for key, known := range map[string][]string{
		"status": {state.Created, state.Running, state.Paused, state.Restarting, "removing", state.Exited, state.Dead},
		"health": {"starting", "healthy", "unhealthy", "none"},
	} {
		for _, value := range filters[key] {
			if !contains(known, value) {
				return clientError(fmt.Sprintf("invalid filter '%s=%s'", key, printable(value)))
			}
		}
	}
	for _, key := range []string{"publish", "expose"} {
		for _, text := range filters[key] {
			if _, err := port.ParseExpose(text); err != nil {
				return clientError(fmt.Sprintf("invalid filter '%s=%s'", key, text))
			}
		}
	}
	for _, text := range filters["exited"] {
		if _, err := strconv.Atoi(text); err != nil {
			return clientError(fmt.Sprintf("invalid filter 'exited=%s'", printable(text)))
		}
	}
	_, err := filters.Bool("is-task", false)
	return err
}

func matchesExited(c *engine.Container, codes []string) bool {
	for _, text := range codes {
		code, err := strconv.Atoi(text)
		if err == nil && c.Status.Phase == state.Exited && c.Status.ExitCode == code {
			return true
		}
	}
	return len(codes) == 0
}

func matchesAncestor(c *engine.Container, names []string) bool {
	for _, name := range names {
		if name == c.Image.Reference || name+":latest" == c.Image.Reference || strings.TrimSuffix(name, ":latest") == c.Image.Reference ||
			strings.HasPrefix(c.Image.ID, strings.TrimPrefix(name, "sha256:")) {
			return true
		}
	}
	return len(names) == 0
}

func matchesVolume(c *engine.Container, names []string) bool {
	for _, name := range names {
		for _, m := range c.Host.Mounts {
			if m.Source == name || m.Target == name {
				return true
			}
		}
	}
	return len(names) == 0
}

func findContainer(list []*engine.Container, key string) *engine.Container {
	for _, c := range list {
		if c.Name == key || strings.HasPrefix(c.ID, key) {
			return c
		}
	}
	return nil
}
