package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/images"
	"bryo/rootfs/reference"
)

func manifestCommand() *cli.Command {
	return &cli.Command{
		Name:  "manifest",
		Usage: "Manage Docker image manifests and manifest lists",
		Subcommands: []*cli.Command{
			manifestAnnotateCommand(), manifestCreateCommand(), manifestInspectCommand(), manifestPushCommand(), manifestRemoveCommand(),
		},
	}
}

func insecureFlag(usage string) cli.Flag { return &cli.BoolFlag{Name: "insecure", Usage: usage} }

func manifestInspectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "Display an image manifest, or manifest list",
		ArgsUsage: "[MANIFEST_LIST] MANIFEST",
		Flags: []cli.Flag{
			insecureFlag("Allow communication with an insecure registry"),
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "Output additional info including layers and platform"},
		},
		Action: func(c *cli.Context) error {
			if err := between(c, 1, 2); err != nil {
				return err
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			if c.NArg() == 2 {
				return inspectEntry(c, e)
			}
			name := c.Args().First()
			if list, err := e.ManifestList(name); err == nil {
				return inspectList(c, e, list)
			} else if !errors.Is(err, engine.ErrNoList) {
				return err
			}
			return inspectRemote(c, e, name)
		},
	}
}

func inspectList(c *cli.Context, e *engine.Engine, list *engine.ManifestList) error {
	if c.Bool("verbose") {
		var names []string
		var descriptors []engine.Descriptor
		for _, entry := range list.Entries {
			names, descriptors = append(names, entry.Reference), append(descriptors, entry.Descriptor)
		}
		return showImages(c, e, names, descriptors)
	}
	_, document := list.Document()
	return writeDocument(stdout(c), document)
}

// showImages is the long form of a list: each image of it with its own manifest.
func showImages(c *cli.Context, e *engine.Engine, names []string, list []engine.Descriptor) error {
	views := []manifestView{}
	for i, d := range list {
		ref, err := reference.ParseName(names[i])
		if err != nil {
			return err
		}
		m, err := e.RemoteManifest(images.ManifestArgs{Reference: ref.Name() + "@" + d.Digest, Insecure: c.Bool("insecure")})
		if err != nil {
			return err
		}
		view := viewOf(m, d.Platform)
		view.Ref = names[i]
		views = append(views, view)
	}
	return writeDocument(stdout(c), views)
}

// inspectEntry shows one image of a local list.
func inspectEntry(c *cli.Context, e *engine.Engine) error {
	list, err := e.ManifestList(c.Args().First())
	if err != nil {
		return err
	}
	m, err := e.RemoteManifest(images.ManifestArgs{Reference: c.Args().Get(1), Insecure: c.Bool("insecure"), Config: true})
	if err != nil {
		return err
	}
	for _, entry := range list.Entries {
		if entry.Reference == m.Reference {
			return showManifest(c, m, entry.Descriptor.Platform)
		}
	}
	return fmt.Errorf("no such manifest: %s in %s", c.Args().Get(1), c.Args().First())
}

func inspectRemote(c *cli.Context, e *engine.Engine, name string) error {
	m, err := e.RemoteManifest(images.ManifestArgs{Reference: name, Insecure: c.Bool("insecure"), Config: c.Bool("verbose")})
	if err != nil {
		return err
	}
	if m.List && c.Bool("verbose") {
		var list struct{ Manifests []engine.Descriptor }
		if err := json.Unmarshal(m.Raw, &list); err != nil {
			return fmt.Errorf("manifest list %s: %w", printable(name), err)
		}
		names := make([]string, len(list.Manifests))
		for i, d := range list.Manifests {
			names[i] = m.Reference + "@" + d.Digest
		}
		return showImages(c, e, names, list.Manifests)
	}
	return showManifest(c, m, m.Platform)
}

func showManifest(c *cli.Context, m *images.Manifest, platform images.Platform) error {
	if !c.Bool("verbose") {
		return indent(stdout(c), m.Raw)
	}
	return writeDocument(stdout(c), viewOf(m, platform))
}

// manifestView is docker's long form of one manifest.
type manifestView struct {
	Ref              string
	Descriptor       engine.Descriptor
	Raw              []byte
	SchemaV2Manifest json.RawMessage `json:",omitempty"`
	OCIManifest      json.RawMessage `json:",omitempty"`
}

func viewOf(m *images.Manifest, platform images.Platform) manifestView {
	view := manifestView{
		Ref: m.Reference, Raw: m.Raw, Descriptor: engine.Descriptor{MediaType: m.MediaType, Size: len(m.Raw), Digest: m.Digest, Platform: platform},
	}
	if strings.HasPrefix(m.MediaType, "application/vnd.oci.") {
		view.OCIManifest = m.Raw
	} else {
		view.SchemaV2Manifest = m.Raw
	}
	return view
}

func writeDocument(out io.Writer, document any) error {
	data, err := json.Marshal(document)
	if err != nil {
		return err
	}
	return indent(out, data)
}

func indent(out io.Writer, data []byte) error {
	var text bytes.Buffer
	if err := json.Indent(&text, bytes.TrimSpace(data), "", "\t"); err != nil {
		return err
	}
	text.WriteByte('\n')
	_, err := text.WriteTo(out)
	return err
}

func manifestCreateCommand() *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "Create a local manifest list for annotating and pushing to a registry",
		ArgsUsage: "MANIFEST_LIST MANIFEST [MANIFEST...]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "amend", Aliases: []string{"a"}, Usage: "Amend an existing manifest list"},
			insecureFlag("Allow communication with an insecure registry"),
		},
		Action: func(c *cli.Context) error {
			if err := atLeast(c, 2); err != nil {
				return err
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			list, err := e.CreateManifestList(c.Args().First(), c.Args().Tail(), c.Bool("amend"), c.Bool("insecure"))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(stdout(c), "Created manifest list", list.Name)
			return err
		},
	}
}

func manifestAnnotateCommand() *cli.Command {
	return &cli.Command{
		Name:      "annotate",
		Usage:     "Add additional information to a local image manifest",
		ArgsUsage: "MANIFEST_LIST MANIFEST",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "arch", Usage: "Set architecture"},
			&cli.StringFlag{Name: "os", Usage: "Set operating system"},
			&cli.StringSliceFlag{Name: "os-features", Usage: "Set operating system feature"},
			&cli.StringFlag{Name: "os-version", Usage: "Set operating system version"},
			&cli.StringFlag{Name: "variant", Usage: "Set architecture variant"},
		},
		Action: func(c *cli.Context) error {
			if err := exactly(c, 2); err != nil {
				return err
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			return e.AnnotateManifest(c.Args().First(), c.Args().Get(1), func(p *images.Platform) { annotate(c, p) })
		},
	}
}

func annotate(c *cli.Context, p *images.Platform) {
	for name, field := range map[string]*string{"arch": &p.Architecture, "os": &p.OS, "os-version": &p.OSVersion, "variant": &p.Variant} {
		if value := c.String(name); value != "" {
			*field = value
		}
	}
	p.OSFeatures = append(p.OSFeatures, commaList(c, "os-features")...)
}

func manifestPushCommand() *cli.Command {
	return &cli.Command{
		Name:      "push",
		Usage:     "Push a manifest list to a repository",
		ArgsUsage: "MANIFEST_LIST",
		Flags: []cli.Flag{
			insecureFlag("Allow push to an insecure registry"),
			&cli.BoolFlag{Name: "purge", Aliases: []string{"p"}, Usage: "Remove the local manifest list after push"},
		},
		Action: func(c *cli.Context) error {
			if err := exactly(c, 1); err != nil {
				return err
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			digest, err := e.PushManifestList(c.Args().First(), c.Bool("insecure"), c.Bool("purge"))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(stdout(c), digest)
			return err
		},
	}
}

func manifestRemoveCommand() *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Usage:     "Delete one or more manifest lists from local storage",
		ArgsUsage: "MANIFEST_LIST [MANIFEST_LIST...]",
		Action: func(c *cli.Context) error {
			return forEach(c, func(e *engine.Engine, name string) error {
				if err := e.RemoveManifestList(name); err != nil {
					return fmt.Errorf("manifest rm: %w", err)
				}
				return nil
			})
		},
	}
}
