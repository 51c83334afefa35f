package engine

import (
	"context"
	"os"

	"bryo/internal/images"
)

// call runs one operation of the image role.
func (e *Engine) call(op string, args, result any) error {
	return e.callWith(op, args, result, nil, nil)
}

func (e *Engine) callWith(op string, args, result any, stdin, stdout *os.File) error {
	if err := e.ready(); err != nil {
		return err
	}
	return images.Call(images.Host{
		Root: e.Root, Mapping: e.mapping(), Debug: e.debug, Env: roleEnv(), Stdin: stdin, Stdout: stdout,
	}, op, args, result)
}

// roleEnv is what a role may see of the user's environment: where things are,
// how to reach registries, what the terminal can do. Nothing of it reaches a
// container (A71).
func roleEnv() []string {
	var env []string
	for _, name := range []string{
		"HOME", "PATH", "USER", "TERM", "COLUMNS", "NO_COLOR", "LANG", "LC_ALL", "TMPDIR",
		"XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG",
		"CONTAINERS_REGISTRIES_CONF", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
	} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// Pull fetches an image from its registry into the store.
func (e *Engine) Pull(_ context.Context, args images.PullArgs, toStderr bool) (*images.PullResult, error) {
	var result images.PullResult
	stdout := os.Stdout
	if toStderr {
		stdout = os.Stderr // `run` keeps stdout for the container
	}
	return &result, e.callWith(images.OpPull, args, &result, nil, stdout)
}
