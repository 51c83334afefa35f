package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/rootfs/image"
)

func healthFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "health-cmd", Usage: "command that checks the container's health"},
		&cli.StringFlag{Name: "health-interval", Usage: "time between two checks (30s)"},
		&cli.StringFlag{Name: "health-retries", Usage: "failures in a row that mean unhealthy (3)"},
		&cli.StringFlag{Name: "health-start-interval", Usage: "time between two checks in the start period (5s)"},
		&cli.StringFlag{Name: "health-start-period", Usage: "time in which failures do not count (0s)"},
		&cli.StringFlag{Name: "health-timeout", Usage: "longest time that a check may take (30s)"},
		&cli.BoolFlag{Name: "no-healthcheck", Usage: "do not run the image's health check"},
	}
}

// healthOf reads the flags of the health check; none of them: the image's stands.
func healthOf(c *cli.Context, r *engine.RunRequest) error {
	check := &image.Healthcheck{}
	given := c.String("health-cmd") != ""
	if given {
		check.Test = []string{"CMD-SHELL", c.String("health-cmd")}
	}
	for flag, to := range map[string]*time.Duration{
		"health-interval": &check.Interval, "health-timeout": &check.Timeout,
		"health-start-period": &check.StartPeriod, "health-start-interval": &check.StartInterval,
	} {
		if !c.IsSet(flag) {
			continue
		}
		text := c.String(flag)
		d, err := time.ParseDuration(text)
		switch {
		case err != nil:
			return usageError(fmt.Sprintf("invalid argument %q for \"--%s\" flag: %v", text, flag, err))
		case d < 0:
			return usageError("--" + flag + " cannot be negative")
		case d > 0 && d < time.Millisecond:
			return usageError("--" + flag + " cannot be less than 1ms")
		}
		*to, given = d, true
	}
	if c.IsSet("health-retries") {
		text := c.String("health-retries")
		n, err := strconv.Atoi(text)
		if err != nil {
			return usageError(fmt.Sprintf("invalid argument %q for \"--health-retries\" flag: %v", text, numeric(err)))
		}
		if n < 0 {
			return usageError("--health-retries cannot be negative")
		}
		check.Retries, given = n, true
	}
	switch {
	case c.Bool("no-healthcheck") && given:
		return usageError("--no-healthcheck conflicts with --health-* options")
	case c.Bool("no-healthcheck"):
		r.Health = &image.Healthcheck{Test: []string{"NONE"}}
	case given:
		r.Health = check
	}
	return nil
}
