package volume

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"
	"bryo/rootfs/mount"
)

// CreateOptions describe a new volume.
type CreateOptions struct {
	Driver  string // "" or "local"
	Labels  map[string]string
	Options map[string]string // of the driver: type, o, device
	// Brief leaves out the fsync: for volumes that go with their container.
	Brief bool
}

// Create makes the volume name, or an anonymous one when name is "". One that
// exists already is returned as it is, whatever o says, as with docker.
func (s *Store) Create(name string, o CreateOptions) (*Volume, error) {
	if o.Driver != "" && o.Driver != Driver {
		return nil, fmt.Errorf("error looking up volume plugin %s: plugin %q not found", o.Driver, o.Driver)
	}
	if err := checkOptions(o.Options); err != nil {
		return nil, err
	}
	labels := o.Labels
	if name == "" {
		name = randomName()
		labels = map[string]string{AnonymousLabel: ""}
		for key, value := range o.Labels {
			labels[key] = value
		}
	}
	if err := mount.CheckVolumeName(name); err != nil {
		return nil, err
	}
	v, err := s.Get(name)
	if !errors.As(err, new(*NotFoundError)) {
		return v, err
	}
	v = &Volume{Name: name, Labels: labels, Options: o.Options,
		CreatedAt: time.Now().Truncate(time.Second), dir: filepath.Join(s.dir, name)}
	err = s.make(v, !o.Brief)
	if errors.Is(err, os.ErrExist) {
		return s.Get(name) // somebody else was faster
	}
	if err != nil {
		return nil, fmt.Errorf("create volume %s: %w", name, err)
	}
	return v, nil
}

// make builds the volume beside its place and renames it in: a volume that can be
// seen is whole, and of two that are made at once one wins, the other gets
// os.ErrExist.
func (s *Store) make(v *Volume, durable bool) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	tmp, held, err := linux.MakeClaimed(s.dir, newPrefix)
	if err != nil {
		return err
	}
	defer held.Close() // when it has its place, or is gone
	defer os.RemoveAll(tmp)
	data := filepath.Join(tmp, "_data")
	if err := os.Mkdir(data, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(data, 0o755); err != nil { // whatever the umask is
		return err
	}
	for _, name := range []string{"lock", "fill.lock"} { // now: rm must work on a full disk
		if err := os.WriteFile(filepath.Join(tmp, name), nil, 0o600); err != nil {
			return err
		}
	}
	if err := writeJSON(filepath.Join(tmp, "volume.json"), v, durable); err != nil {
		return err
	}
	err = unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, v.dir, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL { // no such flag on this filesystem; a full directory is never replaced
		err = os.Rename(tmp, v.dir)
	}
	return err
}

func writeJSON(path string, v *Volume, durable bool) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Write(append(text, '\n')); err != nil {
		return err
	}
	if durable {
		return file.Sync()
	}
	return nil
}

func randomName() string {
	var b [32]byte
	rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// Claim is the volumes of one container's plan, kept from being removed until the
// container's configuration, which names them, is on disk.
type Claim struct {
	Created []string // volumes that did not exist before
	locks   []*os.File
}

// Claim makes the volumes that plan names, gives anonymous ones their names (in
// plan), and holds all of them. Call Release once what records their use is
// written. brief: the anonymous ones go with the container (--rm).
func (s *Store) Claim(plan []mount.Mount, brief bool) (*Claim, error) {
	c := &Claim{}
	for i := range plan {
		m := &plan[i]
		if m.Type != mount.Volume {
			continue
		}
		o := CreateOptions{m.Volume.Driver, m.Volume.Labels, m.Volume.Options, brief && m.Source == ""}
		v, err := s.claim(c, m.Source, o)
		if err != nil {
			c.Release()
			return nil, err
		}
		m.Source = v.Name
	}
	return c, nil
}

// claimTries bounds the race with somebody who removes the volume each time.
const claimTries = 32

func (s *Store) claim(c *Claim, name string, o CreateOptions) (*Volume, error) {
	for range claimTries {
		_, err := s.Get(name)
		isNew := errors.As(err, new(*NotFoundError))
		v, err := s.Create(name, o)
		var lock *os.File
		if err == nil {
			lock, err = v.lock("lock", unix.LOCK_SH)
		}
		if errors.Is(err, errGone) || errors.As(err, new(*NotFoundError)) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c.locks = append(c.locks, lock)
		if isNew {
			c.Created = append(c.Created, v.Name)
		}
		return v, nil
	}
	return nil, fmt.Errorf("volume %s: removed again and again", name)
}

// Release lets the volumes be removed again by whoever finds no use of them.
func (c *Claim) Release() {
	for _, lock := range c.locks {
		lock.Close()
	}
	c.locks = nil
}

var errGone = errors.New("removed meanwhile")

// lock takes the flock on one of the volume's lock files. It ends with the
// process, or when the file is closed. errGone: the volume is not there any more.
func (v *Volume) lock(name string, how int) (*os.File, error) {
	path := filepath.Join(v.dir, name)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errGone
	}
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(file.Fd()), how); err != unix.EINTR {
			break
		}
	}
	if err == nil && !sameFile(file, path) {
		err = errGone
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func sameFile(file *os.File, path string) bool {
	have, err1 := file.Stat()
	want, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(have, want)
}
