// Package state keeps what bryo knows of its containers on disk: one directory
// per container, written atomically, no lock held while a container runs.
//
// Start reading at Dir. A file alone is never trusted about what is alive:
// Status.Alive compares the recorded process with /proc. What it leaves out:
// how containers are started and stopped (packages engine and supervisor).
package state

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/codec"
	"bryo/internal/linux"
	"bryo/network/port"
)

// Errors that callers distinguish.
var (
	ErrNotFound  = errors.New("No such container") // docker's words and capitals: scripts look for them
	ErrNameTaken = errors.New("Conflict")
	ErrAmbiguous = errors.New("multiple IDs found with provided prefix")
	ErrNoName    = errors.New("invalid container name or ID: value is empty")
)

// Dir is the data root's part that holds containers.
type Dir struct{ root string }

// Open returns the container directory of a data root. It touches nothing.
func Open(root string) Dir { return Dir{root} }

// Root is the data root.
func (d Dir) Root() string { return d.root }

// Path is the directory of one container.
func (d Dir) Path(id string) string { return filepath.Join(d.root, "containers", id) }

// Skeleton is the layer that is put below all others, see mount.WithSkeleton.
func (d Dir) Skeleton() string { return filepath.Join(d.root, "skeleton") }

// Run is where each supervisor has memory of its own mounted, in its own mount
// namespace. The container's root is mounted there, on "root".
func (d Dir) Run() string { return filepath.Join(d.root, "run") }

func (d Dir) names() string { return filepath.Join(d.root, "names") }

// NewID returns 64 random hex digits.
func NewID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails on Linux >= 3.17, see crypto/rand
	return hex.EncodeToString(b[:])
}

// Create makes the container's directory, writes its config and takes its
// name. On error nothing is left behind.
func (d Dir) Create(c *Config) (err error) {
	dir := d.Path(c.ID)
	for _, parent := range []string{filepath.Dir(dir), d.names()} {
		if err := os.MkdirAll(parent, 0o700); err != nil {
			return fmt.Errorf("create container %s: %w", c.Name, err)
		}
	}
	defer func() {
		if err != nil {
			_ = d.Delete(c.ID, "")
		}
	}()
	// The marker first: who is killed behind it leaves nothing that is not swept.
	// A --rm container keeps it, any other until it has its name.
	if err := os.MkdirAll(d.ephemeral(""), 0o700); err != nil {
		return fmt.Errorf("create container %s: %w", c.Name, err)
	}
	creator, err := codec.Marshal(c.Creator)
	if err != nil {
		return err
	}
	// A symbolic link that holds its maker: there at once, or not at all.
	if err := os.Symlink(string(creator), d.ephemeral(c.ID)); err != nil {
		return fmt.Errorf("create container %s: %w", c.Name, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("create container %s: %w", c.Name, err)
	}
	// The config first: a name whose container has no config is free to take.
	if err := writeJSON(filepath.Join(dir, "config.json"), c); err != nil {
		return fmt.Errorf("create container %s: %w", c.Name, err)
	}
	if err := d.takeName(c.Name, c.ID); err != nil || c.Host.Remove {
		return err
	}
	os.Remove(d.ephemeral(c.ID))
	return nil
}

// Save replaces the config of a container, for `update`.
func (d Dir) Save(c *Config) error {
	if err := d.saveConfig(c); err != nil {
		return fmt.Errorf("update container %s: %w", c.Name, err)
	}
	return nil
}

// Load reads the config of one container by its full id.
func (d Dir) Load(id string) (*Config, error) { return loadConfig(d.Path(id), id) }

// Mark tells one version of a container's config from the next: each is a file of its own.
type Mark struct {
	inode   uint64
	written unix.Timespec
}

// Mark is that of the version on disk; the zero value if there is none.
func (d Dir) Mark(id string) Mark {
	var st unix.Stat_t
	if unix.Lstat(filepath.Join(d.Path(id), "config.json"), &st) != nil {
		return Mark{}
	}
	return Mark{inode: st.Ino, written: st.Mtim}
}

func loadConfig(dir, id string) (*Config, error) {
	return readConfig(filepath.Join(dir, "config.json"), id)
}

func readConfig(path, id string) (*Config, error) {
	var c Config
	if err := readJSON(path, &c); err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.As(err, new(*emptyError)) {
			return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
		}
		return nil, fmt.Errorf("read container %s: %w", short(id), err)
	}
	if c.ID != id {
		return nil, fmt.Errorf("read container %s: %s is of container %q", short(id), filepath.Base(path), c.ID)
	}
	return &c, nil
}

// IDs lists the containers that have a directory, sorted.
func (d Dir) IDs() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(d.root, "containers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, e := range entries {
		if IsID(e.Name()) && e.IsDir() {
			ids = append(ids, e.Name())
		}
	}
	sort.Strings(ids)
	return ids, err
}

// Find resolves a full id, a name, also with a slash before it, or a unique
// prefix of an id.
func (d Dir) Find(key string) (string, error) {
	if key == "" {
		return "", ErrNoName
	}
	key = strings.TrimPrefix(key, "/") // as inspect shows names
	if IsID(key) {
		if d.isThere(key) {
			return key, nil
		}
	}
	if ValidName(key) {
		if id, err := os.Readlink(filepath.Join(d.names(), key)); err == nil && IsID(id) {
			if d.isThere(id) {
				return id, nil
			}
		}
	}
	return d.findPrefix(key)
}

func (d Dir) isThere(id string) bool {
	info, err := os.Lstat(d.Path(id))
	return err == nil && info.IsDir()
}

func (d Dir) findPrefix(key string) (string, error) {
	if key == "" {
		return "", fmt.Errorf("%w: /", ErrNotFound)
	}
	ids, err := d.IDs()
	if err != nil {
		return "", err
	}
	found := ""
	for _, id := range ids {
		if !strings.HasPrefix(id, key) {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("%w: %s", ErrAmbiguous, key)
		}
		found = id
	}
	if found == "" {
		return "", fmt.Errorf("%w: %s", ErrNotFound, key)
	}
	return found, nil
}

// ValidName follows docker: [a-zA-Z0-9][a-zA-Z0-9_.-]+
func ValidName(name string) bool {
	if len(name) < 2 || len(name) > 255 {
		return false
	}
	for i, r := range name {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !alnum && (i == 0 || r != '_' && r != '.' && r != '-') {
			return false
		}
	}
	return true
}

// IsID: 64 lower-case hex digits.
func IsID(s string) bool {
	if len(s) != 64 {
		return false
	}
	_, err := hex.DecodeString(s)
	return err == nil && strings.ToLower(s) == s
}

func short(id string) string {
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

// Phases of a container's life as they are recorded. What is true is the phase
// together with Alive.
const (
	Created    = "created"
	Running    = "running"
	Paused     = "paused"
	Restarting = "restarting"
	Exited     = "exited"
	Dead       = "dead"
)

// Status is the changing part of a container's state.
//
//easyjson:json
type Status struct {
	Phase      string           `json:"phase"`
	Supervisor linux.ProcessRef `json:"supervisor"`
	Init       linux.ProcessRef `json:"init"`
	Started    time.Time        `json:"started"`
	Finished   time.Time        `json:"finished"`
	ExitCode   int              `json:"exitCode"`
	Error      string           `json:"error,omitempty"`
	OOMKilled  bool             `json:"oomKilled,omitempty"`
	Restarts   int              `json:"restarts,omitempty"`
	Health     *Health          `json:"health,omitempty"`
	Networks   []Endpoint       `json:"networks,omitempty"` // while it runs
	Ports      []port.Mapping   `json:"ports,omitempty"`    // open now, or in the last run
	// StoppedByUser: stop or kill ended it; "unless-stopped" does not start it again.
	StoppedByUser bool `json:"stoppedByUser,omitempty"`
	// Cgroup is the container's own control group below the mount; empty: it has none.
	Cgroup string `json:"cgroup,omitempty"`
}

// Health is what the health check found, docker's fields.
type Health struct {
	Status        string        `json:"Status"` // starting, healthy, unhealthy
	FailingStreak int           `json:"FailingStreak"`
	Log           []HealthProbe `json:"Log"`
}

// HealthProbe is one run of the check.
type HealthProbe struct {
	Start    time.Time `json:"Start"`
	End      time.Time `json:"End"`
	ExitCode int       `json:"ExitCode"`
	Output   string    `json:"Output"`
}

// Running: its program has begun and not ended; a paused one is.
func (s *Status) Running() bool { return s.Phase == Running || s.Phase == Paused }

// WriteStatus replaces the status file atomically. It is not synced: after a
// power cut nothing of it would be true anyway.
func (d Dir) WriteStatus(id string, s *Status) error {
	path := filepath.Join(d.Path(id), "status.json")
	err := writeJSON(path, s)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		// The old file's block has room for the new state: better not atomic than
		// no exit code.
		os.Remove(path + ".new")
		if again := overwriteJSON(path, s); !errors.Is(again, fs.ErrNotExist) {
			err = again
		}
	}
	if err != nil {
		return fmt.Errorf("write status of container %s: %w", short(id), err)
	}
	return nil
}

// Status reads the status and corrects it by what is alive: a container whose
// supervisor is gone has ended, whatever the file says.
func (d Dir) Status(id string) (*Status, error) { return d.status(id, func() {}) }

// Settled is Status, and records an end that nobody had recorded.
func (d Dir) Settled(id string) (*Status, error) { return d.status(id, func() { d.Bury(id) }) }

// status has an end recorded first: what it reads then is true as it stands, and the
// journal is read once.
func (d Dir) status(id string, bury func()) (*Status, error) {
	s, err := d.RawStatus(id)
	if err == nil && s != nil && s.orphaned() {
		bury()
		s, err = d.RawStatus(id)
	}
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return &Status{Phase: Created}, nil
	case s.orphaned():
		s.correct(d.told(id, s.Started))
	}
	return s, nil
}

// Lock keeps others from starting or removing a container, for the moment that it
// takes to record a start, or to remove it. It dies with the process, and is
// never held while a container runs.
func (d Dir) Lock(id string) (release func(), err error) { return d.lock(id, unix.LOCK_EX) }

func (d Dir) lock(id string, how int) (release func(), err error) {
	return lockDir(d.Path(id), id, how)
}

func lockDir(dir, id string, how int) (release func(), err error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, short(id))
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	for {
		err := unix.Flock(fd, how)
		if err == nil {
			return sync.OnceFunc(func() { unix.Close(fd) }), nil
		}
		if err != unix.EINTR {
			unix.Close(fd)
			return nil, fmt.Errorf("lock container %s: %w", short(id), err)
		}
	}
}

// RawStatus is the status as recorded, whatever is alive; nil when there is none yet.
func (d Dir) RawStatus(id string) (*Status, error) {
	var s Status
	err := readJSON(filepath.Join(d.Path(id), "status.json"), &s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if empty := (*emptyError)(nil); errors.As(err, &empty) {
		return lostStatus(empty.written.UTC()), nil
	}
	if err == nil && s.Phase == "" {
		err = errors.New("status.json: no phase")
	}
	if err != nil {
		return nil, fmt.Errorf("read status of container %s: %w", short(id), err)
	}
	return &s, nil
}

// Names maps each name that is taken to the container that has it.
func (d Dir) Names() (map[string]string, error) {
	entries, err := os.ReadDir(d.names())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := map[string]string{}
	for _, e := range entries {
		if id, err := os.Readlink(filepath.Join(d.names(), e.Name())); err == nil {
			names[e.Name()] = id
		}
	}
	return names, err
}

// Claim takes a name for a container that lost it.
func (d Dir) Claim(name, id string) error { return d.takeName(name, id) }

func readJSON(path string, v any) error {
	const limit = 16 << 20 // a config with a large image history stays far below
	data, err := linux.ReadRegular(path, limit)
	switch {
	case errors.Is(err, linux.ErrNotRegular):
		return fmt.Errorf("%s: %w", filepath.Base(path), linux.ErrNotRegular)
	case err != nil:
		return err
	case len(data) == 0:
		return newEmpty(path)
	}
	if codec.Quick(data, v) {
		return nil
	}
	// What is behind the value may be the rest of an older, longer one: overwriteJSON.
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}

// overwriteJSON writes into the file as it is: it needs no space
// as long as it does not grow beyond its last block.
func overwriteJSON(path string, v any) error {
	data, err := codec.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(data)))
}

func writeJSON(path string, v any) error {
	data, err := codec.Marshal(v)
	if err != nil {
		return err
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
