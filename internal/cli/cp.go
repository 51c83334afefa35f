package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/rootfs/files"
)

func copyCommand() *cli.Command {
	return &cli.Command{
		Name:      "cp",
		Usage:     "Copy files/folders between a container and the local filesystem",
		ArgsUsage: "CONTAINER:SRC_PATH DEST_PATH|-  or  SRC_PATH|- CONTAINER:DEST_PATH",
		Description: "Use '-' as the source to read a tar archive from stdin and extract it to a directory in a\n" +
			"container. Use '-' as the destination to stream a tar archive of a container source to stdout.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "archive", Aliases: []string{"a"}, Usage: "Archive mode (copy all uid/gid information)"},
			&cli.BoolFlag{Name: "follow-link", Aliases: []string{"L"}, Usage: "Always follow symbol link in SRC_PATH"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "Suppress progress output during copy"},
		},
		Action: copyFiles,
	}
}

func copyFiles(c *cli.Context) error {
	if err := exactly(c, 2); err != nil {
		return err
	}
	from, source := splitCopy(c.Args().Get(0))
	to, target := splitCopy(c.Args().Get(1))
	switch {
	case c.Args().Get(0) == "":
		return errors.New("source can not be empty")
	case c.Args().Get(1) == "":
		return errors.New("destination can not be empty")
	case source == "" || target == "":
		return errors.New("paths must not be empty")
	case from != "" && to != "":
		return errors.New("copying between containers is not supported")
	case from == "" && to == "":
		return errors.New("must specify at least one container source")
	}
	e, container, err := containerOf(c, from+to)
	if err != nil {
		return err
	}
	o := engine.CopyOptions{Follow: c.Bool("follow-link"), Archive: c.Bool("archive")}
	if from != "" {
		return copyOut(c, e, container, source, target, o)
	}
	return copyIn(c, e, container, source, target, o)
}

// splitCopy parts CONTAINER:PATH. A path that begins with "/" or "." is one of
// this host, whatever colons are in it.
func splitCopy(arg string) (container, path string) {
	if filepath.IsAbs(arg) {
		return "", arg
	}
	container, path, found := strings.Cut(arg, ":")
	if !found || strings.HasPrefix(container, ".") {
		return "", arg
	}
	return container, path
}

func copyOut(c *cli.Context, e *engine.Engine, container *engine.Container, source, target string, o engine.CopyOptions) error {
	source = inContainer(source)
	if target == "-" {
		if isTTY(os.Stdout) {
			return errors.New("cowardly refusing to write an archive to a terminal: redirect it")
		}
		return e.ArchiveOut(container, source, o, os.Stdout)
	}
	if err := files.CheckLocal(target); err != nil {
		return err
	}
	size, err := e.CopyOut(c.Context, container, source, target, o)
	if err == nil {
		copiedNotice(c, size, absolute(target))
	}
	return err
}

func copyIn(c *cli.Context, e *engine.Engine, container *engine.Container, source, target string, o engine.CopyOptions) error {
	target = inContainer(target)
	if source == "-" {
		return e.ArchiveIn(container, os.Stdin, target, o)
	}
	size, err := e.CopyIn(c.Context, container, source, target, o)
	if err == nil {
		copiedNotice(c, size, container.Name+":"+target)
	}
	return err
}

// inContainer: relative paths count from "/", as in docker.
func inContainer(path string) string {
	if strings.HasPrefix(path, "/") {
		return path
	}
	return "/" + path
}

func absolute(path string) string {
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}

// copiedNotice is docker's, and for people only.
func copiedNotice(c *cli.Context, size int64, to string) {
	if !c.Bool("quiet") && isTTY(os.Stderr) {
		fmt.Fprintf(os.Stderr, "Successfully copied %s to %s\n", units.HumanSizeWithPrecision(float64(size), 3), printable(to))
	}
}
