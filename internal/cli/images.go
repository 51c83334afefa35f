package cli

import (
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"bryo/internal/format"
	"bryo/rootfs/image"
	"bryo/rootfs/reference"
)

func imagesFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "show intermediate images too"},
		&cli.BoolFlag{Name: "digests", Usage: "show digests"},
		&cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"}, Usage: "keep images that match `KEY=VALUE`"},
		&cli.StringFlag{Name: "format", Usage: "table, json or a Go template"},
		&cli.BoolFlag{Name: "no-trunc", Usage: "print whole IDs"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print IDs only"},
	}, refusedFlags("images")...)
}

func imagesCommand(name string) *cli.Command {
	command := &cli.Command{
		Name:      name,
		Usage:     "list images",
		ArgsUsage: "[REPOSITORY[:TAG]]",
		Flags:     imagesFlags(),
		Action:    listImages,
	}
	if name == "ls" {
		command.Aliases = []string{"list"}
	}
	return command
}

var imageHeaders = map[string]string{
	"Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID",
	"CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "Size": "SIZE", "Containers": "CONTAINERS",
	"SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE", "VirtualSize": "SIZE",
}

const (
	imageTable       = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
	imageTableDigest = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
)

func listImages(c *cli.Context) error {
	if err := refuse(c); err != nil {
		return err
	}
	if err := atMost(c, 1); err != nil {
		return err
	}
	filter, err := image.ParseFilter(c.StringSlice("filter"))
	if err != nil {
		return filterError(c, err)
	}
	e, err := engineOf(c)
	if err != nil {
		return err
	}
	list, err := e.Images(filter)
	if err != nil {
		return err
	}
	var rows []format.Row
	for _, summary := range list {
		rows = append(rows, imageRows(summary, c.Bool("no-trunc"), filter, c.Args().First())...)
	}
	layout := format.List{
		Headers: imageHeaders, Table: imageTable, RawQuiet: "image_id: {{.ID}}",
		Raw: "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n",
	}
	if c.Bool("digests") {
		layout.Table = imageTableDigest
		layout.Raw = strings.Replace(layout.Raw, "image_id", "digest: {{.Digest}}\nimage_id", 1)
	}
	return layout.Write(stdout(c), c.String("format"), c.Bool("quiet"), rows)
}

// imageRows is one row per tag, or one of <none> for an image without.
func imageRows(image image.Summary, whole bool, filter image.Filter, pattern string) []format.Row {
	id := "sha256:" + image.ID
	if !whole {
		id = format.ShortID(id)
	}
	digestOf := map[string]string{}
	for _, d := range image.RepoDigests {
		if ref, err := reference.ParseName(d); err == nil {
			digestOf[ref.Name()] = ref.Digest
		}
	}
	row := func(repository, tag, digest string) format.Row {
		if digest == "" {
			digest = "<none>"
		}
		return format.Row{
			"Repository": repository, "Tag": tag, "Digest": digest, "ID": id,
			"CreatedSince": format.Ago(image.Created, time.Now()), "CreatedAt": image.Created.Local().Format("2006-01-02 15:04:05 -0700 MST"),
			"Size": format.Size(image.Size), "VirtualSize": units.HumanSize(float64(image.Size)), "Containers": "N/A", "SharedSize": "N/A", "UniqueSize": "N/A",
		}
	}
	var rows []format.Row
	for _, name := range image.RepoTags {
		ref, err := reference.Parse(name)
		if err != nil || !matchesPattern(ref, pattern) || !format.Filters(filter).MatchesReference(ref.FamiliarName(), ref.Tag) {
			continue
		}
		rows = append(rows, row(ref.FamiliarName(), ref.Tag, digestOf[ref.Name()]))
	}
	if len(image.RepoTags) == 0 && pattern == "" && len(filter["reference"]) == 0 {
		repository, digest := "<none>", ""
		for _, d := range image.RepoDigests {
			if ref, err := reference.ParseName(d); err == nil {
				repository, digest = ref.FamiliarName(), ref.Digest
			}
		}
		rows = append(rows, row(repository, "<none>", digest))
	}
	return rows
}

// matchesPattern serves `images NAME[:TAG]`.
func matchesPattern(ref reference.Reference, pattern string) bool {
	if pattern == "" {
		return true
	}
	want, err := reference.ParseName(pattern)
	if err != nil {
		ok := format.Filters{"reference": {pattern}}
		return ok.MatchesReference(ref.FamiliarName(), ref.Tag)
	}
	return want.Name() == ref.Name() && (want.Tag == "" || want.Tag == ref.Tag) ||
		format.Filters{"reference": {pattern}}.MatchesReference(ref.FamiliarName(), ref.Tag)
}
