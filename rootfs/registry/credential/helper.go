package credential

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
)

// tokenUser is the user name under which helpers keep an identity token.
const tokenUser = "<token>"

// helperURL is the server name that docker and podman hand to a helper.
func helperURL(host string) string { return Key(host) }

// program checks the helper's name before it becomes part of a program name:
// only $PATH is searched, never a folder named in a file.
func program(helper string) (client.ProgramFunc, error) {
	if helper == "" || strings.ContainsAny(helper, "/\\\x00 ") {
		return nil, fmt.Errorf("credential helper %q: invalid name", helper)
	}
	name := "docker-credential-" + helper
	if _, err := exec.LookPath(name); err != nil {
		return nil, fmt.Errorf("credential helper %s: not found in $PATH", name)
	}
	return client.NewShellProgramFunc(name), nil
}

func helperGet(helper, server string) (Credential, error) {
	run, err := program(helper)
	if err != nil {
		return Credential{}, err
	}
	c, err := client.Get(run, server)
	if credentials.IsErrCredentialsNotFound(err) {
		return Credential{}, nil
	}
	if err != nil {
		return Credential{}, helperError(helper, "get", server, err)
	}
	if c.Username == tokenUser {
		return Credential{IdentityToken: c.Secret}, nil
	}
	return Credential{Username: c.Username, Password: c.Secret}, nil
}

func helperStore(helper, server string, c Credential) error {
	run, err := program(helper)
	if err != nil {
		return err
	}
	in := &credentials.Credentials{ServerURL: server, Username: c.Username, Secret: c.Password}
	if c.IdentityToken != "" {
		in.Username, in.Secret = tokenUser, c.IdentityToken
	}
	if err := client.Store(run, in); err != nil {
		return helperError(helper, "store", server, err)
	}
	return nil
}

func helperErase(helper, server string) error {
	run, err := program(helper)
	if err != nil {
		return err
	}
	err = client.Erase(run, server)
	if err != nil && !credentials.IsErrCredentialsNotFound(err) && !strings.Contains(err.Error(), "not found") {
		return helperError(helper, "erase", server, err)
	}
	return nil
}

// helperError keeps the exit status and drops the helper's output: a failing
// helper may print the secret it was given.
func helperError(helper, verb, server string, err error) error {
	cause := error(errors.New("unusable answer"))
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		cause = exit
	} else if strings.Contains(err.Error(), "exit status") {
		cause = errors.New("the program failed")
	}
	return fmt.Errorf("credential helper docker-credential-%s %s %s: %w", helper, verb, server, cause)
}
