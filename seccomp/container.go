package seccomp

import (
	"slices"
	"strings"
)

// Filter is what the loader of a container needs.
type Filter struct {
	Program []byte // array of struct sock_filter, native byte order
	Flags   uint32 // SECCOMP_FILTER_FLAG_* for seccomp(2)
}

// ForContainer returns the filter of one container. profile is the text of a
// JSON profile, nil for Default. The program comes precompiled out of the
// binary, or out of the cache in dir, or is compiled and put there; dir "" is
// no cache. A cache that cannot be read or written only costs time.
func ForContainer(profile []byte, o Options, dir string) (Filter, error) {
	o, err := o.complete()
	if err != nil {
		return Filter{}, err
	}
	if profile == nil {
		if text, ok := precompiled(o); ok {
			return Filter{Program: []byte(text)}, nil
		}
	}
	c := cache{dir: dir, key: cacheKey(profile, o)}
	if f, ok := c.load(); ok {
		return f, nil
	}
	f, err := compileFilter(profile, o)
	if err != nil {
		return Filter{}, err
	}
	c.store(f)
	return f, nil
}

func compileFilter(profile []byte, o Options) (Filter, error) {
	p := Default()
	if profile != nil {
		var err error
		if p, err = Parse(profile); err != nil {
			return Filter{}, err
		}
	}
	program, err := Compile(p, o)
	if err != nil {
		return Filter{}, err
	}
	return Filter{Program: program.Bytes(), Flags: p.Flags}, nil
}

// variant is one program in the binary.
type variant struct {
	arch   string
	caps   string // of the capabilities that Default asks for, sorted, joined by commas
	fake   Fake
	offset int
	length int
}

// precompiled finds the program of Default for the options. The variants are
// for uid and gid 0 and for kernels from 4.8 on, which is the only version
// that Default asks for.
func precompiled(o Options) (string, bool) {
	if o.UID != 0 || o.GID != 0 || len(o.Notify) > 0 || o.Bypass != 0 || !o.Kernel.atLeast(Kernel{4, 8}) {
		return "", false
	}
	caps := relevantCaps(o.Caps)
	for _, v := range variants {
		if v.arch == o.Arch && v.fake == o.Fake && v.caps == caps {
			return programs[v.offset : v.offset+v.length], true
		}
	}
	return "", false
}

// relevantCaps reduces a set to the capabilities that Default asks for.
func relevantCaps(caps []string) string {
	var out []string
	for _, c := range caps {
		if strings.Contains(defaultCaps, " "+c+" ") && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}
