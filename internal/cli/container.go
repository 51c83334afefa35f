package cli

import "github.com/urfave/cli/v2"

// containerCommand groups the verbs of containers under docker's newer spelling.
func containerCommand() *cli.Command {
	return &cli.Command{
		Name:  "container",
		Usage: "manage containers",
		Subcommands: []*cli.Command{
			attachCommand(), copyCommand(), createCommand(), execCommand(), inspectCommand(), killCommand(), logsCommand(), psCommand("ls"),
			commitCommand(), diffCommand(), exportCommand(),
			pauseCommand(true), portCommand(), containerPruneCommand(), removeCommand(), renameCommand(), restartCommand(),
			runCommand(), startCommand(), statsCommand(), stopCommand(), topCommand(), pauseCommand(false), updateCommand(), waitCommand(),
		},
	}
}
