// Package conf reads what the machine's owner and the user decided about
// registries: registries.conf (mirrors, insecure, blocked), policy.json (which
// images may be used at all) and certs.d (private certificate authorities and
// client certificates).
//
// Start with LoadRegistries, LoadPolicy and Certificates. The formats are those
// of containers-registries.conf(5), containers-policy.json(5) and
// containers-certs.d(5).
//
// Everything fails closed: a file that exists but cannot be read or
// understood is an error, never "no rule".
//
// It leaves out: unqualified-search-registries and short-name aliases (a short
// name means docker.io, as with docker), version 1 of registries.conf,
// signature checks (a policy that asks for them refuses the image), docker's
// daemon.json.
package conf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxFile bounds every configuration file; real ones have a few kB.
const maxFile = 1 << 20

// Dirs says where the configuration lives. Empty strings are skipped.
type Dirs struct {
	System     string   // "/etc/containers"
	User       string   // "$XDG_CONFIG_HOME/containers"
	Registries string   // a registries.conf that replaces both, from $CONTAINERS_REGISTRIES_CONF
	Certs      []string // folders that hold HOST:PORT/*.crt
}

// DefaultDirs follows HOME and XDG_CONFIG_HOME. Relative values are ignored:
// nothing is ever read from the current folder.
func DefaultDirs() Dirs {
	d := Dirs{System: "/etc/containers", Registries: absolute(os.Getenv("CONTAINERS_REGISTRIES_CONF"))}
	home := absolute(os.Getenv("HOME"))
	configHome := absolute(os.Getenv("XDG_CONFIG_HOME"))
	if configHome == "" && home != "" {
		configHome = filepath.Join(home, ".config")
	}
	if configHome != "" {
		d.User = filepath.Join(configHome, "containers")
		d.Certs = append(d.Certs, filepath.Join(d.User, "certs.d"))
	}
	if home != "" {
		d.Certs = append(d.Certs, filepath.Join(home, ".docker", "certs.d"))
	}
	d.Certs = append(d.Certs, "/etc/containers/certs.d", "/etc/docker/certs.d")
	return d
}

func absolute(path string) string {
	if !filepath.IsAbs(path) {
		return ""
	}
	return path
}

// firstFile returns the content of the first path that exists. No existing
// path gives fs.ErrNotExist.
func firstFile(paths ...string) (string, []byte, error) {
	for _, path := range paths {
		data, err := readFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return path, data, err
	}
	return "", nil, fs.ErrNotExist
}

// readFile reads a bounded regular file. A FIFO or device is refused before
// it could block the open.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("read %s: larger than %d bytes", path, maxFile)
	}
	return data, err
}
