package registry

import (
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"bryo/rootfs/image"
)

// ParsePlatform reads a platform as docker's --platform does; empty is this machine.
func ParsePlatform(s string) (v1.Platform, error) {
	system, arch, variant, err := image.ParsePlatform(s)
	if err != nil {
		return v1.Platform{}, err
	}
	return v1.Platform{OS: system, Architecture: arch, Variant: variant}, nil
}

func normalPlatform(p v1.Platform) v1.Platform {
	p.OS, p.Architecture, p.Variant = image.NormalPlatform(p.OS, p.Architecture, p.Variant)
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
