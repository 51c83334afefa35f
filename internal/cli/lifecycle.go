package cli

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"bryo/internal/engine"
	"bryo/internal/supervisor"
)

func createCommand() *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "create a new container",
		ArgsUsage: "IMAGE [COMMAND] [ARG...]",
		Flags:     containerFlags(),
		Action: func(c *cli.Context) error {
			request, err := runRequest(c)
			if err != nil {
				return creation(err) // of the command line: 125; what follows is 1, other than for run
			}
			e, err := engineOf(c)
			if err != nil {
				return err
			}
			request.Host.Detached = true
			config, err := e.Create(c.Context, *request)
			if err != nil {
				return err
			}
			e.Sync(config)
			_, err = fmt.Fprintln(stdout(c), config.ID)
			return err
		},
	}
}

func startCommand() *cli.Command {
	return &cli.Command{
		Name:      "start",
		Usage:     "start stopped containers",
		ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "attach", Aliases: []string{"a"}, Usage: "attach output and pass signals on"},
			&cli.StringFlag{Name: "detach-keys", Usage: "key sequence that detaches"},
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "attach standard input"},
			&cli.BoolFlag{Name: "restart-policies", Usage: "start all whose restart policy asks for it, after a reboot"},
		}, refusedFlags("start")...),
		Action: start,
	}
}

func start(c *cli.Context) error {
	if err := refuse(c); err != nil {
		return err
	}
	if err := checkDetachKeys(c); err != nil {
		return err
	}
	if c.Bool("restart-policies") {
		return startPolicies(c)
	}
	if !c.Bool("attach") && !c.Bool("interactive") {
		return each(c, func(e *engine.Engine, container *engine.Container) error { return e.Start(container) })
	}
	if c.NArg() != 1 {
		return errors.New("you cannot start and attach multiple containers at once")
	}
	e, container, err := containerOf(c, c.Args().First())
	if err != nil {
		return err
	}
	code, err := e.StartAttached(container, engine.ForegroundOptions{
		SignalProxy: true, DetachKeys: c.String("detach-keys"), Stdin: c.Bool("interactive"), Stdout: true, Stderr: true,
	})
	return exited(code, err)
}

func startPolicies(c *cli.Context) error {
	if err := exactly(c, 0); err != nil {
		return err
	}
	e, err := engineOf(c)
	if err != nil {
		return err
	}
	names, err := e.StartPolicies()
	for _, name := range names {
		fmt.Fprintln(stdout(c), name)
	}
	return err
}

// stopFlags are shared by stop and restart; --time is docker's older word.
func stopFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "signal", Aliases: []string{"s"}, Usage: "signal to send first"},
		&cli.IntFlag{Name: "timeout", Aliases: []string{"t", "time"}, Usage: "seconds to wait before killing (-1: for ever)"},
	}
}

func stopOptions(c *cli.Context) (sig syscall.Signal, timeout *int, err error) {
	if name := c.String("signal"); name != "" {
		if sig, err = parseSignal(name); err != nil {
			return 0, nil, err
		}
	}
	if c.IsSet("timeout") {
		seconds := c.Int("timeout")
		timeout = &seconds
	}
	return sig, timeout, nil
}

func stopCommand() *cli.Command {
	return &cli.Command{
		Name:      "stop",
		Usage:     "stop running containers",
		ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags:     stopFlags(),
		Action: func(c *cli.Context) error {
			sig, timeout, err := stopOptions(c)
			if err != nil {
				return err
			}
			return each(c, func(e *engine.Engine, container *engine.Container) error {
				return e.Stop(container, sig, timeout)
			})
		},
	}
}

func restartCommand() *cli.Command {
	return &cli.Command{
		Name:      "restart",
		Usage:     "stop containers and start them again",
		ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags:     stopFlags(),
		Action: func(c *cli.Context) error {
			sig, timeout, err := stopOptions(c)
			if err != nil {
				return err
			}
			return each(c, func(e *engine.Engine, container *engine.Container) error {
				return e.Restart(container, sig, timeout)
			})
		},
	}
}

func killCommand() *cli.Command {
	return &cli.Command{
		Name:      "kill",
		Usage:     "send a signal to running containers",
		ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags:     []cli.Flag{&cli.StringFlag{Name: "signal", Aliases: []string{"s"}, Usage: "signal to send (KILL)"}},
		Action: func(c *cli.Context) error {
			sig := unix.SIGKILL
			if name := c.String("signal"); name != "" {
				var err error
				if sig, err = parseSignal(name); err != nil {
					return err
				}
			}
			return each(c, func(e *engine.Engine, container *engine.Container) error { return e.Kill(container, sig) })
		},
	}
}

func pauseCommand(stop bool) *cli.Command {
	command := &cli.Command{Name: "unpause", Usage: "continue paused containers", ArgsUsage: "CONTAINER [CONTAINER...]"}
	if stop {
		command.Name, command.Usage = "pause", "stop all processes of containers"
	}
	command.Action = func(c *cli.Context) error {
		return each(c, func(e *engine.Engine, container *engine.Container) error { return e.Pause(container, stop) })
	}
	return command
}

func removeCommand() *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Aliases:   []string{"remove"},
		Usage:     "remove containers",
		ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "kill a running container first; no error for one that is not there"},
			&cli.BoolFlag{Name: "volumes", Aliases: []string{"v"}, Usage: "remove its anonymous volumes too"},
		}, refusedFlags("rm")...),
		Action: func(c *cli.Context) error {
			if err := refuse(c); err != nil {
				return err
			}
			return removeContainers(c)
		},
	}
}

func waitCommand() *cli.Command {
	return &cli.Command{
		Name:      "wait",
		Usage:     "wait until containers stop and print their exit codes",
		ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags: []cli.Flag{&cli.StringFlag{
			Name: "condition", Value: supervisor.WaitNotRunning, Usage: "not-running, next-exit, removed or healthy",
		}},
		Action: func(c *cli.Context) error {
			condition := c.String("condition")
			switch condition {
			case supervisor.WaitNotRunning, supervisor.WaitNextExit, supervisor.WaitRemoved, supervisor.WaitHealthy:
			default:
				return usageError(fmt.Sprintf("invalid condition %q: use not-running, next-exit, removed or healthy", condition))
			}
			return forEach(c, func(e *engine.Engine, key string) error {
				container, err := e.Container(key)
				code := 0
				if err == nil {
					code, err = e.Wait(container, condition)
				}
				if err != nil {
					return fmt.Errorf("wait: %w", err)
				}
				fmt.Fprintln(stdout(c), code)
				return nil
			})
		},
	}
}

func renameCommand() *cli.Command {
	return &cli.Command{
		Name:      "rename",
		Usage:     "give a container another name",
		ArgsUsage: "CONTAINER NEW_NAME",
		Action: func(c *cli.Context) error {
			if err := exactly(c, 2); err != nil {
				return err
			}
			if c.Args().Get(0) == "" || c.Args().Get(1) == "" {
				return errors.New("Neither old nor new names may be empty")
			}
			e, container, err := containerOf(c, c.Args().First())
			if err != nil {
				return err
			}
			return e.Rename(container, c.Args().Get(1))
		},
	}
}

func attachCommand() *cli.Command {
	return &cli.Command{
		Name:      "attach",
		Usage:     "join a running container's input and output",
		ArgsUsage: "CONTAINER",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "detach-keys", Usage: "key sequence that detaches"},
			&cli.BoolFlag{Name: "no-stdin", Usage: "do not attach standard input"},
			&cli.BoolFlag{Name: "sig-proxy", Value: true, Usage: "pass received signals on to the process"},
		},
		Action: func(c *cli.Context) error {
			if err := exactly(c, 1); err != nil {
				return err
			}
			if err := checkDetachKeys(c); err != nil {
				return err
			}
			e, container, err := containerOf(c, c.Args().First())
			if err != nil {
				return err
			}
			code, err := e.Attach(container, engine.ForegroundOptions{
				SignalProxy: c.Bool("sig-proxy"), DetachKeys: c.String("detach-keys"), Stdin: !c.Bool("no-stdin"),
			})
			return exited(code, err)
		},
	}
}

func execCommand() *cli.Command {
	return &cli.Command{
		Name:      "exec",
		Usage:     "run another command in a running container",
		ArgsUsage: "CONTAINER COMMAND [ARG...]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "run in the background"},
			&cli.StringFlag{Name: "detach-keys", Usage: "key sequence that detaches"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "set `NAME=VALUE`, or take NAME from here"},
			&cli.StringSliceFlag{Name: "env-file", Usage: "read variables from `FILE`"},
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "keep standard input open"},
			&cli.BoolFlag{Name: "privileged", Usage: "all capabilities of the user namespace"},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "allocate a terminal"},
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "user and group (`NAME|UID[:GROUP|GID]`)"},
			&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "working directory inside"},
		},
		Action: execute,
	}
}

func execute(c *cli.Context) error {
	if err := atLeast(c, 2); err != nil {
		return err
	}
	if err := checkDetachKeys(c); err != nil {
		return err
	}
	env, err := environmentOf(c)
	if err != nil {
		return err
	}
	e, container, err := containerOf(c, c.Args().First())
	if err != nil {
		return err
	}
	code, err := e.Exec(container, supervisor.Exec{
		Args: c.Args().Tail(), Env: env, WorkDir: c.String("workdir"), User: c.String("user"), Tty: c.Bool("tty"),
		Stdin: c.Bool("interactive"), Privileged: c.Bool("privileged"), Detach: c.Bool("detach"),
	}, c.String("detach-keys"))
	return exited(code, err)
}
