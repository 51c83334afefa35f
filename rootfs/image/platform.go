package image

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// ParsePlatform reads "os/arch[/variant]", or one of the first two alone, as docker's
// --platform does and with its messages. Empty is this machine. The names that tools
// use for one machine become Go's.
func ParsePlatform(s string) (system, arch, variant string, err error) {
	if s == "" {
		system, arch, variant = NormalPlatform("linux", runtime.GOARCH, "")
		return system, arch, variant, nil
	}
	parts := strings.Split(s, "/")
	if len(parts) > 3 {
		return "", "", "", fmt.Errorf("%q: cannot parse platform specifier: invalid argument", s)
	}
	for i, part := range parts {
		if !isPlatformWord(part) {
			what := "component"
			if i == 0 {
				what = "OS component"
			}
			return "", "", "", fmt.Errorf("%q is an invalid %s of %q: platform specifier component must match %q: invalid argument", part, what, s, "^[A-Za-z0-9_.-]+$")
		}
	}
	parts = append(parts, "", "")
	system, arch, variant = NormalPlatform(parts[0], parts[1], parts[2])
	if arch != "" {
		return system, arch, variant, nil
	}
	if slices.Contains(knownSystems, system) {
		system, arch, variant = NormalPlatform(system, runtime.GOARCH, "")
		return system, arch, variant, nil
	}
	system, arch, variant = NormalPlatform("linux", parts[0], "")
	if !slices.Contains(knownArchitectures, arch) {
		return "", "", "", fmt.Errorf("%q: unknown operating system or architecture: invalid argument", s)
	}
	return system, arch, variant, nil
}

// A component never begins with a dot: it becomes part of file names.
func isPlatformWord(s string) bool {
	return s != "" && s[0] != '.' && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789_-.") == ""
}

// Those that a platform of one word may name.
var (
	knownSystems       = []string{"linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "dragonfly", "solaris", "illumos", "aix", "android", "ios", "js", "plan9"}
	knownArchitectures = []string{"386", "amd64", "arm", "arm64", "loong64", "mips", "mipsle", "mips64", "mips64le", "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm"}
)

// CanonicalPlatform is what s means in Go's names; empty stays empty.
func CanonicalPlatform(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	system, arch, variant, err := ParsePlatform(s)
	if err != nil {
		return "", err
	}
	return (&Config{OS: system, Architecture: arch, Variant: variant}).Platform(), nil
}

// NormalPlatform maps the names that tools use for one machine to Go's; the usual
// variant of an architecture is the empty one, except arm's v7.
func NormalPlatform(system, arch, variant string) (string, string, string) {
	system, arch, variant = strings.ToLower(system), strings.ToLower(arch), strings.ToLower(variant)
	switch arch {
	case "x86_64", "x86-64":
		arch = "amd64"
	case "i386", "i486", "i586", "i686":
		arch, variant = "386", ""
	case "aarch64":
		arch = "arm64"
	case "armhf":
		arch, variant = "arm", "v7"
	case "armel":
		arch, variant = "arm", "v6"
	}
	if variant != "" && variant[0] >= '0' && variant[0] <= '9' {
		variant = "v" + variant
	}
	switch {
	case arch == "arm64" && variant == "v8", arch == "amd64" && variant == "v1":
		variant = ""
	case arch == "arm" && variant == "":
		variant = "v7"
	}
	return system, arch, variant
}
