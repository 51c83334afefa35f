package cli

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"bryo/internal/format"
)

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "show the version",
		Flags: []cli.Flag{&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "`json` or a Go template"}},
		Action: func(c *cli.Context) error {
			if err := exactly(c, 0); err != nil {
				return err
			}
			return printVersion(c)
		},
	}
}

// Version is what `bryo version` shows; Client is docker's name for it.
type Version struct {
	Client ClientVersion
}

// ClientVersion names this binary and what it runs on.
type ClientVersion struct {
	Version   string
	GitCommit string
	GoVersion string
	Os        string
	Arch      string
	Kernel    string
}

func currentVersion() Version {
	v := ClientVersion{Version: version, GitCommit: commit, GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		v.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	return Version{Client: v}
}

func printVersion(c *cli.Context) error {
	v := currentVersion()
	switch text := c.String("format"); text {
	case "":
		_, err := fmt.Fprintf(stdout(c), "Client: bryo\n Version:    %s\n Git commit: %s\n Go version: %s\n OS/Arch:    %s/%s\n Kernel:     %s\n",
			v.Client.Version, v.Client.GitCommit, v.Client.GoVersion, v.Client.Os, v.Client.Arch, v.Client.Kernel)
		return err
	case "json", "{{json .}}":
		data, err := json.Marshal(v)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(stdout(c), "%s\n", data)
		return err
	default:
		return format.Inspect(stdout(c), text, []any{v})
	}
}
