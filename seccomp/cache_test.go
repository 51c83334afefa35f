package seccomp

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const smallProfile = `{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[{"names":["mount"],"action":"SCMP_ACT_ERRNO"}]}`

// cached returns the one entry of a cache folder.
func cached(t *testing.T, dir string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(list) != 1 {
		t.Fatalf("cache holds %q, want one entry", list)
	}
	return list[0]
}

func fill(t *testing.T, dir string) Filter {
	t.Helper()
	f, err := ForContainer([]byte(smallProfile), Options{Caps: podmanCaps}, dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestCacheKeepsProgramAndFlags(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	first := fill(t, dir)
	path := cached(t, dir)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	o, _ := Options{Caps: podmanCaps}.complete()
	second, ok := cache{dir, cacheKey([]byte(smallProfile), o)}.load()
	if !ok || !bytes.Equal(first.Program, second.Program) || second.Flags != unix.SECCOMP_FILTER_FLAG_LOG {
		t.Errorf("the entry was not found again: %v", ok)
	}
}

// TestCacheRefusesForeignEntries: whatever stands in the cache, the filter is
// that of the profile.
func TestCacheRefusesForeignEntries(t *testing.T) {
	allow := mustCompile(t, &Profile{DefaultAction: Allow}, Options{Arch: "amd64", Kernel: modern}).Bytes()
	for _, tc := range []struct {
		name  string
		plant func(t *testing.T, path string)
	}{
		{"empty", func(t *testing.T, path string) { os.WriteFile(path, nil, 0o600) }},
		{"cut short", func(t *testing.T, path string) { os.Truncate(path, 100) }},
		{"one bit flipped", func(t *testing.T, path string) {
			text, _ := os.ReadFile(path)
			text[len(text)-1] ^= 1
			os.WriteFile(path, text, 0o600)
		}},
		{"valid entry of another key", func(t *testing.T, path string) {
			payload := append(binary.LittleEndian.AppendUint32(nil, 0), allow...)
			sum := cache{key: sha256.Sum256([]byte("another"))}.sum(payload)
			os.WriteFile(path, append(sum[:], payload...), 0o600)
		}},
		{"writable by others", func(t *testing.T, path string) { plantAllow(t, path, allow); os.Chmod(path, 0o666) }},
		{"symbolic link", func(t *testing.T, path string) {
			elsewhere := filepath.Join(t.TempDir(), "planted")
			plantAllow(t, elsewhere, allow)
			os.Remove(path)
			os.Symlink(elsewhere, path)
		}},
		{"FIFO", func(t *testing.T, path string) { os.Remove(path); unix.Mkfifo(path, 0o600) }},
		{"folder", func(t *testing.T, path string) { os.Remove(path); os.Mkdir(path, 0o700) }},
		{"owned by another user", func(t *testing.T, path string) {
			if os.Geteuid() != 0 {
				t.Skip("needs root to plant it")
			}
			plantAllow(t, path, allow)
			os.Chown(path, 65534, 65534)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			want := fill(t, dir)
			tc.plant(t, cached(t, dir))
			if got := fill(t, dir); !bytes.Equal(got.Program, want.Program) {
				t.Error("a planted program was used")
			}
		})
	}
}

// plantAllow writes an entry that is right in all but what the test is about.
func plantAllow(t *testing.T, path string, program []byte) {
	t.Helper()
	o, _ := Options{Caps: podmanCaps}.complete()
	payload := append(binary.LittleEndian.AppendUint32(nil, 0), program...)
	sum := cache{key: cacheKey([]byte(smallProfile), o)}.sum(payload)
	if err := os.WriteFile(path, append(sum[:], payload...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPlantedEntryWouldBeUsed shows that the cases above are refused for what
// they are named after: a private one with the right hash is believed.
func TestPlantedEntryWouldBeUsed(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	allow := mustCompile(t, &Profile{DefaultAction: Allow}, Options{Arch: "amd64", Kernel: modern}).Bytes()
	plantAllow(t, cached(t, dir), allow)
	if got := fill(t, dir); !bytes.Equal(got.Program, allow) {
		t.Error("the cache is not used at all")
	}
}

func TestCacheThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fill(t, filepath.Join(file, "below a file"))
	fill(t, "/proc/nothing/here")
}

func TestCacheIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range maxCached + 10 {
		path := filepath.Join(dir, fmt.Sprintf("%064d.bpf", i))
		os.WriteFile(path, nil, 0o600)
		os.Chtimes(path, time.Time{}, time.Unix(int64(1000+i), 0))
	}
	stale := filepath.Join(dir, "new-1")
	os.WriteFile(stale, nil, 0o600)
	os.Chtimes(stale, time.Time{}, time.Unix(1000, 0))
	fill(t, dir)
	list, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(list) != maxCached {
		t.Errorf("%d entries, want %d", len(list), maxCached)
	}
	o, _ := Options{Caps: podmanCaps}.complete()
	if _, ok := (cache{dir, cacheKey([]byte(smallProfile), o)}).load(); !ok {
		t.Error("the newest entry is gone")
	}
}

func TestCacheConcurrently(t *testing.T) {
	dir := t.TempDir()
	want := fill(t, t.TempDir())
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			f, err := ForContainer([]byte(smallProfile), Options{Caps: podmanCaps}, dir)
			if err != nil || !bytes.Equal(f.Program, want.Program) {
				t.Errorf("differs: %v", err)
			}
		})
	}
	group.Wait()
	if left, _ := filepath.Glob(filepath.Join(dir, "new-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	cached(t, dir)
}

// TestCacheKeyTellsAllApart changes one thing at a time.
func TestCacheKeyTellsAllApart(t *testing.T) {
	base := Options{Caps: []string{"CAP_A", "CAP_B"}, Arch: "amd64", Kernel: modern}
	seen := map[[sha256.Size]byte]string{}
	check := func(name string, profile []byte, o Options) {
		key := cacheKey(profile, o)
		if other, ok := seen[key]; ok {
			t.Errorf("%s has the key of %s", name, other)
		}
		seen[key] = name
	}
	check("default", nil, base)
	check("empty profile", []byte{}, base)
	check("profile", []byte("x"), base)
	for name, change := range map[string]func(*Options){
		"caps":        func(o *Options) { o.Caps = []string{"CAP_A"} },
		"joined caps": func(o *Options) { o.Caps = []string{"CAP_A,CAP_B"} },
		"arch":        func(o *Options) { o.Arch = "386" },
		"kernel":      func(o *Options) { o.Kernel = Kernel{6, 13} },
		"fake":        func(o *Options) { o.Fake = FakeOwner },
		"uid":         func(o *Options) { o.UID = 1 },
		"gid":         func(o *Options) { o.GID = 1 },
		"notify":      func(o *Options) { o.Notify = []string{"connect"} },
	} {
		o := base
		change(&o)
		if name != "joined caps" { // refused before, as no capability's name has a comma
			check(name, nil, o)
		}
	}
	swapped := base
	swapped.Caps = []string{"CAP_B", "CAP_A", "CAP_B"}
	if cacheKey(nil, swapped) != cacheKey(nil, base) {
		t.Error("the order of capabilities changes the key")
	}
}

// compiledCorpus is the hash of what the compiler makes of a few hundred
// profiles. When it changes, compilerVersion must change with it.
const (
	compiledCorpus        = "bcda6c9a4d8e84339e13a5bf773778e66b47a0382d79781b776aaf04de63f67d"
	compiledCorpusVersion = 1
)

func TestCompilerVersionMovesWithOutput(t *testing.T) {
	h := sha256.New()
	for _, o := range []Options{{Arch: "amd64"}, {Arch: "386", Caps: dockerCaps}, {Arch: "arm64", Fake: FakeSingleUID, UID: 7}, {Arch: "arm", Notify: []string{"connect"}}} {
		o.Kernel = modern
		h.Write(mustCompile(t, Default(), o).Bytes())
		h.Write(mustCompile(t, docker(), o).Bytes())
		h.Write(mustCompile(t, everyOperator(), o).Bytes())
	}
	got := fmt.Sprintf("%x", h.Sum(nil))
	if got != compiledCorpus || compilerVersion != compiledCorpusVersion {
		t.Errorf("programs changed: raise compilerVersion if it still is what was committed last, then set compiledCorpus to %q and compiledCorpusVersion to it", got)
	}
}

func everyOperator() *Profile {
	p := &Profile{DefaultAction: KillProcess, ArchMap: defaultArches[:]}
	for i, name := range strings.Fields("read write open close stat fstat poll socket semop") {
		op := EqualTo + Op(i)%MaskedEqual
		p.Rules = append(p.Rules, Rule{Names: []string{name}, Action: Allow, Args: []Arg{{uint8(i % 6), op, 1<<40 + uint64(i), 3}}})
	}
	return p
}
