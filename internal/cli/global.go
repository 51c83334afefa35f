package cli

import (
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
)

func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Usage: "`DIR` of docker's config.json, with its logins"},
		&cli.StringFlag{Name: "root", Usage: "data `DIR` instead of ~/.local/share/bryo", EnvVars: []string{"BRYO_ROOT"}},
		&cli.BoolFlag{Name: "debug", Aliases: []string{"D"}, Usage: "say more on stderr"},
		&cli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "print the version"},
	}
}

// dockersGlobals are in no help text: they say which daemon to talk to and how much to
// log, and an alias of docker's name may have them.
func dockersGlobals() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "context", Aliases: []string{"c"}, Hidden: true},
		&cli.StringFlag{Name: "host", Aliases: []string{"H"}, Hidden: true},
		&cli.StringFlag{Name: "log-level", Aliases: []string{"l"}, Hidden: true},
		&cli.BoolFlag{Name: "tls", Hidden: true},
		&cli.StringFlag{Name: "tlscacert", Hidden: true},
		&cli.StringFlag{Name: "tlscert", Hidden: true},
		&cli.StringFlag{Name: "tlskey", Hidden: true},
		&cli.BoolFlag{Name: "tlsverify", Hidden: true},
	}
}

// heedGlobals refuses by name what asks for another daemon than none.
func heedGlobals(c *cli.Context) error {
	if c.NumFlags() == 0 {
		return nil
	}
	for _, name := range []string{"context", "host", "tls", "tlscacert", "tlscert", "tlskey", "tlsverify"} {
		if c.IsSet(name) && (name != "context" || c.String(name) != "default") {
			return usageError("--" + name + " is not supported: there is no daemon to talk to")
		}
	}
	if level := c.String("log-level"); c.IsSet("log-level") && !contains([]string{"debug", "info", "warn", "error", "fatal"}, level) {
		return usageError("unable to parse logging level: " + level)
	}
	if !c.IsSet("config") {
		return nil
	}
	dir, err := filepath.Abs(c.String("config"))
	if err != nil {
		return err
	}
	return os.Setenv("DOCKER_CONFIG", dir)
}
