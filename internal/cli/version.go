package cli

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
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

// Version is what `bryo version` shows, in docker's terms. There is no server:
// its part is this binary again, for the templates that ask for it.
type Version struct {
	Client ClientVersion
	Server ServerVersion
}

// ClientVersion names this binary and what it runs on.
type ClientVersion struct {
	Version           string
	APIVersion        string `json:"ApiVersion"`
	DefaultAPIVersion string
	GitCommit         string
	GoVersion         string
	Os                string
	Arch              string
	BuildTime         string
	Context           string
	Kernel            string
}

// ServerVersion has docker's keys of a daemon.
type ServerVersion struct {
	Platform      struct{ Name string }
	Version       string
	APIVersion    string `json:"ApiVersion"`
	MinAPIVersion string
	GitCommit     string
	GoVersion     string
	Os            string
	Arch          string
	KernelVersion string
	BuildTime     string
}

func currentVersion() Version {
	v := ClientVersion{Version: version, GitCommit: commit, GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH, Context: "default"}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		v.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	s := ServerVersion{Version: v.Version, GitCommit: v.GitCommit, GoVersion: v.GoVersion, Os: v.Os, Arch: v.Arch, KernelVersion: v.Kernel}
	s.Platform.Name = "bryo"
	return Version{Client: v, Server: s}
}

func printVersion(c *cli.Context) error {
	v := currentVersion()
	if how := c.String("format"); how != "" {
		return showOne(stdout(c), how, v)
	}
	_, err := fmt.Fprintf(stdout(c), "Client: bryo\n Version:    %s\n Git commit: %s\n Go version: %s\n OS/Arch:    %s/%s\n Kernel:     %s\n",
		v.Client.Version, v.Client.GitCommit, v.Client.GoVersion, v.Client.Os, v.Client.Arch, v.Client.Kernel)
	return err
}
