package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/images"
	"bryo/internal/linux"
	"bryo/internal/state"
	"bryo/rootfs/volume"
)

// Finding is something in the data root that should not be as it is.
type Finding struct {
	Object   string // "container web", "process 42", …
	What     string
	Cure     string // what --repair does, or what the user can do
	Repaired bool
	Err      error // of the repair

	repair func() error // nil: nothing that could be done without losing data
}

// CheckOptions of Check.
type CheckOptions struct {
	Repair bool
	Layers bool // read every layer and compare it with its digest
}

// Check compares what the data root says with what is true: states of containers,
// names, processes, mounts, files, volumes, networks, on request layers. Without Repair it
// changes nothing but what every start or change of a volume sweeps too: what a kill or a
// power loss left half made or half removed. With it, only what cannot be data of the user.
func (e *Engine) Check(o CheckOptions) ([]Finding, error) {
	if _, err := os.Stat(e.Root); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err := e.ready(); err != nil {
		return nil, err
	}
	e.sweep() // what cannot be swept is found below
	if left, err := volume.NewStore(e.Root).Trash(); err == nil && len(left) > 0 {
		_ = e.call(images.OpVolumeRemove, images.VolumeRemoveArgs{}, nil)
	}
	var found []Finding
	for _, look := range []func() ([]Finding, error){
		e.checkContainers, e.checkNames, e.checkMarkers, e.checkProcesses, e.checkMounts, e.checkVolumes,
		e.checkNetworks,
	} {
		more, err := look()
		if err != nil {
			return found, err
		}
		found = append(found, more...)
	}
	if o.Layers {
		more, err := e.checkLayers()
		if err != nil {
			return found, err
		}
		found = append(found, more...)
	}
	if !o.Repair {
		return found, nil
	}
	for i := range found {
		if f := &found[i]; f.repair != nil {
			f.Err = f.repair()
			f.Repaired = f.Err == nil
		}
	}
	return found, nil
}

// sweep removes the containers that were killed half made or half removed.
func (e *Engine) sweep() {
	if len(e.containers().Abandoned()) > 0 || len(e.containers().Lost()) > 0 {
		_ = e.call(images.OpContainerRemove, images.ContainerRemoveArgs{}, nil)
	}
}

// checkContainers looks at each directory below containers/.
func (e *Engine) checkContainers() (found []Finding, err error) {
	entries, err := os.ReadDir(filepath.Join(e.Root, "containers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, entry := range entries {
		found = append(found, e.checkContainer(entry.Name())...)
	}
	return found, err
}

// youngTime is how old a directory without config may be: its maker is at work.
const youngTime = time.Minute

func (e *Engine) checkContainer(id string) []Finding {
	dir := e.containers().Path(id)
	info, err := os.Lstat(dir)
	if err != nil {
		return nil // gone meanwhile
	}
	if state.IsID(id) && info.IsDir() && info.Mode().Perm()&0o700 != 0o700 {
		return []Finding{{
			Object: "container " + id[:12], What: fmt.Sprintf("its directory has mode %04o", info.Mode().Perm()), Cure: "give its owner access",
			repair: func() error { return os.Chmod(dir, 0o700) },
		}}
	}
	config, err := e.containers().Load(id)
	notOurs := !state.IsID(id) || !info.IsDir()
	if notOurs || errors.Is(err, state.ErrNotFound) && !e.restorable(id) && !e.containers().NeverMade(id) {
		if !notOurs && time.Since(info.ModTime()) < youngTime {
			return nil
		}
		return []Finding{{
			Object: "directory containers/" + id, What: "belongs to no container", Cure: "remove it",
			repair: func() error { return e.removeDirectory(id) },
		}}
	}
	if err != nil {
		return []Finding{e.damagedConfig(id, err)}
	}
	return e.checkStatus(config)
}

func (e *Engine) damagedConfig(id string, err error) Finding {
	f := Finding{Object: "container " + id[:12], What: damage(err)}
	switch {
	case e.restorable(id):
		f.Cure, f.repair = "take the copy of its config", func() error { return e.containers().Restore(id) }
	case e.containers().NeverMade(id):
		f.Cure, f.repair = "remove it", func() error { return e.removeDirectory(id) }
	default:
		f.Cure = "bryo rm -f " + id[:12]
	}
	return f
}

// checkStatus compares what is recorded of a container with what is true.
func (e *Engine) checkStatus(config *state.Config) []Finding {
	id, object := config.ID, "container "+config.Name
	raw, err := e.containers().RawStatus(id)
	switch {
	case (err != nil || raw == nil || !raw.Supervisor.Alive()) && e.answers(id):
		return []Finding{{
			Object: object, What: "it runs, and its status.json does not say so", Cure: "have its supervisor write it anew",
			repair: func() error {
				return errors.Join(e.containers().MakeRoom(id), e.reload(&Container{Config: config}))
			},
		}}
	case err != nil:
		return []Finding{{
			Object: object, What: err.Error(), Cure: "record it as exited",
			repair: func() error {
				return e.containers().ReplaceStatus(id, &state.Status{Phase: state.Exited, ExitCode: killedCode, Error: "state was lost"})
			},
		}}
	case raw == nil || raw.Supervisor.Alive() || !raw.Init.Alive():
		return nil // what a killed supervisor left in its files is read rightly, and goes with the next start or rm
	}
	return []Finding{{
		Object: object, What: "recorded as " + raw.Phase + ", its supervisor is gone, its first process is left",
		Cure: "end what is left, record it as exited", repair: func() error { return e.bury(id) },
	}}
}

func (e *Engine) restorable(id string) bool {
	_, err := e.containers().Copy(id)
	return err == nil
}

// damage says what is the matter with a config.
func damage(err error) string {
	if errors.Is(err, state.ErrNotFound) {
		return "its config.json is missing or empty"
	}
	return err.Error()
}

// bury ends what a killed supervisor left and records the end.
func (e *Engine) bury(id string) error {
	c := e.read(id)
	if c.Broken != nil {
		return c.Broken
	}
	if err := e.killRemains(c, nil); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	e.containers().Bury(id)
	return nil
}

// removeDirectory deletes in the user namespace: files may be of other ids.
func (e *Engine) removeDirectory(id string) error {
	return e.call(images.OpContainerRemove, images.ContainerRemoveArgs{ID: id}, nil)
}

// checkNames finds names without container and containers without name.
func (e *Engine) checkNames() (found []Finding, err error) {
	names, err := e.containers().Names()
	if err != nil {
		return nil, err
	}
	for name, id := range names {
		if _, err := os.Stat(e.containers().Path(id)); errors.Is(err, fs.ErrNotExist) {
			found = append(found, Finding{
				Object: "name " + name, What: "of a container that is gone", Cure: "free it",
				repair: func() error { e.containers().Release(name, id); return nil },
			})
		}
	}
	list, err := e.Containers()
	for _, c := range list {
		if c.Broken == nil && names[c.Name] != c.ID && !c.Creator.Alive() {
			found = append(found, Finding{
				Object: "container " + c.ID[:12], What: "does not have its name " + c.Name, Cure: "give it the name, if it is free",
				repair: func() error { return e.containers().Claim(c.Name, c.ID) },
			})
		}
	}
	return found, err
}

// checkMarkers finds --rm containers whose makers were killed and that cannot be swept.
func (e *Engine) checkMarkers() (found []Finding, err error) {
	for _, id := range e.containers().Abandoned() {
		found = append(found, Finding{
			Object: "container " + id[:12], What: "--rm, and nobody is left to remove it", Cure: "remove it",
			repair: func() error { return e.removeDirectory(id) },
		})
	}
	return found, nil
}

// checkMounts finds mounts of the data root in the caller's own namespace: bryo
// makes none there.
func (e *Engine) checkMounts() (found []Finding, err error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(e.Root, "containers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	mounts, err := linux.MountsBelow(dir)
	for _, at := range mounts {
		if at != dir { // that may be the user's own disk
			found = append(found, Finding{Object: "mount " + at, What: "in the host's mount namespace", Cure: "umount " + at})
		}
	}
	return found, err
}

// checkVolumes finds volumes half removed.
func (e *Engine) checkVolumes() (found []Finding, err error) {
	left, err := volume.NewStore(e.Root).Trash()
	for _, name := range left {
		found = append(found, Finding{
			Object: "directory volumes/" + name, What: "a volume's removal was not finished", Cure: "remove it",
			repair: func() error {
				return e.call(images.OpVolumeRemove, images.VolumeRemoveArgs{}, nil)
			},
		})
	}
	return found, err
}

func (e *Engine) checkLayers() (found []Finding, err error) {
	var result images.VerifyResult
	if err := e.call(images.OpVerify, images.VerifyArgs{}, &result); err != nil {
		return nil, err
	}
	for _, bad := range result.Altered {
		found = append(found, Finding{
			Object: fmt.Sprintf("layer %.12s", bad.Layer), What: bad.What, Cure: "bryo rmi and pull again: " + strings.Join(bad.Images, ", "),
		})
	}
	for _, layer := range result.Unknown {
		e.warn(fmt.Sprintf("layer %.12s cannot be checked: another program stored it", layer))
	}
	return found, nil
}
