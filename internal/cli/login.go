package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"bryo/internal/engine"
	"bryo/internal/images"
)

func loginCommand() *cli.Command {
	return &cli.Command{
		Name:      "login",
		Usage:     "log in to a registry",
		ArgsUsage: "[SERVER]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "password", Aliases: []string{"p"}, Usage: "password (seen by every user of this host: use --password-stdin)"},
			&cli.BoolFlag{Name: "password-stdin", Usage: "read the password from standard input"},
			&cli.StringFlag{Name: "username", Aliases: []string{"u"}, Usage: "user name"},
		},
		Action: login,
	}
}

func login(c *cli.Context) error {
	if err := atMost(c, 1); err != nil {
		return err
	}
	who, err := credentialsOf(c)
	if err != nil {
		return err
	}
	who.Server = c.Args().First()
	plain, err := engine.Login(who)
	if err != nil {
		return err
	}
	if plain != "" {
		fmt.Fprintf(os.Stderr, "WARNING! Your credentials are stored unencrypted in '%s'.\n", plain)
	}
	_, err = fmt.Fprintln(stdout(c), "Login Succeeded")
	return err
}

func credentialsOf(c *cli.Context) (images.LoginArgs, error) {
	who := images.LoginArgs{Username: c.String("username"), Password: c.String("password")}
	switch {
	case c.IsSet("password") && c.Bool("password-stdin"):
		return who, errors.New("conflicting options: cannot specify both --password and --password-stdin")
	case c.IsSet("username") && who.Username == "":
		return who, errors.New("username is empty")
	case c.IsSet("password") && who.Password == "":
		return who, errors.New("password is empty")
	case c.IsSet("password"):
		fmt.Fprintln(os.Stderr, "WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
	case c.Bool("password-stdin"):
		if who.Username == "" {
			return who, errors.New("the --password-stdin option requires --username to be set")
		}
		// A password is a line; a megabyte is no password.
		data, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
		if err != nil {
			return who, fmt.Errorf("read password: %w", err)
		}
		who.Password = strings.TrimRight(string(data), "\r\n")
	}
	if who.Username == "" || who.Password == "" {
		if !isTTY(os.Stdin) {
			return who, errors.New("Cannot perform an interactive login from a non TTY device: use --username and --password-stdin")
		}
		return ask(who)
	}
	return who, nil
}

func ask(who images.LoginArgs) (images.LoginArgs, error) {
	if who.Username == "" {
		fmt.Fprint(os.Stderr, "Username: ")
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if err != nil {
			return who, fmt.Errorf("read user name: %w", err)
		}
		who.Username = strings.TrimSpace(line)
	}
	if who.Password == "" {
		fmt.Fprint(os.Stderr, "Password: ")
		data, err := term.ReadPassword(int(os.Stdin.Fd()))
		fmt.Fprintln(os.Stderr)
		if err != nil {
			return who, fmt.Errorf("read password: %w", err)
		}
		who.Password = string(data)
	}
	if who.Username == "" || who.Password == "" {
		return who, errors.New("username and password are required")
	}
	return who, nil
}

func logoutCommand() *cli.Command {
	return &cli.Command{
		Name:      "logout",
		Usage:     "log out from a registry",
		ArgsUsage: "[SERVER]",
		Action: func(c *cli.Context) error {
			if err := atMost(c, 1); err != nil {
				return err
			}
			server := c.Args().First()
			had, err := engine.Logout(server)
			if err != nil {
				return err
			}
			if server == "" {
				server = "docker.io"
			}
			if !had {
				_, err = fmt.Fprintf(stdout(c), "Not logged in to %s\n", server)
				return err
			}
			_, err = fmt.Fprintf(stdout(c), "Removing login credentials for %s\n", server)
			return err
		},
	}
}
