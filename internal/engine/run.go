package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"bryo/internal/images"
	"bryo/internal/linux"
	"bryo/internal/state"
	"bryo/internal/trace"
	"bryo/rootfs/image"
	"bryo/rootfs/mount"
	"bryo/rootfs/reference"
	"bryo/rootfs/volume"
)

// RunRequest is a container as the command line asks for it.
type RunRequest struct {
	Image    string
	Platform string
	Pull     string // missing, always, never
	Quiet    bool   // no progress while pulling
	Name     string // empty: a generated one

	// Entrypoint replaces the image's when EntrypointSet, as does Command.
	Entrypoint    []string
	EntrypointSet bool
	Command       []string
	Health        *image.Healthcheck // of the command line: its fields win over the image's; nil: the image's
	KeepID        *state.KeepID      // --userns keep-id

	Mounts  mount.Flags
	Process state.Process // Args, Entrypoint and Cmd are filled from the image
	Host    state.Host
	Words   []string // the command line, for inspect
}

// Create resolves the image, pulling it when asked to, and writes the
// container's directory. Nothing runs yet.
func (e *Engine) Create(ctx context.Context, r RunRequest) (*state.Config, error) {
	if err := e.ready(); err != nil {
		return nil, err
	}
	err := checkLimits(&r.Host.Limits)
	if err != nil {
		return nil, err
	}
	if err := checkUlimits(r.Host.Ulimits); err != nil {
		return nil, err
	}
	if r.KeepID, err = parseUserNS(r.Host.UserNS); err != nil {
		return nil, err
	}
	r.Host.OOMScore = oomScore(r.Host.OOMScore)
	config := &state.Config{
		ID: state.NewID(), Created: time.Now().UTC(), Creator: linux.RefProcess(os.Getpid()), Mapping: e.mapping(),
		Process: r.Process, Host: r.Host, Command: r.Words,
	}
	if err := e.resolveNetworks(&config.Host); err != nil {
		return nil, err
	}
	file := r.Host.CIDFile
	if file != "" {
		if err := reserveCIDFile(file); err != nil {
			return nil, err
		}
	}
	err = e.create(ctx, r, config)
	trace.Mark("container created")
	if file != "" {
		if err != nil {
			os.Remove(file)
		} else {
			err = os.WriteFile(file, []byte(config.ID), 0o644)
		}
	}
	if err != nil {
		return nil, err
	}
	return config, nil
}

// Sync puts a container that is not started on disk; any other one's supervisor does
// it when the program runs.
func (e *Engine) Sync(config *state.Config) { e.containers().Sync(config.ID) }

func reserveCIDFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("container ID file found, make sure the other container isn't running or delete %s", path)
	}
	if err != nil {
		return fmt.Errorf("create container ID file %s: %w", path, cause(err))
	}
	return f.Close()
}

func (e *Engine) create(ctx context.Context, r RunRequest, config *state.Config) error {
	if r.Pull == "always" && !isArchive(r.Image) {
		if _, err := e.Pull(ctx, images.PullArgs{Reference: r.Image, Platform: r.Platform, Quiet: r.Quiet}, true); err != nil {
			return err
		}
	}
	for range 16 {
		record, err := e.Image(ctx, r)
		if err != nil {
			return err
		}
		trace.Mark("image known")
		release, err := e.shareImages()
		if err != nil {
			return err
		}
		// Between the look-up and the lock the image may have gone: look again.
		if stamp, err := image.StoreStamp(e.Root); err != nil || stamp != record.Stamp {
			release()
			continue
		}
		warnOfPlatform(r.Platform, &record.Config)
		err = e.register(r, record, config)
		release()
		return err
	}
	return fmt.Errorf("image %s: the store changes all the time", r.Image)
}

// Image returns the record of an image: from the record cache, from the store's
// own files, or from a registry when the pull policy allows.
func (e *Engine) Image(ctx context.Context, r RunRequest) (*image.Record, error) {
	if isArchive(r.Image) {
		return e.pullRecord(ctx, r)
	}
	record, err := e.StoredImage(r.Image, r.Platform)
	if err == nil || !errors.Is(err, image.ErrNotFound) {
		return record, err
	}
	if r.Image == hello {
		return e.pullRecord(ctx, r)
	}
	if _, err := reference.Parse(r.Image); err != nil {
		return nil, err
	}
	if r.Pull == "never" {
		return nil, fmt.Errorf("No such image: %s (--pull never)", familiar(r.Image))
	}
	if !r.Quiet {
		fmt.Fprintf(os.Stderr, "Unable to find image '%s' locally\n", familiar(r.Image))
	}
	return e.pullRecord(ctx, r)
}

// familiar is a name as docker shows it, with its tag.
func familiar(name string) string {
	if ref, err := reference.Parse(name); err == nil {
		return ref.Familiar()
	}
	return name
}

// StoredImage finds an image that is in the store; image.ErrNotFound otherwise.
func (e *Engine) StoredImage(name, platform string) (*image.Record, error) {
	record, err := image.Lookup(e.Root, name, platform)
	if errors.Is(err, image.ErrNotFound) || errors.Is(err, image.ErrStale) {
		return image.Resolve(e.Root, name, platform)
	}
	return record, err
}

func (e *Engine) pullRecord(ctx context.Context, r RunRequest) (*image.Record, error) {
	result, err := e.Pull(ctx, images.PullArgs{Reference: r.Image, Platform: r.Platform, Quiet: r.Quiet}, true)
	if err != nil {
		return nil, err
	}
	record := result.Record
	record.Stamp, err = image.StoreStamp(e.Root)
	return record, err
}

// hello is the built-in image: made from bryo's own executable when no other
// image has the name.
const hello = "hello"

// isArchive: names that stand for an archive or a directory, not for an image of a registry.
func isArchive(name string) bool {
	for _, transport := range []string{"oci:", "oci-archive:", "docker-archive:", "containers-storage:"} {
		if strings.HasPrefix(name, transport) {
			return true
		}
	}
	return false
}

// register merges the image's configuration and writes the container.
func (e *Engine) register(r RunRequest, record *image.Record, config *state.Config) error {
	config.Image = state.Image{
		ID: record.ID, Reference: r.Image, Digest: record.Digest, Layers: record.Layers, Config: record.Config,
	}
	var err error
	if r.Mounts.Inherited, err = e.inherit(r.Host.VolumesFrom); err != nil {
		return err
	}
	if err := merge(r, &record.Config, config); err != nil {
		return err
	}
	if r.KeepID != nil {
		if err := e.keepID(r.KeepID, config, record); err != nil {
			return err
		}
	}
	store := volume.NewStore(e.Root)
	// Held until the config, which names them, is written.
	claim, err := store.Claim(config.Host.Mounts, config.Host.Remove)
	if err != nil {
		return err
	}
	err = e.name(r.Name, config)
	claim.Release()
	if err == nil {
		for _, name := range claim.Created {
			e.announceVolume("create", name)
		}
		e.containers().Announce(config, "create")
	}
	if err != nil {
		_ = store.RemoveAnonymous(claim.Created, e.containers().VolumeUsers)
	}
	return err
}

// name gives the container its name, or a free one, and writes it.
func (e *Engine) name(wanted string, config *state.Config) error {
	containers := e.containers()
	if wanted != "" {
		config.Name = wanted
		return containers.Create(config)
	}
	for {
		config.Name = randomName()
		if err := containers.Create(config); !errors.Is(err, state.ErrNameTaken) {
			return err
		}
	}
}

// inherit reads the mounts of the containers that --volumes-from names.
func (e *Engine) inherit(specs []string) (mounts []mount.Mount, err error) {
	for _, spec := range specs {
		name, options, err := mount.ParseVolumesFrom(spec)
		if err != nil {
			return nil, err
		}
		from, err := e.Container(name)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, mount.Inherit(name, options, from.Host.Mounts)...)
	}
	return mounts, nil
}

func merge(r RunRequest, from *image.Config, config *state.Config) error {
	p := &config.Process
	p.Entrypoint, p.Cmd = from.Entrypoint, from.Cmd
	if r.EntrypointSet {
		// As docker: a new entrypoint drops the image's command too.
		p.Entrypoint, p.Cmd = r.Entrypoint, nil
	}
	if len(r.Command) > 0 {
		p.Cmd = r.Command
	}
	if len(p.Entrypoint) == 1 && p.Entrypoint[0] == "" {
		p.Entrypoint = nil // as docker
	}
	p.Args = append(append([]string(nil), p.Entrypoint...), p.Cmd...)
	if len(p.Args) == 0 {
		return fmt.Errorf("no command specified: image %s has neither entrypoint nor command", r.Image)
	}
	p.Env = mergeEnv(from.Env, p.Env)
	if p.WorkDir == "" {
		p.WorkDir = from.WorkingDir
	}
	if p.WorkDir == "" {
		p.WorkDir = "/"
	}
	if !filepath.IsAbs(p.WorkDir) {
		return fmt.Errorf("the working directory '%s' is invalid, it needs to be an absolute path", p.WorkDir)
	}
	if p.User == "" {
		p.User = from.User
	}
	h := &config.Host
	if h.StopSignal == "" {
		h.StopSignal = from.StopSignal
	}
	if err := checkStop(h.StopSignal); err != nil {
		return err
	}
	h.Health = mergeHealth(from.Healthcheck, r.Health)
	if err := h.Health.Check(); err != nil {
		return err
	}
	flags := r.Mounts
	for target := range from.Volumes {
		flags.Image = append(flags.Image, target)
	}
	sort.Strings(flags.Image)
	var err error
	if h.Mounts, err = mount.NewPlan(flags); err != nil {
		return err
	}
	for _, device := range h.Devices {
		if device.InDev() {
			continue
		}
		if err := device.Check(); err != nil {
			return err
		}
		h.Mounts = append(h.Mounts, device.Mount())
	}
	if h.Network == "" {
		h.Network, h.Networks = state.NetworkDefault, []state.Network{{Name: state.NetworkDefault}}
	}
	if err := exposePorts(h, from); err != nil {
		return err
	}
	labels := map[string]string{}
	for k, v := range from.Labels {
		labels[k] = v
	}
	for k, v := range h.Labels {
		labels[k] = v
	}
	h.Labels = labels
	return nil
}

// checkStop refuses an image's STOPSIGNAL that is none: ignored, it would make stop
// another thing than its author meant.
func checkStop(name string) error {
	if name == "" {
		return nil
	}
	_, err := image.ParseSignal(name)
	return err
}

// mergeHealth lets the command line's fields win; a check that is switched off or
// has no command is none.
func mergeHealth(of, flags *image.Healthcheck) *image.Healthcheck {
	if flags == nil {
		return of
	}
	merged := image.Healthcheck{}
	if of != nil {
		merged = *of
	}
	if len(flags.Test) > 0 {
		merged.Test = flags.Test
	}
	for _, d := range []struct{ to, from *time.Duration }{
		{&merged.Interval, &flags.Interval}, {&merged.Timeout, &flags.Timeout},
		{&merged.StartPeriod, &flags.StartPeriod}, {&merged.StartInterval, &flags.StartInterval},
	} {
		if *d.from != 0 {
			*d.to = *d.from
		}
	}
	if flags.Retries != 0 {
		merged.Retries = flags.Retries
	}
	return &merged
}

// mergeEnv lets later entries of the same name win and keeps the first one's
// place. A name without a value takes the variable away.
func mergeEnv(lists ...[]string) []string {
	var out []string
	at := map[string]int{}
	for _, list := range lists {
		for _, entry := range list {
			name, _, hasValue := strings.Cut(entry, "=")
			i, seen := at[name]
			switch {
			case !hasValue && seen:
				out[i] = ""
			case !hasValue:
			case seen:
				out[i] = entry
			default:
				at[name] = len(out)
				out = append(out, entry)
			}
		}
	}
	kept := out[:0]
	for _, entry := range out {
		if entry != "" {
			kept = append(kept, entry)
		}
	}
	return kept
}
