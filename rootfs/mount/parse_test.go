package mount

import (
	"encoding/json"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseVolume(t *testing.T) {
	for _, c := range []struct {
		name, spec string
		want       Mount
		err        string
	}{
		{name: "anonymous", spec: "/data", want: Mount{Type: Volume, Target: "/data"}},
		{name: "named", spec: "db:/data", want: Mount{Type: Volume, Source: "db", Target: "/data"}},
		{name: "bind", spec: "/srv/:/data/.", want: Mount{Type: Bind, Source: "/srv", Target: "/data"}},
		{name: "relative", spec: "./x:/data", want: Mount{Type: Bind, Source: "/work/x", Target: "/data"}},
		{name: "parent", spec: "../x:/data", want: Mount{Type: Bind, Source: "/x", Target: "/data"}},
		{name: "dot", spec: ".:/data", want: Mount{Type: Bind, Source: "/work", Target: "/data"}},
		{name: "ro", spec: "/srv:/data:ro", want: Mount{Type: Bind, Source: "/srv", Target: "/data", ReadOnly: true, Mode: "ro"}},
		{name: "all of docker's", spec: "/srv:/data:rw,z,rslave,cached",
			want: Mount{Type: Bind, Source: "/srv", Target: "/data", Relabel: "z", Propagation: "rslave", Mode: "rw,z,rslave,cached"}},
		{name: "podman's", spec: "/srv:/data:U,noexec,nosuid,bind",
			want: Mount{Type: Bind, Source: "/srv", Target: "/data", Chown: true, Flags: []string{"noexec", "nosuid"},
				Bind: BindOptions{NonRecursive: true}, Mode: "U,noexec,nosuid,bind"}},
		{name: "nocopy", spec: "db:/data:nocopy", want: Mount{Type: Volume, Source: "db", Target: "/data", Volume: VolumeOptions{NoCopy: true}, Mode: "nocopy"}},
		{name: "empty options", spec: "db:/data:", want: Mount{Type: Volume, Source: "db", Target: "/data"}},
		{name: "lxcfs", spec: "/var/lib/lxcfs/proc/stat:/proc/stat", want: Mount{Type: Bind, Source: "/var/lib/lxcfs/proc/stat", Target: "/proc/stat"}},

		{name: "empty", spec: "", err: "invalid empty volume spec"},
		{name: "colon", spec: ":", err: "invalid spec: :: empty section between colons"},
		{name: "no source", spec: ":/data", err: "invalid spec: :/data: empty section between colons"},
		{name: "no target", spec: "/srv:", err: "invalid spec: /srv:: empty section between colons"},
		{name: "target and options", spec: "/data:ro", err: "invalid volume specification: '/data:ro'"},
		{name: "four parts", spec: "/a:/b:ro:x", err: "invalid spec: /a:/b:ro:x: too many colons"},
		{name: "unknown option", spec: "/a:/b:fancy", err: "invalid mode: fancy"},
		{name: "two of a sort", spec: "/a:/b:ro,rw", err: "invalid mode: ro,rw"},
		{name: "exec and noexec", spec: "/a:/b:exec,noexec", err: "invalid mode: exec,noexec"},
		{name: "empty option", spec: "/a:/b:ro,", err: "invalid mode: ro,"},
		{name: "relative target", spec: "/a:b", err: `invalid volume specification: '/a:b': invalid mount config for type "bind": invalid mount path: 'b' mount path must be absolute`},
		{name: "root", spec: "/a:/", err: `invalid volume specification: '/a:/': invalid mount config for type "bind": invalid specification: destination can't be '/'`},
		{name: "root by dots", spec: "/a:/x/../..", err: "destination can't be '/'"},
		{name: "proc", spec: "/a:/proc/sys", err: `"/proc/sys" cannot be mounted because it is inside /proc`},
		{name: "proc by dots", spec: "/a:/x/../proc//self/", err: `"/proc/self" cannot be mounted because it is inside /proc`},
		{name: "NUL", spec: "/a:/b\x00c", err: "has a NUL byte"},
		{name: "name with slash", spec: "a/b:/c", err: `"a/b" includes invalid characters for a local volume name`},
		{name: "short name", spec: "a:/c", err: "volume name is too short, names should be at least two alphanumeric characters"},
		{name: "nocopy on a bind", spec: "/a:/b:nocopy", err: `invalid mount config for type "bind": field VolumeOptions must not be specified`},
		{name: "propagation on a volume", spec: "db:/b:rslave", err: `invalid mount config for type "volume": field BindOptions must not be specified`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseVolume(c.spec, "/work")
			compare(t, got, err, c.want, c.err)
		})
	}
}

func compare(t *testing.T, got Mount, err error, want Mount, wantErr string) {
	t.Helper()
	if wantErr != "" {
		if err == nil || !strings.Contains(err.Error(), wantErr) {
			t.Errorf("got %+v, %v\nwant error %q", got, err, wantErr)
		}
		return
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
}

// Where the working directory was deleted only relative sources have no place.
func TestNoWorkingDirectory(t *testing.T) {
	if _, err := NewPlan(Flags{Volumes: []string{"/etc:/a", "db:/db"}, Mounts: []string{"type=bind,src=/etc,dst=/b"}}); err != nil {
		t.Error(err)
	}
	for _, f := range []Flags{{Volumes: []string{"./x:/a"}}, {Mounts: []string{"type=bind,src=../x,dst=/a"}}} {
		if plan, err := NewPlan(f); err == nil {
			t.Errorf("%v gave %v", f, plan)
		}
	}
}

func TestParseMount(t *testing.T) {
	for _, c := range []struct {
		name, spec string
		want       Mount
		err        string
	}{
		{name: "volume is the default", spec: "source=db,target=/data", want: Mount{Type: Volume, Source: "db", Target: "/data"}},
		{name: "anonymous", spec: "type=volume,dst=/data", want: Mount{Type: Volume, Target: "/data"}},
		{name: "bind", spec: "type=bind,src=/srv,destination=/data,readonly", want: Mount{Type: Bind, Source: "/srv", Target: "/data", ReadOnly: true}},
		{name: "relative", spec: "type=bind,src=./x,dst=/data,ro=false", want: Mount{Type: Bind, Source: "/work/x", Target: "/data"}},
		{name: "quoted", spec: `type=bind,"src=/a,b",dst=/data`, want: Mount{Type: Bind, Source: "/a,b", Target: "/data"}},
		{name: "colons", spec: `type=bind,src=/a:b,dst=/data:c`, want: Mount{Type: Bind, Source: "/a:b", Target: "/data:c"}},
		{name: "recursion", spec: "type=bind,src=/a,dst=/b,ro,bind-recursive=writable,bind-propagation=rslave",
			want: Mount{Type: Bind, Source: "/a", Target: "/b", ReadOnly: true, Propagation: "rslave", Bind: BindOptions{WritableBelow: true}}},
		{name: "recursive read-only", spec: "type=bind,src=/a,dst=/b,ro,bind-recursive=readonly,bind-propagation=rprivate",
			want: Mount{Type: Bind, Source: "/a", Target: "/b", ReadOnly: true, Propagation: "rprivate", Bind: BindOptions{ReadOnlyForced: true}}},
		{name: "not recursive", spec: "type=bind,src=/a,dst=/b,bind-nonrecursive",
			want: Mount{Type: Bind, Source: "/a", Target: "/b", Bind: BindOptions{NonRecursive: true}}},
		{name: "volume options", spec: "src=db,dst=/b,volume-nocopy,volume-subpath=x/y,volume-driver=local,volume-label=a=b,volume-opt=type=tmpfs,volume-opt=o=size=1m",
			want: Mount{Type: Volume, Source: "db", Target: "/b", Volume: VolumeOptions{NoCopy: true, Subpath: "x/y", Driver: "local",
				Labels: map[string]string{"a": "b"}, Options: map[string]string{"type": "tmpfs", "o": "size=1m"}}}},
		{name: "tmpfs", spec: "type=tmpfs,dst=/t,tmpfs-size=16m,tmpfs-mode=0700", want: Mount{Type: Tmpfs, Target: "/t", Tmpfs: []string{"size=16777216", "mode=700"}}},
		{name: "consistency", spec: "type=bind,src=/a,dst=/b,consistency=cached", want: Mount{Type: Bind, Source: "/a", Target: "/b"}},

		{name: "empty", spec: "", err: "value is empty"},
		{name: "open quote", spec: `type=bind,"src=/a`, err: `for "--mount" flag: `},
		{name: "two lines", spec: "type=bind,src=/a,dst=/b\nro", err: `for "--mount" flag: `},
		{name: "no target", spec: "type=bind,src=/a", err: "target is required"},
		{name: "no type", spec: "type=,src=/a,dst=/b", err: "type is required"},
		{name: "unknown type", spec: "type=npipe,src=/a,dst=/b", err: `invalid mount config for type "npipe": mount type unknown`},
		{name: "image", spec: "type=image,src=debian,dst=/b", err: `mount type "image" is not supported`},
		{name: "unknown key", spec: "type=bind,src=/a,dst=/b,color=red", err: "unexpected key 'color' in 'color=red'"},
		{name: "unknown volume key", spec: "src=ab,dst=/b,volume-color=red", err: "unexpected key 'volume-color' in 'volume-color=red'"},
		{name: "no value", spec: "type=bind,src=/a,dst=/b,color", err: "invalid field 'color' must be a key=value pair"},
		{name: "bad bool", spec: "type=bind,src=/a,dst=/b,ro=maybe", err: "invalid value for ro: maybe"},
		{name: "bad recursion", spec: "type=bind,src=/a,dst=/b,bind-recursive=x", err: `invalid value for bind-recursive: x (must be "enabled", "disabled", "writable", or "readonly")`},
		{name: "writable without ro", spec: "type=bind,src=/a,dst=/b,bind-recursive=writable", err: "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction"},
		{name: "readonly without propagation", spec: "type=bind,src=/a,dst=/b,ro,bind-recursive=readonly", err: "requires 'bind-propagation=rprivate'"},
		{name: "bad size", spec: "type=tmpfs,dst=/b,tmpfs-size=big", err: "invalid value for tmpfs-size: big"},
		{name: "bad mode", spec: "type=tmpfs,dst=/b,tmpfs-mode=999", err: "invalid value for tmpfs-mode: 999"},
		{name: "mode too wide", spec: "type=tmpfs,dst=/b,tmpfs-mode=77777", err: "invalid value for tmpfs-mode: 77777"},
		{name: "mixed", spec: "type=bind,src=/a,dst=/b,volume-nocopy", err: "cannot mix 'volume-*' options with mount type 'bind'"},
		{name: "mixed bind", spec: "src=ab,dst=/b,bind-propagation=rslave", err: "cannot mix 'bind-*' options with mount type 'volume'"},
		{name: "mixed tmpfs", spec: "src=ab,dst=/b,tmpfs-size=1m", err: "cannot mix 'tmpfs-*' options with mount type 'volume'"},
		{name: "no source", spec: "type=bind,dst=/b", err: `invalid mount config for type "bind": field Source must not be empty`},
		{name: "relative source", spec: "type=bind,src=a,dst=/b", err: "invalid mount path: 'a' mount path must be absolute"},
		{name: "bad propagation", spec: "type=bind,src=/a,dst=/b,bind-propagation=up", err: "invalid propagation mode: up"},
		{name: "tmpfs with source", spec: "type=tmpfs,src=x,dst=/b", err: `invalid mount config for type "tmpfs": field Source must not be specified`},
		{name: "subpath out", spec: "src=db,dst=/b,volume-subpath=../x", err: "subpath must be a relative path within the volume"},
		{name: "subpath of nothing", spec: "dst=/b,volume-subpath=x", err: "must not set Subpath when using anonymous volumes"},
		{name: "read-only nothing", spec: "dst=/b,ro", err: "must not set ReadOnly mode when using anonymous volumes"},
		{name: "proc", spec: "dst=/proc/sys", err: "inside /proc"},
		{name: "root", spec: "dst=/", err: "destination can't be '/'"},
		{name: "bad consistency", spec: "dst=/b,consistency=maybe", err: "invalid value for consistency: maybe"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseMount(c.spec, "/work")
			compare(t, got, err, c.want, c.err)
		})
	}
}

func TestParseTmpfs(t *testing.T) {
	for _, c := range []struct{ spec, options, err string }{
		{"/t", "noexec,nosuid,nodev", ""},
		{"/t:size=1m,mode=1700", "noexec,nosuid,nodev,size=1m,mode=1700", ""},
		{"/t:exec,size=1m,size=2m", "nosuid,nodev,exec,size=2m", ""},
		{"/t:rw,noexec,nosuid,size=65536k", "nodev,rw,noexec,nosuid,size=65536k", ""},
		{"/t:ro", "noexec,nosuid,nodev,ro", ""},
		{"/t:bind", "", `invalid tmpfs option "bind"`},
		{"/t:remount", "", `invalid tmpfs option "remount"`},
		{"/t:size", "", `invalid tmpfs option "size"`},
		{"/t:fancy=1", "", `invalid tmpfs option "fancy=1"`},
		{"t", "", "mount path must be absolute"},
		{"/", "", "destination can't be '/'"},
		{"", "", "field Target must not be empty"},
	} {
		m, err := ParseTmpfs(c.spec)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: got %v, want %q", c.spec, err, c.err)
			}
			continue
		}
		options, err2 := tmpfsOptions(m.Tmpfs, m.ReadOnly)
		if err != nil || err2 != nil || strings.Join(options, ",") != c.options {
			t.Errorf("%s: got %v, %v, want %s", c.spec, options, err, c.options)
		}
	}
}

func TestNewPlan(t *testing.T) {
	base, err := NewPlan(Flags{Volumes: []string{"shared:/shared", "/srv:/srv:ro"}, Tmpfs: []string{"/scratch"}})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := NewPlan(Flags{
		Volumes:   []string{"/etc:/a/b/c", "db:/db"},
		Mounts:    []string{"type=tmpfs,dst=/a"},
		Tmpfs:     []string{"/a/b", "/a/b:size=1m"},
		Inherited: Inherit("other", "ro", append(base, Mount{Type: Volume, Source: "lost", Target: "/db"})),
		Image:     []string{"/db", "/fresh", "rel/", "/a/b/c"},
		Dir:       "/work",
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range plan {
		line := string(m.Type) + " " + m.Source + " " + m.Target
		if m.ReadOnly {
			line += " ro"
		}
		if m.From != "" {
			line += " from " + m.From
		}
		if m.FromImage {
			line += " image"
		}
		got = append(got, line)
	}
	want := []string{"volume db /db", "tmpfs  /a", "volume shared /shared ro from other", "bind /srv /srv ro from other",
		"volume  /fresh image", "volume  /rel image", "tmpfs  /a/b", "bind /etc /a/b/c"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	text, err := json.Marshal(plan)
	var back []Mount
	if err != nil || json.Unmarshal(text, &back) != nil || !reflect.DeepEqual(back, plan) {
		t.Errorf("JSON does not bring the plan back: %s", text)
	}
}

func TestNewPlanRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		f    Flags
		err  string
	}{
		{"twice", Flags{Volumes: []string{"aa:/x", "bb:/x/"}}, "Duplicate mount point: /x"},
		{"volume and mount", Flags{Volumes: []string{"aa:/x"}, Mounts: []string{"type=tmpfs,dst=/x"}}, "Duplicate mount point: /x"},
		{"volume and tmpfs", Flags{Volumes: []string{"aa:/x"}, Tmpfs: []string{"/x"}}, "Duplicate mount point: /x"},
		{"image volume on the root", Flags{Image: []string{"/"}}, `image volume "/": invalid specification: destination can't be '/'`},
		{"image volume with dots", Flags{Image: []string{"/../.."}}, "destination can't be '/'"},
		{"image volume in proc", Flags{Image: []string{"/proc/sys/kernel"}}, `image volume "/proc/sys/kernel": "/proc/sys/kernel" cannot be mounted`},
		{"image volume NUL", Flags{Image: []string{"/a\x00"}}, "NUL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := NewPlan(c.f); err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, want %q", err, c.err)
			}
		})
	}
}

func TestParseVolumesFrom(t *testing.T) {
	for _, c := range []struct{ spec, container, options, err string }{
		{"web", "web", "rw", ""},
		{"web:ro", "web", "ro", ""},
		{"web:ro,z", "web", "ro,z", ""},
		{"", "", "", "volumes-from specification cannot be an empty string"},
		{"web:rslave", "", "", "invalid mode: rslave"},
		{"web:nocopy", "", "", "invalid mode: nocopy"},
		{"web:fancy", "", "", "invalid mode: fancy"},
	} {
		container, options, err := ParseVolumesFrom(c.spec)
		if container != c.container || options != c.options || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%q: %q %q %v", c.spec, container, options, err)
		}
	}
}

func TestParseDevice(t *testing.T) {
	for _, c := range []struct {
		spec string
		want Device
		err  string
	}{
		{"/dev/fuse", Device{"/dev/fuse", "/dev/fuse", "rwm"}, ""},
		{"/dev/fuse:rw", Device{"/dev/fuse", "/dev/fuse", "rw"}, ""},
		{"/dev/fuse:/dev/x", Device{"/dev/fuse", "/dev/x", "rwm"}, ""},
		{"/dev/fuse:/dev/x:r", Device{"/dev/fuse", "/dev/x", "r"}, ""},
		{"", Device{}, "bad format for path: "},
		{"a:b:c:d", Device{}, "bad format for path: a:b:c:d"},
		{"/dev/fuse:/dev/x:rr", Device{}, "bad mode specified: rr"},
		{"/dev/fuse:/dev/x:", Device{}, "bad mode specified: "},
		{"/dev/fuse:/dev/x:q", Device{}, "bad mode specified: q"},
		{"dev/fuse", Device{}, "dev/fuse is not an absolute path"},
		{"/dev/fuse:x", Device{}, "x is not an absolute path"},
		{"/dev/fuse:/proc/self/mem", Device{}, "inside /proc"},
		{"/dev/fuse:/", Device{}, "destination can't be '/'"},
	} {
		got, err := ParseDevice(c.spec)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %+v, %v", c.spec, got, err)
		}
	}
}

// FuzzParse: whatever is accepted has a clean absolute target outside of /proc,
// never the root, and names a volume or an absolute host path.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/a:/b:ro", "db:/data:nocopy,z", "type=bind,src=/a,dst=/b,ro", `"dst=/a,b"`, "/t:size=1m", "/dev/fuse:/dev/x:rwm"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		check := func(m Mount, err error) {
			if err != nil {
				return
			}
			if m.Target != path.Clean(m.Target) || checkTarget(m.Target) != nil {
				t.Errorf("%q: target %q", spec, m.Target)
			}
			switch m.Type {
			case Bind:
				if m.Source != path.Clean(m.Source) || !path.IsAbs(m.Source) || strings.ContainsRune(m.Source, 0) {
					t.Errorf("%q: source %q", spec, m.Source)
				}
			case Volume:
				if m.Source != "" && CheckVolumeName(m.Source) != nil {
					t.Errorf("%q: volume %q", spec, m.Source)
				}
			case Tmpfs:
				if _, err := tmpfsOptions(m.Tmpfs, m.ReadOnly); err != nil || m.Source != "" {
					t.Errorf("%q: tmpfs %+v", spec, m)
				}
			}
		}
		check(ParseVolume(spec, "/work"))
		check(ParseMount(spec, "/work"))
		check(ParseTmpfs(spec))
		if d, err := ParseDevice(spec); err == nil && checkTarget(d.Container) != nil {
			t.Errorf("%q: device %+v", spec, d)
		}
		if plan, err := NewPlan(Flags{Volumes: []string{spec}, Image: []string{spec}, Dir: "/work"}); err == nil {
			for _, m := range plan {
				check(m, nil)
			}
		}
	})
}
