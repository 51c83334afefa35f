package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// many compares 100 runs one after another, and 50 at once.
func (b *bench) many() error {
	const sequential, parallel = 100, 50
	programs := map[string][]string{"bryo": {"bryo", "run", "--rm", image, "/bin/true"}}
	order := []string{"bryo"}
	if err := b.podman(); err != nil {
		b.table.note("%v", err)
	} else {
		order, programs["podman"] = append(order, "podman"), []string{"podman", "run", "--rm", "--pull", "never", image, "/bin/true"}
	}
	one, all := map[string]time.Duration{}, map[string]time.Duration{}
	for _, program := range order {
		start := time.Now()
		if _, err := b.inTurn(sequential, programs[program]); err != nil {
			return err
		}
		one[program] = time.Since(start)
	}
	for _, program := range order {
		took, err := b.atOnce(parallel, programs[program])
		if err != nil {
			return fmt.Errorf("%d at once: %w", parallel, err)
		}
		all[program] = took
	}
	b.compare("100 runs, one after another", one, 1.0/8)
	b.compare("50 runs at once", all, 1.0/5)
	return nil
}

func (b *bench) compare(what string, took map[string]time.Duration, target float64) {
	if theirs := took["podman"]; theirs > 0 {
		b.table.times(what, "podman", []time.Duration{took["bryo"]}, []time.Duration{theirs}, target)
		return
	}
	b.table.alone(what, ms(took["bryo"])+" ms")
}

// atOnce starts n processes at the same moment and waits for the last.
func (b *bench) atOnce(n int, command []string) (time.Duration, error) {
	var wait sync.WaitGroup
	errs := make(chan error, n)
	start := time.Now()
	for range n {
		wait.Go(func() {
			if _, err := b.Time(command...); err != nil {
				errs <- err
			}
		})
	}
	wait.Wait()
	close(errs)
	return time.Since(start), <-errs
}

// crowdedStore compares, in turn, the start from a store that has 100 images of 10
// layers more with that from one which has nothing else.
func (b *bench) crowdedStore() error {
	archive, calm := filepath.Join(b.Dir, "home/crowd.tar"), filepath.Join(b.Dir, "home/calm")
	if err := b.Do("bryo", "save", "-o", archive, image); err != nil {
		return err
	}
	if err := b.Do("bryo", "--root", calm, "load", "-q", "-i", archive); err != nil {
		return err
	}
	os.Remove(archive)
	if err := crowd(archive, 100, 10); err != nil {
		return err
	}
	if err := b.Do("bryo", "load", "-q", "-i", archive); err != nil {
		return err
	}
	os.Remove(archive)
	unix.Sync() // the writing goes on behind the command
	from := func(root string) []string {
		return []string{"env", "BRYO_ROOT=" + root, "bryo", "run", "--rm", image, "/bin/true"}
	}
	took, err := b.inTurn(b.rounds+3, from(filepath.Join(b.Dir, "home/bryo")), from(calm))
	if err != nil {
		return err
	}
	b.table.times("run --rm true, 1000 layers stored", "the same, no other image", took[0][3:], took[1][3:], 1.1)
	return nil
}

// crowd writes a docker archive of images whose layers are all different.
func crowd(path string, images, layers int) error {
	refs := map[name.Reference]v1.Image{}
	for n := range images {
		img := v1.Image(empty.Image)
		for range layers {
			layer, err := random.Layer(2048, types.DockerLayer)
			if err != nil {
				return err
			}
			if img, err = mutate.AppendLayers(img, layer); err != nil {
				return err
			}
		}
		ref, err := name.NewTag(fmt.Sprintf("example.org/crowd-%d:1", n))
		if err != nil {
			return err
		}
		refs[ref] = img
	}
	if err := tarball.MultiRefWriteToFile(path, refs); err != nil {
		return err
	}
	return os.Chmod(path, 0o644)
}
