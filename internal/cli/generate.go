package cli

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/hostinfo"
	"bryo/internal/state"
)

// generateCommand prints files that join bryo with the host.
func generateCommand() *cli.Command {
	return &cli.Command{
		Name:  "generate",
		Usage: "print configuration for the host",
		Subcommands: []*cli.Command{{
			Name:  "systemd",
			Usage: "print a user unit that starts containers after a reboot",
			Action: func(c *cli.Context) error {
				if err := exactly(c, 0); err != nil {
					return err
				}
				e, err := engineOf(c)
				if err != nil {
					return err
				}
				unit, err := systemdUnit(e)
				if err != nil {
					return err
				}
				_, err = fmt.Fprint(stdout(c), unit)
				return err
			},
		}},
	}
}

// systemdUnit starts what the restart policies ask for. Each container gets a
// scope of its own where systemd delegates one; elsewhere the supervisors stay in
// the unit's cgroup, and stopping the unit stops the containers.
func systemdUnit(e *engine.Engine) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", err
	}
	command := systemdProgram(self)
	if root, err := engine.DefaultRoot(); err != nil || root != e.Root {
		command += " --root " + systemdQuote(e.Root)
	}
	return fmt.Sprintf(`# Containers of bryo whose restart policy outlives a reboot.
#   bryo generate systemd >~/.config/systemd/user/bryo.service
#   systemctl --user enable bryo.service
#   loginctl enable-linger
[Unit]
Description=Containers of bryo
After=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=%s start --restart-policies
TimeoutStartSec=infinity

[Install]
WantedBy=default.target
`, command), nil
}

// systemdProgram is the first word of a command: there a dollar stands for itself, and
// systemd takes no quotes, no backslashes and no control characters, so a shell
// executes such a path.
func systemdProgram(path string) string {
	if strings.ContainsAny(path, "'\"\\") || strings.ContainsFunc(path, unicode.IsControl) {
		return `/bin/sh -c 'exec "$$@"' sh ` + systemdQuote(path)
	}
	return strings.ReplaceAll(systemdQuote(path), "$$", "$")
}

// systemdQuote writes a path as one word of a unit file, see systemd.service(5).
func systemdQuote(path string) string {
	path = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$", "\n", `\n`).Replace(path)
	if strings.ContainsAny(path, " \t'\"\\;") {
		return `"` + path + `"`
	}
	return path
}

// warnOfLogout says when a detached container cannot outlive this session: the
// session's processes end, or its scope does, which limits need.
func warnOfLogout(config *state.Config) {
	if len(config.Host.Limits.Needs()) > 0 && engine.CgroupDriver() == "systemd" && !hostinfo.ManagerStays() {
		fmt.Fprintln(os.Stderr, "bryo: the container ends when you log out (its limits need a scope of your systemd); to keep it: loginctl enable-linger")
		return
	}
	who := os.Getenv("USER")
	if u, err := user.LookupId(fmt.Sprint(os.Getuid())); err == nil {
		who = u.Username
	}
	if why, cure := hostinfo.Logout(os.DirFS("/"), who, os.Getuid()); why != "" {
		fmt.Fprintf(os.Stderr, "bryo: the container ends when you log out (%s); to keep it: %s\n", why, cure)
	}
}
