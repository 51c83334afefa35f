package registry

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ParsePlatform reads "os/arch[/variant]" or "arch" as docker's --platform
// does; empty is this machine.
func ParsePlatform(s string) (v1.Platform, error) {
	if s == "" {
		return normalPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}), nil
	}
	parts := strings.Split(strings.ToLower(s), "/")
	for _, p := range parts {
		if p == "" || len(parts) > 3 || p[0] == '.' || strings.Trim(p, "abcdefghijklmnopqrstuvwxyz0123456789_-.") != "" {
			return v1.Platform{}, fmt.Errorf("platform %q: write OS/ARCH[/VARIANT], as linux/arm64", clean(s, 60))
		}
	}
	p := v1.Platform{OS: parts[0]}
	switch {
	case len(parts) > 1:
		p.Architecture = parts[1]
	case parts[0] == "linux":
		p.Architecture = runtime.GOARCH
	default: // an architecture alone
		p.OS, p.Architecture = "linux", parts[0]
	}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return normalPlatform(p), nil
}

// normalPlatform maps the names that tools use for one machine to Go's; the
// usual variant of an architecture is the empty one, except arm's v7.
func normalPlatform(p v1.Platform) v1.Platform {
	p.OS, p.Architecture, p.Variant = strings.ToLower(p.OS), strings.ToLower(p.Architecture), strings.ToLower(p.Variant)
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "i386", "i486", "i586", "i686":
		p.Architecture, p.Variant = "386", ""
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	if p.Variant != "" && p.Variant[0] >= '0' && p.Variant[0] <= '9' {
		p.Variant = "v" + p.Variant
	}
	switch {
	case p.Architecture == "arm64" && p.Variant == "v8", p.Architecture == "amd64" && p.Variant == "v1":
		p.Variant = ""
	case p.Architecture == "arm" && p.Variant == "":
		p.Variant = "v7"
	}
	return p
}

// runnable lists what a machine of platform p can run, the best first: lower
// variants, then the 32-bit sibling.
func runnable(p v1.Platform) []v1.Platform {
	var out []v1.Platform
	add := func(arch string, variants ...string) {
		for _, v := range variants {
			out = append(out, v1.Platform{OS: p.OS, Architecture: arch, Variant: v})
		}
	}
	arm := []string{"v8", "v7", "v6", "v5"}
	levels := []string{"v4", "v3", "v2", ""}
	switch p.Architecture {
	case "amd64":
		if i := slices.Index(levels, p.Variant); i >= 0 {
			add("amd64", levels[i:]...)
		} else {
			add("amd64", p.Variant)
		}
		add("386", "")
	case "arm":
		if i := slices.Index(arm, p.Variant); i >= 0 {
			add("arm", arm[i:]...)
		} else {
			add("arm", p.Variant)
		}
	case "arm64":
		if p.Variant != "" {
			add("arm64", p.Variant)
		}
		add("arm64", "")
		add("arm", arm...)
	default:
		add(p.Architecture, p.Variant)
	}
	return out
}

// rank is the place of have in the list of want's choices; -1: cannot run.
func rank(have, want v1.Platform) int {
	have = normalPlatform(have)
	return slices.IndexFunc(runnable(want), func(p v1.Platform) bool {
		return p.OS == have.OS && p.Architecture == have.Architecture && p.Variant == have.Variant
	})
}

// choose orders the entries of an index that want can run, the best first.
// Entries without a platform come last: their config tells.
func choose(entries []v1.Descriptor, want v1.Platform) []v1.Descriptor {
	const unknown = 1 << 10
	order := func(d v1.Descriptor) int {
		if d.Platform == nil {
			return unknown
		}
		return rank(*d.Platform, want)
	}
	out := slices.DeleteFunc(slices.Clone(entries), func(d v1.Descriptor) bool { return order(d) < 0 })
	slices.SortStableFunc(out, func(a, b v1.Descriptor) int { return order(a) - order(b) })
	return out
}

// offered lists the platforms of an index for an error message.
func offered(entries []v1.Descriptor) string {
	const most = 12
	var names []string
	for _, d := range entries {
		if d.Platform == nil || d.Platform.OS == "unknown" {
			continue // attestations
		}
		name := clean(d.Platform.OS+"/"+d.Platform.Architecture, 40)
		if d.Platform.Variant != "" {
			name += "/" + clean(d.Platform.Variant, 20)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	if len(names) > most {
		names = append(names[:most], "…")
	}
	return strings.Join(names, ", ")
}
