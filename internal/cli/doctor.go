package cli

import (
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v2"

	"bryo/internal/hostinfo"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "show what this host can do, what bryo does without, and the cures",
		Flags: []cli.Flag{&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "`json` for programs"}},
		Action: func(c *cli.Context) error {
			if err := exactly(c, 0); err != nil {
				return err
			}
			report := hostinfo.Collect(c.Context)
			switch f := c.String("format"); f {
			case "":
				return report.WriteText(stdout(c))
			case "json", "{{json .}}":
				data, err := json.MarshalIndent(report, "", "    ")
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(stdout(c), "%s\n", data)
				return err
			default:
				return usageError(fmt.Sprintf("invalid format %q: use json", f))
			}
		},
	}
}
