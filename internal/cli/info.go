package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/format"
)

func infoCommand() *cli.Command {
	return &cli.Command{
		Name:  "info",
		Usage: "show the host and the data directory",
		Flags: []cli.Flag{&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "json or a Go template"}},
		Action: func(c *cli.Context) error {
			if err := exactly(c, 0); err != nil {
				return err
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			info := e.Info(version)
			if how := c.String("format"); how != "" {
				return showOne(stdout(c), how, info)
			}
			err = writeInfo(stdout(c), info)
			for _, warning := range info.Warnings {
				fmt.Fprintln(c.App.ErrWriter, warning)
			}
			return err
		},
	}
}

// writeInfo has docker's lines, but for those of a daemon.
func writeInfo(out io.Writer, i *engine.Info) error {
	lines := []string{
		"Client: bryo",
		" Version:    " + version,
		" Debug Mode: " + fmt.Sprint(i.Debug),
		"",
		"Server: none, every container has a process of its own",
		" Containers: " + fmt.Sprint(i.Containers),
		"  Running: " + fmt.Sprint(i.ContainersRunning),
		"  Paused: " + fmt.Sprint(i.ContainersPaused),
		"  Stopped: " + fmt.Sprint(i.ContainersStopped),
		" Images: " + fmt.Sprint(i.Images),
		" Server Version: " + i.ServerVersion,
		" Storage Driver: " + i.Driver,
	}
	for _, pair := range i.DriverStatus {
		value := pair[1]
		if pair[0] == "Free Space" {
			var bytes float64
			_, _ = fmt.Sscan(value, &bytes)
			value = units.HumanSize(bytes)
		}
		lines = append(lines, "  "+pair[0]+": "+value)
	}
	lines = append(lines,
		" Logging Driver: "+i.LoggingDriver,
		" Cgroup Driver: "+i.CgroupDriver,
		" Cgroup Version: "+i.CgroupVersion,
		" Plugins:",
		"  Volume: "+strings.Join(i.Plugins.Volume, " "),
		"  Network: "+strings.Join(i.Plugins.Network, " "),
		"  Log: "+strings.Join(i.Plugins.Log, " "),
		" Swarm: "+i.Swarm.LocalNodeState,
		" Default Runtime: "+i.DefaultRuntime,
		" Security Options:",
	)
	for _, option := range i.SecurityOptions {
		name, more, _ := strings.Cut(strings.TrimPrefix(option, "name="), ",")
		lines = append(lines, "  "+name)
		if key, value, found := strings.Cut(more, "="); found {
			lines = append(lines, "   "+strings.ToUpper(key[:1])+key[1:]+": "+value)
		}
	}
	lines = append(lines,
		" Kernel Version: "+i.KernelVersion,
		" Operating System: "+i.OperatingSystem,
		" OSType: "+i.OSType,
		" Architecture: "+i.Architecture,
		" CPUs: "+fmt.Sprint(i.NCPU),
		" Total Memory: "+units.BytesSize(float64(i.MemTotal)),
		" Name: "+i.Name,
		" ID: "+i.ID,
		" Docker Root Dir: "+i.DockerRootDir,
		" Debug Mode: "+fmt.Sprint(i.Debug),
	)
	for _, proxy := range []struct{ name, value string }{{"HTTP", i.HTTPProxy}, {"HTTPS", i.HTTPSProxy}, {"No", i.NoProxy}} {
		if proxy.value != "" {
			lines = append(lines, " "+proxy.name+" Proxy: "+withoutPassword(proxy.value))
		}
	}
	for n := range lines {
		lines[n] = format.Cell(lines[n])
	}
	_, err := fmt.Fprintln(out, strings.Join(lines, "\n"))
	return err
}

// withoutPassword hides the user part of a proxy's address, as docker does.
func withoutPassword(address string) string {
	scheme, rest, found := strings.Cut(address, "://")
	if at := strings.LastIndexByte(rest, '@'); found && at >= 0 {
		return scheme + "://xxxxx:xxxxx@" + rest[at+1:]
	}
	return address
}
