package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"bryo/internal/format"
	"bryo/internal/images"
)

func searchCommand() *cli.Command {
	return &cli.Command{
		Name:      "search",
		Usage:     "Search Docker Hub for images",
		ArgsUsage: "TERM",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"}, Usage: "Filter output based on conditions provided"},
			&cli.StringFlag{Name: "format", Usage: "Pretty-print search using a Go template"},
			&cli.IntFlag{Name: "limit", Usage: "Max number of search results"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "Don't truncate output"},
		},
		Action: func(c *cli.Context) error {
			if err := exactly(c, 1); err != nil {
				return err
			}
			keep, err := searchFilter(c)
			if err != nil {
				return err
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			found, err := e.Search(images.SearchArgs{Term: c.Args().First(), Limit: c.Int("limit")})
			if err != nil {
				return err
			}
			layout := format.List{
				Headers: map[string]string{"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"},
				Table:   "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
			}
			return layout.Write(stdout(c), c.String("format"), false, searchRows(c, found, keep))
		},
	}
}

// official is docker's mark in a table, and its text in JSON.
type official bool

func (o official) String() string {
	if o {
		return "[OK]"
	}
	return ""
}

// MarshalText is what JSON shows.
func (o official) MarshalText() ([]byte, error) { return strconv.AppendBool(nil, bool(o)), nil }

func searchRows(c *cli.Context, found []images.Found, keep func(images.Found) bool) []format.Row {
	var rows []format.Row
	for _, one := range found {
		if !keep(one) {
			continue
		}
		description := strings.NewReplacer("\n", " ", "\r", " ").Replace(one.Description)
		if !c.Bool("no-trunc") {
			description = format.Ellipsis(description, 45)
		}
		rows = append(rows, format.Row{
			"Name": one.Name, "Description": description, "StarCount": strconv.Itoa(one.Stars),
			"IsOfficial": official(one.Official),
		})
	}
	return rows
}

// searchFilter reads docker's conditions: stars=N, is-official, is-automated.
func searchFilter(c *cli.Context) (func(images.Found) bool, error) {
	filters, err := format.ParseFilters(c.StringSlice("filter"), "stars", "is-official", "is-automated")
	if err != nil {
		return nil, filterError(c, err)
	}
	stars := 0
	for _, text := range filters["stars"] {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, usageError(fmt.Sprintf("invalid filter 'stars=%s'", printable(text)))
		}
		stars = max(stars, n)
	}
	wanted := map[string]bool{}
	for _, name := range []string{"is-official", "is-automated"} {
		for _, text := range filters[name] {
			if wanted[name], err = strconv.ParseBool(text); err != nil {
				return nil, usageError(fmt.Sprintf("invalid filter '%s=%s'", name, printable(text)))
			}
		}
	}
	_, official := filters["is-official"]
	_, automated := filters["is-automated"]
	return func(one images.Found) bool {
		return one.Stars >= stars && (!official || one.Official == wanted["is-official"]) && (!automated || one.Automated == wanted["is-automated"])
	}, nil
}
