package seccomp

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPrecompiledEqualsFreshCompile keeps the programs in the binary in step
// with the policy and the compiler.
func TestPrecompiledEqualsFreshCompile(t *testing.T) {
	if len(variants) == 0 {
		t.Skip("nothing is precompiled for this machine")
	}
	for _, v := range variants {
		t.Run(fmt.Sprintf("%s %q %d", v.arch, v.caps, v.fake), func(t *testing.T) {
			o := Options{Arch: v.arch, Kernel: modern, Fake: v.fake}
			if v.caps != "" {
				o.Caps = strings.Split(v.caps, ",")
			}
			fresh := mustCompile(t, Default(), o).Bytes()
			if !bytes.Equal(fresh, []byte(programs[v.offset:v.offset+v.length])) {
				t.Error("differs from a fresh compile; run go generate")
			}
		})
	}
	sum := sha256.Sum256([]byte(programs))
	if hex.EncodeToString(sum[:]) != programsHash {
		t.Error("programsHash is not the hash of the programs; run go generate")
	}
}

// TestDefaultCapsAreComplete: a capability that Default asks for and that
// relevantCaps does not know would select a wrong program.
func TestDefaultCapsAreComplete(t *testing.T) {
	for _, r := range Default().Rules {
		for _, c := range slices.Concat(r.Includes.Caps, r.Excludes.Caps) {
			if relevantCaps([]string{c}) != c {
				t.Errorf("%s is not in defaultCaps; run go generate", c)
			}
		}
	}
}

// TestForContainerHitsPrecompiled: the common starts must not compile. Any
// other answer has to equal a compile of its own.
func TestForContainerHitsPrecompiled(t *testing.T) {
	if hostArch != "amd64" {
		t.Skip("written for amd64")
	}
	for _, tc := range []struct {
		name string
		o    Options
		hit  bool
	}{
		{"podman's capabilities", Options{Caps: podmanCaps}, true},
		{"one uid", Options{Caps: podmanCaps, Fake: FakeSingleUID}, true},
		{"i386 image", Options{Caps: podmanCaps, Arch: "386"}, true},
		{"no capabilities", Options{}, true},
		{"a capability that changes nothing", Options{Caps: append([]string{"CAP_MKNOD", "CAP_AUDIT_WRITE"}, podmanCaps...)}, true},
		{"twice the same", Options{Caps: append([]string{"CAP_SYS_CHROOT"}, podmanCaps...)}, true},
		{"docker's capabilities", Options{Caps: dockerCaps}, false},
		{"SYS_ADMIN", Options{Caps: append([]string{"CAP_SYS_ADMIN"}, podmanCaps...)}, false},
		{"another mapped id", Options{Caps: podmanCaps, Fake: FakeSingleUID, UID: 1000}, false},
		{"old kernel", Options{Caps: podmanCaps, Kernel: Kernel{4, 4}}, false},
		{"notify", Options{Caps: podmanCaps, Notify: []string{"connect"}}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, err := tc.o.complete()
			if err != nil {
				t.Fatal(err)
			}
			if _, hit := precompiled(o); hit != tc.hit {
				t.Errorf("precompiled: %v, want %v", hit, tc.hit)
			}
			f, err := ForContainer(nil, tc.o, "")
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(f.Program, mustCompile(t, Default(), tc.o).Bytes()) {
				t.Error("differs from a compile")
			}
		})
	}
}

// TestGeneratedSourcesAreCurrent runs the generators into another folder and
// compares: a new x/sys or a new Docker profile in go.mod must not go
// unnoticed.
func TestGeneratedSourcesAreCurrent(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two programs")
	}
	dir := t.TempDir()
	for _, generator := range []string{"gentables", "genprograms"} {
		binary := filepath.Join(dir, generator)
		if out, err := exec.Command("go", "build", "-o", binary, "./internal/"+generator).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v: %s", generator, err, out)
		}
		cmd := exec.Command(binary, dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", generator, err, out)
		}
	}
	for _, name := range []string{"syscalls_gen.go", "moby_gen.go", "precompiled_amd64.go", "precompiled_amd64.bpf", "precompiled_arm64.go", "precompiled_arm64.bpf"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not current; run go generate", name)
		}
	}
}
