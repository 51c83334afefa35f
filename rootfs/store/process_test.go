package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bryo/rootfs/image"
	"bryo/rootfs/store/nstest"
)

// Tests with several processes: each child imports the same image, and notes in
// a file every layer that it fetches.
const (
	childRoot = "BRYO_TEST_STORE_ROOT"
	childSlow = "BRYO_TEST_STORE_SLOW"
)

func child(root string) int {
	s, err := Open(root, Options{SingleUID: nstest.Single()})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	f := childImage()
	for i, l := range f.layers {
		l.open = noted(root, i, l)
	}
	if _, err := s.Import(context.Background(), f, ImportOptions{Names: []string{"app"}}); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func childImage() *fake {
	var layers []*fakeLayer
	for i := range 4 {
		layers = append(layers, plainLayer(tarOf(fmt.Sprintf("f%d", i), strings.Repeat("contents", 50000))))
	}
	return newFake("processes", layers...)
}

func owner(t testing.TB, path string) uint32 {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}

func childCommand(root string, env ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(append(os.Environ(), childRoot+"="+root), env...)
	return cmd
}

// F19: twenty imports of one image at once fetch it once, and all succeed.
func TestProcesses(t *testing.T) {
	s := newStore(t, Options{})
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if output, err := childCommand(s.root).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, output)
			}
		})
	}
	group.Wait()
	fetched, err := filepath.Glob(filepath.Join(s.root, "fetched-*"))
	if err != nil || len(fetched) != 4 {
		t.Errorf("fetched %v", fetched)
	}
	if record, err := image.Lookup(s.root, "app", ""); err != nil || len(record.Layers) != 4 {
		t.Error(record, err)
	}
}

// Imports and removals of the same image at once end in order.
func TestImportAgainstRemove(t *testing.T) {
	s := newStore(t, Options{})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if output, err := childCommand(s.root).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, output)
			}
		})
	}
	stop := make(chan struct{})
	removed := make(chan int)
	go func() {
		count := 0
		for {
			select {
			case <-stop:
				removed <- count
				return
			default:
				if _, err := s.Remove("app", RemoveOptions{}); err == nil {
					count++
				}
			}
		}
	}()
	group.Wait()
	close(stop)
	t.Log(<-removed, "removals")
	s.Remove("app", RemoveOptions{})
	s.RemoveOrphans(context.Background())
	s.clean(t)
}

// F01-F04: whenever an import is killed, the next one heals the store.
func TestKilled(t *testing.T) {
	s := newStore(t, Options{})
	for delay := time.Duration(0); delay < 400*time.Millisecond; delay += 13 * time.Millisecond {
		cmd := childCommand(s.root, childSlow+"=1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delay)
		cmd.Process.Kill()
		cmd.Wait()
	}
	healed, err := Open(s.root, Options{SingleUID: nstest.Single()})
	if err != nil {
		t.Fatal(err)
	}
	record := healed.mustImport(t, childImage(), "app")
	for i, layer := range record.Layers {
		if info, err := os.Stat(filepath.Join(layer, fmt.Sprintf("f%d", 3-i))); err != nil || info.Size() != 400000 {
			t.Error(info, err)
		}
	}
	if _, err := healed.Prune(context.Background(), PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	healed.clean(t)
}

// A staging directory is not judged while an import makes one: its lock file is
// there before it is locked.
func TestHealStaging(t *testing.T) {
	s := newStore(t, Options{})
	dir := filepath.Join(s.root, "storage/overlay/staging/1")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "staging.lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	there := func() bool { _, err := os.Stat(dir); return err == nil }
	importing, _ := s.locks.try(lockImports, false)
	defer importing()
	staging, _ := s.locks.try(lockStaging, false)
	if s.healStaging(); !there() {
		t.Error("removed while an import makes it")
	}
	staging()
	if s.healStaging(); there() {
		t.Error("abandoned and still there")
	}
	if _, err := os.Stat(filepath.Dir(dir)); err != nil {
		t.Error(err)
	}
}

// What a killed writer left beside the books goes with the next opening, unless
// somebody writes at that moment.
func TestHealBooks(t *testing.T) {
	s := newStore(t, Options{})
	record := s.mustImport(t, childImage(), "app")
	images := filepath.Join(s.root, "storage/overlay-images")
	left := []string{
		filepath.Join(images, ".tmp-images.json1"),
		filepath.Join(images, record.ID, ".tmp-manifest1"),
		filepath.Join(images, strings.Repeat("0a", 32)),
		filepath.Join(s.root, "storage/overlay-layers/.tmp-layers.json1"),
		filepath.Join(s.root, "storage-run", bootID(), "overlay-layers/.tmp-mountpoints.json1"),
	}
	for _, path := range left {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	there := func() (n int) {
		for _, path := range left {
			if _, err := os.Stat(path); err == nil {
				n++
			}
		}
		return n
	}
	importing, _ := s.locks.try(lockImports, false)
	if s.heal(); there() != 2 {
		t.Error(there(), "there, want those of the layers: an import is under way")
	}
	importing()
	writing, err := image.Lock(s.root)
	if err != nil {
		t.Fatal(err)
	}
	healed := make(chan struct{})
	go func() { s.heal(); close(healed) }()
	time.Sleep(50 * time.Millisecond)
	if there() != 2 {
		t.Error("removed while somebody writes")
	}
	writing()
	if <-healed; there() != 0 {
		t.Error(there(), "are still there")
	}
	if config, err := os.ReadDir(filepath.Join(images, record.ID)); err != nil || len(config) != 2 {
		t.Error("the image's own files:", config, err)
	}
}

// Layers of a removed image, or of a commit, and an image that did not get its name
// go with the next opening if their writer was killed; others stay for the next pull.
func TestHealParted(t *testing.T) {
	s := newStore(t, Options{})
	layers := func() int { found, _ := image.Layers(s.root); return len(found) }
	bad := gzipLayer(tarOf("g", "x"))
	bad.open = func() (io.ReadCloser, error) {
		for end := time.Now().Add(10 * time.Second); layers() == 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		return nil, errors.New("network down")
	}
	s.Import(context.Background(), newFake("half", gzipLayer(tarOf("half", "x")), bad), ImportOptions{})
	if s.heal(); layers() != 1 {
		t.Fatal(layers(), "layers, want the one to go on with")
	}
	s.markLayers()
	importing, _ := s.locks.try(lockImports, false)
	if s.heal(); layers() != 1 {
		t.Error("removed while an import is under way")
	}
	importing()
	if s.heal(); layers() != 0 || len(namesIn(s.partingDir())) != 0 {
		t.Error(layers(), "layers and marks", namesIn(s.partingDir()))
	}
	named, nameless := s.mustImport(t, childImage(), "app"), s.mustImport(t, newFake("nameless", plainLayer(tarOf("n", "x"))))
	s.markImage(named.ID)
	s.markImage(nameless.ID)
	s.options.InUse = func(string) []User { return []User{{ID: "c"}} }
	if s.heal(); layers() != 5 {
		t.Error("an image was removed that a container uses")
	}
	s.options.InUse = nil
	s.markImage(nameless.ID)
	if s.heal(); layers() != 4 {
		t.Error(layers(), "layers: the image that did not get its name")
	}
	if _, err := s.Remove("app", RemoveOptions{}); err != nil || len(namesIn(s.partingDir())) != 0 {
		t.Error(err, namesIn(s.partingDir()))
	}
}

// noted opens a layer and leaves a file that says so; with childSlow it comes in
// small pieces, so that a kill finds it half-way.
func noted(root string, i int, l *fakeLayer) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		name := filepath.Join(root, fmt.Sprintf("fetched-%d-%d", i, os.Getpid()))
		if os.Getenv(childSlow) == "" {
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				return nil, err
			}
		}
		return io.NopCloser(&slow{bytes.NewReader(l.data), os.Getenv(childSlow) != ""}), nil
	}
}

type slow struct {
	r    *bytes.Reader
	slow bool
}

func (s *slow) Read(p []byte) (int, error) {
	if s.slow {
		time.Sleep(5 * time.Millisecond)
		p = p[:min(len(p), 20000)]
	}
	return s.r.Read(p)
}
