package bridge

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
	"bryo/network/subnet"
)

// Store is the data root's part that holds networks: one folder per network,
// named like it.
//
//	networks/NAME/network.json   the Config, never changed
//	              leases.json    who had which address
//	              helper.sock    where the helper listens, while there is one
//	              start.lock     held by who starts, ends or removes
type Store struct{ dir string }

// NotFoundError names a network that does not exist.
type NotFoundError struct{ Name string }

func (e *NotFoundError) Error() string { return fmt.Sprintf("network %s not found", e.Name) }

// NewStore returns the networks of a data root. It touches nothing.
func NewStore(root string) *Store { return &Store{filepath.Join(root, "networks")} }

// Path is the folder of a network.
func (s *Store) Path(name string) string { return filepath.Join(s.dir, name) }

// newPrefix marks folders of networks that are being made or removed. No name of
// a network begins with a dot.
const newPrefix = ".new-"

// Create makes a network. Two that are made at once get different subnets: the
// lock is held from the look at the others until the network can be seen.
func (s *Store) Create(o CreateOptions) (*Config, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("create network %s: %w", o.Name, err)
	}
	lock, err := flock(filepath.Join(s.dir, ".lock"), unix.LOCK_EX)
	if err != nil {
		return nil, fmt.Errorf("create network %s: %w", o.Name, err)
	}
	defer lock.Close()
	s.sweep()
	list, err := s.List()
	if err != nil {
		return nil, err
	}
	var others []netip.Prefix
	for _, c := range list {
		if c.Name == o.Name {
			return nil, fmt.Errorf("network with name %s already exists", o.Name)
		}
		for _, sub := range c.Subnets {
			others = append(others, sub.Prefix)
		}
	}
	c, err := newConfig(o, subnet.Routes(), others)
	if err != nil {
		return nil, err
	}
	c.ID = newID()
	if err := s.write(c); err != nil {
		return nil, fmt.Errorf("create network %s: %w", o.Name, err)
	}
	return c, nil
}

func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// write makes the folder beside its place and renames it in: a network that can
// be seen is whole.
func (s *Store) write(c *Config) error {
	tmp, err := os.MkdirTemp(s.dir, newPrefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := writeJSON(filepath.Join(tmp, "network.json"), c, true); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, "start.lock"), nil, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, s.Path(c.Name))
}

// Sweep removes what a kill left half made or half removed, unless a network is being
// made at this moment.
func (s *Store) Sweep() {
	if len(s.litter()) == 0 {
		return
	}
	lock, err := flock(filepath.Join(s.dir, ".lock"), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return
	}
	defer lock.Close()
	s.sweep()
}

// sweep is called with the lock held, so nobody makes one; and who removes one does the
// same as this.
func (s *Store) sweep() {
	for _, path := range s.litter() {
		_ = os.RemoveAll(path)
	}
}

func (s *Store) litter() (paths []string) {
	entries, _ := os.ReadDir(s.dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), newPrefix) {
			paths = append(paths, filepath.Join(s.dir, e.Name()))
		}
	}
	return paths
}

// Load reads one network by its name.
func (s *Store) Load(name string) (*Config, error) {
	if CheckName(name) != nil {
		return nil, &NotFoundError{name}
	}
	return load(s.Path(name))
}

// maxConfig is more than any network.json has.
const maxConfig = 4 << 20

func load(dir string) (*Config, error) {
	var c Config
	name := filepath.Base(dir)
	data, err := linux.ReadRegular(filepath.Join(dir, "network.json"), maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NotFoundError{name}
	}
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err == nil && c.Name != name {
		err = fmt.Errorf("network.json is of network %q", c.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("read network %s: %w", name, err)
	}
	return &c, nil
}

// List returns all networks by name. One that cannot be read is named in the
// error and does not keep the others from the list.
func (s *Store) List() (list []*Config, err error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if !e.IsDir() || CheckName(e.Name()) != nil {
			continue
		}
		c, loadErr := s.Load(e.Name())
		if errors.As(loadErr, new(*NotFoundError)) {
			continue // removed meanwhile
		}
		if loadErr != nil {
			err = errors.Join(err, loadErr)
			continue
		}
		list = append(list, c)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, err
}

// Find resolves a name, an id, or a unique beginning of an id.
func (s *Store) Find(key string) (*Config, error) {
	c, err := s.Load(key)
	if err == nil || !errors.As(err, new(*NotFoundError)) || key == "" {
		return c, err
	}
	list, _ := s.List()
	for _, candidate := range list {
		if !strings.HasPrefix(candidate.ID, key) {
			continue
		}
		if c != nil {
			return nil, fmt.Errorf("network %s is ambiguous: it is the beginning of more than one id", key)
		}
		c = candidate
	}
	if c == nil {
		return nil, &NotFoundError{key}
	}
	return c, nil
}

// Remove deletes a network that no container is attached to.
func (s *Store) Remove(c *Config) error {
	lock, err := lockStart(s.Path(c.Name))
	if err != nil {
		return err
	}
	defer lock.Close()
	now, err := s.Load(c.Name)
	if err != nil {
		return err
	}
	if now.ID != c.ID {
		return &NotFoundError{c.ID}
	}
	if err := retire(s.Path(c.Name)); err != nil {
		return fmt.Errorf("error while removing network: network %s %w", c.Name, err)
	}
	gone := filepath.Join(s.dir, newPrefix+c.ID)
	if err := os.Rename(s.Path(c.Name), gone); err != nil {
		return fmt.Errorf("error while removing network: %w", err)
	}
	return os.RemoveAll(gone)
}

// lockStart takes the lock of whoever starts, ends or removes a network.
func lockStart(dir string) (*os.File, error) {
	path := filepath.Join(dir, "start.lock")
	lock, err := flock(path, unix.LOCK_EX)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &NotFoundError{filepath.Base(dir)}
		}
		return nil, fmt.Errorf("network %s: %w", filepath.Base(dir), err)
	}
	have, err1 := lock.Stat()
	want, err2 := os.Stat(path)
	if err1 != nil || err2 != nil || !os.SameFile(have, want) {
		lock.Close()
		return nil, &NotFoundError{filepath.Base(dir)} // removed while we waited
	}
	return lock, nil
}

func flock(path string, how int) (*os.File, error) {
	flags := os.O_RDWR
	if filepath.Base(path) == ".lock" {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// writeJSON replaces a file whole or not at all.
func writeJSON(path string, v any, durable bool) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return linux.WriteWhole(path, func(f *os.File) error {
		if _, err := f.Write(append(text, '\n')); err != nil || !durable {
			return err
		}
		return f.Sync()
	})
}
