package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/linux"

	"bryo/rootfs/mount/mounttest"
)

// makeLayers makes n layer directories, topmost first; layer i holds the file
// "only-i", and every one holds "same" with its own number in it.
func makeLayers(t testing.TB, dir string, n int) (lower []string) {
	t.Helper()
	for i := range n {
		layer := filepath.Join(dir, fmt.Sprintf("layer%d", i), strings.Repeat("d", 64), "diff")
		if err := os.MkdirAll(layer, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(layer, fmt.Sprintf("only-%d", i)), "x")
		write(t, filepath.Join(layer, "same"), fmt.Sprint(i))
		lower = append(lower, layer)
	}
	return lower
}

func write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func unmountAtEnd(t testing.TB, target string) {
	t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
}

func TestOverlayLayers(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	for _, n := range []int{1, 2, 130, 500} {
		for _, how := range []string{"fsmount", "fsmount in two steps", "mount(2)"} {
			t.Run(fmt.Sprintf("%d layers, %s", n, how), func(t *testing.T) {
				dir := t.TempDir()
				lower := makeLayers(t, dir, n)
				target := filepath.Join(dir, "root")
				upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
				start := time.Now()
				var err error
				switch how {
				case "mount(2)":
					os.Mkdir(target, 0o755)
					l := &layers{lower: lower, upper: upper, work: work, userXattr: true}
					if _, err = l.makeUpper(); err == nil {
						err = l.mountOld(target)
					}
				case "fsmount in two steps":
					var d *Detached
					if d, err = Detach(lower, upper, work, OverlayOptions{}, already); err == nil {
						err = d.Attach(target)
					}
				default:
					err = Overlay(target, lower, upper, work, OverlayOptions{})
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("mounted in %v", time.Since(start))
				unmountAtEnd(t, target)
				if got := read(t, filepath.Join(target, "same")); got != "0" {
					t.Errorf("topmost layer is %s, want 0", got)
				}
				read(t, filepath.Join(target, fmt.Sprintf("only-%d", n-1)))
				if err := os.Remove(filepath.Join(target, "same")); err != nil {
					t.Error(err)
				}
				if _, err := os.Lstat(filepath.Join(upper, "same")); err != nil {
					t.Error("removing a lower file left no whiteout:", err)
				}
			})
		}
	}
}

func TestOverlayTooManyLayers(t *testing.T) {
	err := Overlay(t.TempDir(), make([]string, MaxLayers+1), "", "", OverlayOptions{})
	if err == nil || !strings.Contains(err.Error(), "501 layers, the kernel joins 500 at most") {
		t.Error(err)
	}
}

func TestOverlayOddPaths(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	for _, name := range []string{"a:b", "a,b", `a\b`, `\:,`, "a b\n", strings.Repeat("long/", 60)} {
		t.Run(name[:min(len(name), 8)], func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name)
			lower := makeLayers(t, dir, 2)
			target := filepath.Join(dir, "root")
			err := Overlay(target, lower, filepath.Join(dir, "upper"), filepath.Join(dir, "work"), OverlayOptions{Volatile: true})
			if err != nil {
				t.Fatal(err)
			}
			unmountAtEnd(t, target)
			write(t, filepath.Join(target, "new"), "n")
			if read(t, filepath.Join(dir, "upper", "new")) != "n" || read(t, filepath.Join(target, "same")) != "0" {
				t.Error("layers are not where they belong")
			}
		})
	}
}

func TestOverlayReadOnly(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	for _, n := range []int{1, 3} {
		dir := t.TempDir()
		lower := makeLayers(t, dir, n)
		target := filepath.Join(dir, "root")
		if err := Overlay(target, lower, "", "", OverlayOptions{ReadOnly: true}); err != nil {
			t.Fatal(err)
		}
		unmountAtEnd(t, target)
		read(t, filepath.Join(target, fmt.Sprintf("only-%d", n-1)))
		if err := os.WriteFile(filepath.Join(target, "new"), nil, 0o644); !os.IsPermission(err) && !strings.Contains(fmt.Sprint(err), "read-only") {
			t.Errorf("%d layers: written to a read-only root: %v", n, err)
		}
	}
}

func TestOverlayUpperLooksLikeImageRoot(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	for _, early := range []bool{false, true} {
		dir := t.TempDir()
		lower := makeLayers(t, dir, 2)
		if err := os.Chmod(lower[0], 0o711); err != nil {
			t.Fatal(err)
		}
		if mounttest.Size() > 1 {
			os.Chown(lower[0], 7, 8)
		}
		target, upper, work := filepath.Join(dir, "root"), filepath.Join(dir, "upper"), filepath.Join(dir, "work")
		if early {
			d, err := Detach(lower, upper, work, OverlayOptions{}, already)
			if err != nil {
				t.Skipf("no detached mounts: %v", err)
			}
			if err := d.Attach(target); err != nil {
				t.Fatal(err)
			}
		} else if err := Overlay(target, lower, upper, work, OverlayOptions{}); err != nil {
			t.Fatal(err)
		}
		unmountAtEnd(t, target)
		var root, layer unix.Stat_t
		unix.Stat(target, &root)
		unix.Stat(lower[0], &layer)
		if root.Mode != layer.Mode || root.Uid != layer.Uid || root.Gid != layer.Gid {
			t.Errorf("early %v: root is %o %d:%d, image root %o %d:%d", early, root.Mode, root.Uid, root.Gid, layer.Mode, layer.Uid, layer.Gid)
		}
	}
}

func TestOverlayVolatileTwice(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	dir := t.TempDir()
	lower := makeLayers(t, dir, 2)
	target, upper, work := filepath.Join(dir, "root"), filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	mount := func() error { return Overlay(target, lower, upper, work, OverlayOptions{Volatile: true}) }
	if err := mount(); err != nil {
		t.Fatal(err)
	}
	unix.Unmount(target, unix.MNT_DETACH)
	if err := mount(); err == nil {
		t.Fatal("a volatile upper was mounted twice")
	}
	if err := ForgetVolatile(work); err != nil {
		t.Fatal(err)
	}
	if err := mount(); err != nil {
		t.Fatal(err)
	}
	unmountAtEnd(t, target)
}

func TestOverlayErrorsNameTheLayer(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	dir := t.TempDir()
	lower := append(makeLayers(t, dir, 1), filepath.Join(dir, "gone"))
	err := Overlay(filepath.Join(dir, "root"), lower, filepath.Join(dir, "upper"), filepath.Join(dir, "work"), OverlayOptions{})
	if err == nil || !strings.Contains(err.Error(), "layer "+lower[1]+": no such file or directory") {
		t.Error(err)
	}
}

func TestOverlaySupported(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	dir := t.TempDir()
	if err := OverlaySupported(dir); err != nil {
		t.Error(err)
	}
	// An overlay cannot be the upper side of another one.
	lower := makeLayers(t, dir, 2)
	target := filepath.Join(dir, "root")
	if err := Overlay(target, lower, filepath.Join(dir, "upper"), filepath.Join(dir, "work"), OverlayOptions{}); err != nil {
		t.Fatal(err)
	}
	unmountAtEnd(t, target)
	err := OverlaySupported(target)
	t.Log(err)
	if left, _ := filepath.Glob(target + "/.overlay-*"); len(left) > 0 {
		t.Error("left behind:", left)
	}
	upper := filepath.Join(target, "upper")
	err = Overlay(filepath.Join(target, "root"), lower, upper, filepath.Join(target, "work"), OverlayOptions{})
	t.Log(err)
}

// What a killed trial left goes with the next one; that of a living one stays.
func TestSweepTrials(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, trialPrefix+"1")
	if err := os.MkdirAll(filepath.Join(left, "work/work"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(left, "file"), "")
	alive, claim, err := linux.MakeClaimed(dir, trialPrefix)
	if err != nil {
		t.Fatal(err)
	}
	there := func(path string) bool { _, err := os.Stat(path); return err == nil }
	sweepTrials(dir)
	if there(left) || !there(alive) {
		t.Error("the dead one's:", there(left), "the living one's:", there(alive))
	}
	claim.Close()
	if sweepTrials(dir); there(alive) {
		t.Error("still there")
	}
}

// Trials side by side do not take each other's directory away.
func TestOverlaySupportedAtOnce(t *testing.T) {
	if !mounttest.Run(t) {
		return
	}
	dir := t.TempDir()
	if err := OverlaySupported(dir); err != nil {
		t.Skip(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				if err := OverlaySupported(dir); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Error("left behind:", left)
	}
}

// The benchmarks need a namespace: unshare -rm env BRYO_TEST_NAMESPACE=1 go test -bench .
func needNamespace(b *testing.B) {
	if os.Getenv("BRYO_TEST_NAMESPACE") == "" {
		b.Skip("outside of a namespace")
	}
}

func BenchmarkOverlay(b *testing.B) {
	needNamespace(b)
	for _, n := range []int{1, 8, 130, 500} {
		lower := makeLayers(b, b.TempDir(), n)
		b.Run(fmt.Sprintf("%d layers", n), func(b *testing.B) {
			dir := b.TempDir()
			var times []time.Duration // the median says more than the mean on a busy machine
			for i := 0; b.Loop(); i++ {
				start := time.Now()
				sub := func(name string) string { return filepath.Join(dir, fmt.Sprint(name, i)) }
				if err := Overlay(sub("root"), lower, sub("upper"), sub("work"), OverlayOptions{Volatile: true}); err != nil {
					b.Fatal(err)
				}
				times = append(times, time.Since(start))
				b.StopTimer()
				unix.Unmount(sub("root"), unix.MNT_DETACH)
				b.StartTimer()
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[0].Microseconds()), "min-µs")
			b.ReportMetric(float64(times[len(times)/2].Microseconds()), "median-µs")
		})
	}
}

func BenchmarkDev(b *testing.B) {
	needNamespace(b)
	dir := b.TempDir()
	for b.Loop() {
		if err := Dev(dir, nil); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		unix.Unmount(dir, unix.MNT_DETACH)
		b.StartTimer()
	}
}
