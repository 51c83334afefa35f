package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"bryo/rootfs/mount"

	"bryo/internal/linux"
)

func unused(string) ([]string, error) { return nil, nil }

func usedBy(names ...string) Users {
	return func(name string) ([]string, error) {
		for _, n := range names {
			if n == name {
				return []string{"c0ffee"}, nil
			}
		}
		return nil, nil
	}
}

func create(t *testing.T, s *Store, name string, o CreateOptions) *Volume {
	t.Helper()
	v, err := s.Create(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCreateAndInspect(t *testing.T) {
	root := t.TempDir()
	s := NewStore(root)
	v := create(t, s, "data", CreateOptions{Labels: map[string]string{"a": "b"}})
	info, err := os.Stat(v.Data())
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("_data: %v, %v", info, err)
	}
	for _, dir := range []string{filepath.Join(root, "volumes"), filepath.Join(root, "volumes/data")} {
		if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
			t.Errorf("%s: mode %v, others could look in", dir, info.Mode())
		}
	}
	text, _ := json.Marshal(v.Inspect())
	want := fmt.Sprintf(`{"CreatedAt":%q,"Driver":"local","Labels":{"a":"b"},"Mountpoint":%q,"Name":"data","Options":null,"Scope":"local"}`,
		v.CreatedAt.Format(time.RFC3339), filepath.Join(root, "volumes/data/_data"))
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	again := create(t, s, "data", CreateOptions{Labels: map[string]string{"x": "y"}})
	if !reflect.DeepEqual(again.Labels, v.Labels) {
		t.Error("creating a volume again changed it")
	}
	anonymous := create(t, s, "", CreateOptions{})
	if len(anonymous.Name) != 64 || !anonymous.Anonymous() || v.Anonymous() {
		t.Errorf("%+v", anonymous)
	}
}

func TestCreateRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		o    CreateOptions
		err  string
	}{
		{"a", CreateOptions{}, "volume name is too short, names should be at least two alphanumeric characters"},
		{"../x", CreateOptions{}, `"../x" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`},
		{".hidden", CreateOptions{}, "includes invalid characters"},
		{"a b", CreateOptions{}, "includes invalid characters"},
		{"aé", CreateOptions{}, "includes invalid characters"},
		{"a\n", CreateOptions{}, "includes invalid characters"},
		{strings.Repeat("a", 256), CreateOptions{}, "includes invalid characters"},
		{"nfs", CreateOptions{Driver: "sshfs"}, `error looking up volume plugin sshfs: plugin "sshfs" not found`},
		{"vv", CreateOptions{Options: map[string]string{"color": "red"}}, `invalid option: "color"`},
		{"vv", CreateOptions{Options: map[string]string{"type": "tmpfs"}}, `missing required option: "device"`},
		{"vv", CreateOptions{Options: map[string]string{"size": "1g"}}, "quota size requested but no quota support"},
		{"vv", CreateOptions{Options: map[string]string{"type": "nfs", "device": ":/x", "o": "addr=1.2.3.4"}}, "type=nfs: only the host's root can mount that"},
		{"vv", CreateOptions{Options: map[string]string{"type": "none", "device": "rel", "o": "bind"}}, "must be an absolute path"},
		{"vv", CreateOptions{Options: map[string]string{"type": "none", "device": "/x"}}, "needs o=bind"},
		{"vv", CreateOptions{Options: map[string]string{"type": "none", "device": "/x", "o": "bind,fancy"}}, "o=fancy: unknown"},
		{"vv", CreateOptions{Options: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "fancy=1"}}, `invalid tmpfs option "fancy=1"`},
	} {
		root := t.TempDir()
		_, err := NewStore(root).Create(c.name, c.o)
		if err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s %v: got %v, want %q", c.name, c.o, err, c.err)
		}
		if left, _ := os.ReadDir(root); len(left) > 0 {
			t.Errorf("%s: left behind %v", c.name, left)
		}
	}
}

func TestGetNeverLeavesTheStore(t *testing.T) {
	root := t.TempDir()
	os.MkdirAll(filepath.Join(root, "volumes"), 0o700)
	os.MkdirAll(filepath.Join(root, "other/_data"), 0o700)
	os.WriteFile(filepath.Join(root, "other/volume.json"), []byte("{}"), 0o600)
	s := NewStore(root)
	if _, err := s.Get("../other"); !errors.As(err, new(*NotFoundError)) {
		t.Error(err)
	}
	if err := s.Remove("../other", true, unused); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(root, "other/_data")); err != nil {
		t.Error("a directory outside of the store is gone")
	}
}

func TestRemove(t *testing.T) {
	s := NewStore(t.TempDir())
	create(t, s, "data", CreateOptions{})
	err := s.Remove("data", false, usedBy("data"))
	if err == nil || err.Error() != "remove data: volume is in use - [c0ffee]" {
		t.Error(err)
	}
	if err := s.Remove("data", true, usedBy("data")); err == nil {
		t.Error("force removed a volume in use")
	}
	if err := s.Remove("data", false, unused); err != nil {
		t.Error(err)
	}
	err = s.Remove("data", false, unused)
	if err == nil || err.Error() != "get data: no such volume" {
		t.Error(err)
	}
	if err := s.Remove("data", true, unused); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(s.dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A container that claims a volume keeps it, in whichever order the two come;
// and a claim that loses makes the volume anew.
func TestRemoveAgainstClaim(t *testing.T) {
	s := NewStore(t.TempDir())
	var mu sync.Mutex
	inUse := map[string]bool{}
	users := func(name string) ([]string, error) {
		mu.Lock()
		defer mu.Unlock()
		if inUse[name] {
			return []string{"c"}, nil
		}
		return nil, nil
	}
	var wg sync.WaitGroup
	stop := time.Now().Add(2 * time.Second)
	wg.Go(func() {
		for time.Now().Before(stop) {
			s.Remove("data", true, users)
		}
	})
	for range 500 {
		plan := []mount.Mount{{Type: mount.Volume, Source: "data", Target: "/x"}}
		claim, err := s.Claim(plan, false)
		if err != nil {
			t.Error(err)
			break
		}
		mu.Lock()
		inUse["data"] = true
		mu.Unlock()
		claim.Release()
		for range 20 {
			if _, err := s.Get("data"); err != nil {
				t.Error("a claimed volume is gone:", err)
			}
		}
		mu.Lock()
		inUse["data"] = false
		mu.Unlock()
		if time.Now().After(stop) {
			break
		}
	}
	wg.Wait()
	if err := s.Sweep(); err != nil {
		t.Error(err)
	}
}

func TestClaim(t *testing.T) {
	s := NewStore(t.TempDir())
	create(t, s, "old", CreateOptions{})
	plan, err := mount.NewPlan(mount.Flags{
		Volumes: []string{"old:/old", "new:/new", "/anonymous", "/etc:/bind"}, Image: []string{"/image"},
	})
	if err != nil {
		t.Fatal(err)
	}
	claim, err := s.Claim(plan, true)
	if err != nil {
		t.Fatal(err)
	}
	defer claim.Release()
	if len(claim.Created) != 3 || mount.Find(plan, "/new").Source != "new" {
		t.Errorf("created %v", claim.Created)
	}
	for _, target := range []string{"/anonymous", "/image"} {
		v, err := s.Get(mount.Find(plan, target).Source)
		if err != nil || !v.Anonymous() {
			t.Errorf("%s: %+v, %v", target, v, err)
		}
	}
	if mount.Find(plan, "/bind").Source != "/etc" {
		t.Error("a bind was touched")
	}
}

func TestCreateConcurrently(t *testing.T) {
	s := NewStore(t.TempDir())
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			v, err := s.Create("same", CreateOptions{Labels: map[string]string{"by": fmt.Sprint(i)}})
			if err != nil || len(v.Labels) != 1 {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
	wg.Wait()
	if entries, _ := os.ReadDir(s.dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestListAndPrune(t *testing.T) {
	s := NewStore(t.TempDir())
	create(t, s, "web-data", CreateOptions{Labels: map[string]string{"tier": "web"}})
	create(t, s, "db-data", CreateOptions{Labels: map[string]string{"tier": "db"}})
	create(t, s, "cache", CreateOptions{})
	anonymous := create(t, s, "", CreateOptions{}).Name
	os.WriteFile(filepath.Join(s.dir, anonymous, "_data/f"), make([]byte, 1000), 0o600)
	os.Link(filepath.Join(s.dir, anonymous, "_data/f"), filepath.Join(s.dir, anonymous, "_data/g"))
	users := usedBy("db-data")
	for _, c := range []struct {
		filter []string
		want   []string
		err    string
	}{
		{nil, []string{anonymous, "cache", "db-data", "web-data"}, ""},
		{[]string{"name=data"}, []string{"db-data", "web-data"}, ""},
		{[]string{"name=^db-"}, []string{"db-data"}, ""},
		{[]string{"name=db-", "name=cache"}, []string{"cache", "db-data"}, ""},
		{[]string{"name=["}, nil, ""},
		{[]string{"label=tier"}, []string{"db-data", "web-data"}, ""},
		{[]string{"label=tier=web"}, []string{"web-data"}, ""},
		{[]string{"dangling=true", "name=data"}, []string{"web-data"}, ""},
		{[]string{"dangling=0"}, []string{"db-data"}, ""},
		{[]string{"driver=local", "name=cache"}, []string{"cache"}, ""},
		{[]string{"driver=nfs"}, nil, ""},
		{[]string{"dangling=maybe"}, nil, "invalid filter 'dangling=[maybe]'"},
		{[]string{"color=red"}, nil, "invalid filter 'color'"},
		{[]string{"name"}, nil, "bad format of filter (expected name=value)"},
	} {
		filter, err := ParseFilter(c.filter, "dangling", "driver", "label", "name")
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v: got %v, want %q", c.filter, err, c.err)
			}
			continue
		}
		list, err := s.List(filter, users)
		var names []string
		for _, v := range list {
			names = append(names, v.Name)
		}
		if err != nil || !sameSet(names, c.want) {
			t.Errorf("%v: got %v, %v; want %v", c.filter, names, err, c.want)
		}
	}

	pruned, err := s.Prune(false, Filter{}, users)
	if err != nil || !reflect.DeepEqual(pruned, Pruned{[]string{anonymous}, 1000}) {
		t.Errorf("prune: %+v, %v", pruned, err)
	}
	filter, _ := ParseFilter([]string{"label!=tier=web"}, "label", "label!", "all")
	pruned, err = s.Prune(true, filter, users)
	if err != nil || !reflect.DeepEqual(pruned.VolumesDeleted, []string{"cache"}) {
		t.Errorf("prune -a: %+v, %v", pruned, err)
	}
}

func sameSet(a, b []string) bool {
	count := map[string]int{}
	for _, s := range a {
		count[s]++
	}
	for _, s := range b {
		count[s]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// One damaged volume is seen, removable, and hurts no other (A40).
func TestDamagedVolume(t *testing.T) {
	s := NewStore(t.TempDir())
	create(t, s, "good", CreateOptions{})
	for name, text := range map[string]string{"bad1": "", "bad2": "{", "bad3": `{"name":"../../x","labels":7}`} {
		create(t, s, name, CreateOptions{})
		os.WriteFile(filepath.Join(s.dir, name, "volume.json"), []byte(text), 0o600)
		if _, err := s.Get(name); err == nil || !strings.Contains(err.Error(), "volume "+name+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	create(t, s, "bad4", CreateOptions{})
	os.Remove(filepath.Join(s.dir, "bad4/volume.json"))
	list, err := s.List(Filter{}, nil)
	if err != nil || len(list) != 5 {
		t.Errorf("%d volumes, %v", len(list), err)
	}
	for _, name := range []string{"bad1", "bad2", "bad3", "bad4"} {
		if err := s.Remove(name, false, unused); err != nil {
			t.Error(err)
		}
	}
	if list, _ := s.List(Filter{}, nil); len(list) != 1 || list[0].Name != "good" {
		t.Errorf("left: %v", list)
	}
}

func TestRemoveAnonymousAndSweep(t *testing.T) {
	s := NewStore(t.TempDir())
	named := create(t, s, "named", CreateOptions{}).Name
	free, used := create(t, s, "", CreateOptions{}).Name, create(t, s, "", CreateOptions{}).Name
	if err := s.RemoveAnonymous([]string{named, free, used, "gone"}, usedBy(used)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{named: true, free: false, used: true} {
		if _, err := s.Get(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	old := filepath.Join(s.dir, newPrefix+"killed")
	trash := filepath.Join(s.dir, removedPrefix+"killed")
	for _, dir := range []string{old, trash} {
		os.Mkdir(dir, 0o700)
	}
	fresh, held, err := linux.MakeClaimed(s.dir, newPrefix)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{old: false, fresh: true, trash: false} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
