package mount

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// Device is one --device: a device node of the host, or a directory of them, and
// where it shows in the container.
type Device struct {
	Host      string `json:"host"`
	Container string `json:"container"`
	// Access is what was asked for, letters of "rwm". A bind mount cannot take
	// one of them away; where there is no device cgroup it is the file's own
	// mode that counts.
	Access string `json:"access"`
}

// ParseDevice reads one --device value: HOST[:CONTAINER][:ACCESS].
func ParseDevice(spec string) (Device, error) {
	parts := strings.Split(spec, ":")
	if spec == "" || len(parts) > 3 || parts[0] == "" {
		return Device{}, fmt.Errorf("bad format for path: %s", spec)
	}
	d := Device{Host: parts[0], Container: parts[0], Access: "rwm"}
	switch {
	case len(parts) == 3:
		d.Container, d.Access = parts[1], parts[2]
		if !validAccess(d.Access) {
			return Device{}, fmt.Errorf("bad mode specified: %s", d.Access)
		}
	case len(parts) == 2 && validAccess(parts[1]):
		d.Access = parts[1]
	case len(parts) == 2:
		d.Container = parts[1]
	}
	if err := d.check(); err != nil {
		return Device{}, err
	}
	d.Host, d.Container = path.Clean(d.Host), path.Clean(d.Container)
	return d, nil
}

func (d Device) check() error {
	for _, p := range []string{d.Host, d.Container} {
		if !path.IsAbs(p) {
			return fmt.Errorf("%s is not an absolute path", p)
		}
	}
	if strings.ContainsRune(d.Host+d.Container, 0) {
		return errors.New("device path has a NUL byte")
	}
	return checkTarget(d.Container)
}

// validAccess: any of r, w and m, each once.
func validAccess(access string) bool {
	if access == "" || len(access) > 3 {
		return false
	}
	for i, c := range access {
		if !strings.ContainsRune("rwm", c) || strings.ContainsRune(access[:i], c) {
			return false
		}
	}
	return true
}
