package cli

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/state"
	"bryo/network/bridge"
	"bryo/rootfs/image"
	"bryo/rootfs/volume"
)

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "show all that is known of containers, images, volumes or networks",
		ArgsUsage: "NAME|ID [NAME|ID...]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "json or a Go template"},
			&cli.BoolFlag{Name: "size", Aliases: []string{"s"}, Usage: "show sizes of containers"},
			&cli.StringFlag{Name: "type", Usage: "container, image, network or volume"},
		},
		Action: func(c *cli.Context) error {
			kind := c.String("type")
			if c.Command.HelpName == "bryo container inspect" {
				kind = "container"
			}
			if c.IsSet("type") && !contains([]string{"container", "image", "network", "volume"}, kind) {
				return clientError(fmt.Sprintf(`unknown type: %q: must be one of "container", "image", "network", "volume"`, kind))
			}
			return inspectAll(c, func(e *engine.Engine, name string) (any, error) { return inspectOne(e, kind, name, c.Bool("size")) })
		},
	}
}

// inspectOne looks where docker does, in its order.
func inspectOne(e *engine.Engine, kind, name string, sizes bool) (any, error) {
	if kind == "" || kind == "container" {
		c, err := e.Container(name)
		if err == nil {
			return e.Inspect(c, sizes), nil
		}
		if kind != "" || !errors.Is(err, state.ErrNotFound) {
			return nil, err
		}
	}
	if kind == "" || kind == "image" {
		found, err := e.InspectImage(name, "")
		if err == nil {
			return found, nil
		}
		if kind != "" || !errors.Is(err, image.ErrNotFound) {
			return nil, err
		}
	}
	if kind == "" || kind == "network" {
		n, err := e.Network(name)
		if err == nil {
			return e.InspectNetwork(n)
		}
		if kind != "" || !errors.As(err, new(*bridge.NotFoundError)) {
			return nil, err
		}
	}
	v, err := e.Volume(name)
	var missing *volume.NotFoundError
	if kind == "" && errors.As(err, &missing) {
		return nil, fmt.Errorf("No such object: %s", printable(name))
	}
	if err != nil {
		return nil, err
	}
	return v.Inspect(), nil
}
