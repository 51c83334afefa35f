package cli

import "github.com/urfave/cli/v2"

// systemCommand groups what concerns the whole data root.
func systemCommand() *cli.Command {
	return &cli.Command{
		Name:  "system",
		Usage: "look after the data directory",
		Subcommands: []*cli.Command{
			checkCommand(),
			diskUsageCommand(),
			eventsCommand(),
			infoCommand(),
			systemPruneCommand(),
		},
	}
}
