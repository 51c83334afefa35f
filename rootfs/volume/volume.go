// Package volume keeps named volumes: directories that outlive containers.
//
// On disk a volume is ROOT/volumes/NAME with _data (what containers see),
// volume.json (what inspect shows) and lock. Nothing else in NAME is visible to a
// container, so locks and half-made copies lie there. There is no index and no
// lock over all volumes: each one stands for itself, appears by one rename and
// disappears by one.
//
// Start with Store. Claim makes the volumes of a container's plan, Source and
// fill (fill.go) mount and fill them, Remove and Prune end them (remove.go).
//
// Where to call from: everything that only looks (List, Get) and Create and
// Claim work as the plain user, in no namespace. Source, Remove, Prune and Sweep
// touch files that may belong to the user's subuids: call them as root of the
// user namespace. Remove outside of it still removes the volume, but may leave
// files for Sweep (ErrLeftover).
//
// Left out: drivers other than local, and sharing one tmpfs between containers:
// each container has a mount namespace of its own.
package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bryo/internal/linux"
	"bryo/rootfs/mount"
)

// AnonymousLabel marks volumes that nobody named. docker's own label, so that
// tools which look for it find it.
const AnonymousLabel = "com.docker.volume.anonymous"

// Driver is the only driver there is.
const Driver = "local"

// Store is the volumes below one data root.
type Store struct{ dir string }

// NewStore returns the store of the data root. It touches nothing.
func NewStore(root string) *Store { return &Store{filepath.Join(root, "volumes")} }

// Volume is one volume. Its JSON form is volume.json.
type Volume struct {
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels,omitempty"`
	Options   map[string]string `json:"options,omitempty"`
	CreatedAt time.Time         `json:"createdAt"`
	dir       string            // ROOT/volumes/NAME
}

// Data is the directory that containers see.
func (v *Volume) Data() string { return filepath.Join(v.dir, "_data") }

// Anonymous tells whether nobody named the volume.
func (v *Volume) Anonymous() bool {
	_, anonymous := v.Labels[AnonymousLabel]
	return anonymous
}

// Inspect is what `volume inspect` prints for one volume, docker's fields.
type Inspect struct {
	CreatedAt  string
	Driver     string
	Labels     map[string]string
	Mountpoint string
	Name       string
	Options    map[string]string
	Scope      string
}

// Inspect describes v in docker's terms.
func (v *Volume) Inspect() Inspect {
	return Inspect{
		CreatedAt: v.CreatedAt.Format(time.RFC3339), Driver: Driver, Labels: v.Labels,
		Mountpoint: v.Data(), Name: v.Name, Options: v.Options, Scope: "local",
	}
}

// NotFoundError: no volume has that name.
type NotFoundError struct{ Name string }

func (e *NotFoundError) Error() string { return fmt.Sprintf("get %s: no such volume", e.Name) }

// InUseError: containers use the volume.
type InUseError struct {
	Name string
	By   []string // container ids
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("remove %s: volume is in use - [%s]", e.Name, strings.Join(e.By, ", "))
}

// Get returns the volume of that name, or a *NotFoundError.
func (s *Store) Get(name string) (*Volume, error) {
	if mount.CheckVolumeName(name) != nil {
		return nil, &NotFoundError{name} // never part of a path
	}
	dir := filepath.Join(s.dir, name)
	data, err := readJSON(dir)
	if errors.Is(err, errGone) {
		return nil, &NotFoundError{name}
	}
	v := &Volume{dir: dir}
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	v.Name = name
	if err != nil {
		return v, fmt.Errorf("volume %s: %w", name, err)
	}
	return v, nil
}

// maxConfig is more than any volume.json has.
const maxConfig = 4 << 20

// readJSON reads volume.json. A volume appears whole, so a directory without one
// that is still there at the second look is damaged.
func readJSON(dir string) (data []byte, err error) {
	for range 2 {
		data, err = linux.ReadRegular(filepath.Join(dir, "volume.json"), maxConfig)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		if _, statErr := os.Lstat(dir); errors.Is(statErr, fs.ErrNotExist) {
			return nil, errGone
		}
	}
	return data, err
}

// all returns every volume. One that cannot be read is there by name only, so
// that it can be seen and removed; it hurts no other.
func (s *Store) all() ([]*Volume, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var volumes []*Volume
	for _, entry := range entries {
		if mount.CheckVolumeName(entry.Name()) != nil {
			continue // on its way in or out
		}
		v, err := s.Get(entry.Name())
		if v == nil || errors.As(err, new(*NotFoundError)) {
			continue // removed meanwhile
		}
		volumes = append(volumes, v)
	}
	return volumes, err
}
