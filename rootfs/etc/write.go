package etc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// maxHostFile bounds what is read of the host's files; the supervisor lives as
// long as the container.
const maxHostFile = 1 << 20

// ReadHost reads the host's hosts and resolv.conf; a missing one is empty. Where
// resolv.conf only names systemd's stub, which a container cannot reach, and the
// network is the container's own, the list behind the stub is read instead.
// Source: systemd-resolved(8).
func ReadHost(network Network) (HostFiles, error) {
	hosts, err := readBounded("/etc/hosts")
	if err != nil {
		return HostFiles{}, err
	}
	resolv, err := readBounded("/etc/resolv.conf")
	if err == nil && network == Private && stubOnly(resolv) {
		var behind []byte
		if behind, err = readBounded("/run/systemd/resolve/resolv.conf"); len(behind) > 0 {
			resolv = behind
		}
	}
	return HostFiles{hosts, resolv}, err
}

func stubOnly(resolv []byte) bool {
	servers := parseResolver(resolv).nameservers
	return len(servers) == 1 && servers[0] == "127.0.0.53"
}

func readBounded(name string) ([]byte, error) {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxHostFile+1))
	if err == nil && len(data) > maxHostFile {
		err = fmt.Errorf("read %s: larger than %d MiB", name, maxHostFile>>20)
	}
	return data, err
}

// Write puts the files into dir, the container's directory, each whole or not at
// all. A running container keeps the file it has; Update changes that one.
func (f Files) Write(dir string) error {
	for name, content := range f.all() {
		if err := put(filepath.Join(dir, name), content); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// Update changes the files of a running container, which has these very inodes
// mounted, from what it was given last. What it wrote itself stays, as with docker:
// further lines of hosts, and the whole of a resolv.conf or hostname that it changed.
func (f Files) Update(dir string, was Files) error {
	before := was.all()
	for name, content := range f.all() {
		path := filepath.Join(dir, name)
		now, err := readBounded(path)
		if err != nil {
			return fmt.Errorf("update %s: %w", name, err)
		}
		if name == "hosts" {
			content = carryOver(now, before[name], content)
		} else if !bytes.Equal(now, before[name]) {
			continue
		}
		if bytes.Equal(now, content) {
			continue
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return fmt.Errorf("update %s: %w", name, err)
		}
	}
	return nil
}

// carryOver adds to the new content the lines that were not in the old one.
func carryOver(now, before, after []byte) []byte {
	given := map[string]bool{}
	for line := range bytes.Lines(before) {
		given[string(bytes.TrimSpace(line))] = true
	}
	out := bytes.Clone(after)
	for line := range bytes.Lines(now) {
		if text := bytes.TrimSpace(line); !given[string(text)] {
			out = append(append(out, text...), '\n')
		}
	}
	return out
}

func (f Files) all() map[string][]byte {
	return map[string][]byte{"hosts": f.Hosts, "hostname": f.Hostname, "resolv.conf": f.ResolvConf}
}

// put writes a file that is not there yet under its own name: whoever dies over it never
// ran, and the next run replaces it. One that is there may be mounted somewhere.
func put(path string, content []byte) error {
	err := create(path, content)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := create(tmp, content); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func create(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Write(content); err != nil {
		return err
	}
	// Readable by every user of the container, whatever the caller's umask.
	return file.Chmod(0o644)
}

// Mounts are the binds of the files in dir, for the runtime. Leave out those
// whose target the user mounts himself.
func Mounts(dir string, readOnly bool) []specs.Mount {
	options := []string{"bind", "rprivate"}
	if readOnly {
		options = append(options, "ro")
	}
	var mounts []specs.Mount
	for _, place := range Places() {
		mounts = append(mounts, specs.Mount{
			Destination: place, Type: "bind", Source: filepath.Join(dir, filepath.Base(place)), Options: options,
		})
	}
	return mounts
}

// Places are where the files are mounted.
func Places() []string { return []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"} }
