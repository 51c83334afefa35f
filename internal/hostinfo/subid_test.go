package hostinfo

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/fstest"
)

func TestSubIDs(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       string
		err        string
	}{
		{"by name", "web:100000:65536\n", "100000-165535", ""},
		{"by uid", "1000:100000:65536\n", "100000-165535", ""},
		{"two ranges", "web:100000:1000\nweb:300000:10\n", "100000-100999 300000-300009", ""},
		{"the same line twice", "web:100000:1000\nweb:100000:1000\n", "100000-100999", ""},
		{"overlapping itself", "web:100000:1000\nweb:100500:1000\n", "100000-100999 101000-101499", ""},
		{"own id inside", "web:900:200\n", "900-999 1001-1099", ""},
		{"others only", "mail:100000:65536\n", "", ""},
		{"comment, blank line, no last newline", "# ids\n\nweb:100000:1", "100000-100000", ""},
		{"foreign broken line", "mail:x:y\nweb:100000:1\n", "100000-100000", ""},
		{"own broken line", "web:100000\n", "", `read /etc/subuid: line 1: "web:100000" is not owner:start:count`},
		{"negative", "web:-1:5\n", "", `line 1: start "-1" is not an id`},
		{"count zero", "web:5:0\n", "", `count "0"`},
		{"past the last id", "web:4294967290:6\n", "", "ends behind the last id"},
		{"up to the last id", "web:4294967290:5\n", "4294967290-4294967294", ""},
		{"overflow", "web:1:18446744073709551617\n", "", "count"},
		{"empty owner", ":1:2\nweb:5:5\n", "5-9", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, files, k := healthy()
			h.Kernel = *k
			files["etc/subuid"] = &fstest.MapFile{Data: []byte(c.file)}
			uids, _, err := h.SubIDs()
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %s", err, c.err)
				}
				return
			}
			if got := join(uids); err != nil || got != c.want {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func join(ranges []Range) string {
	var s []string
	for _, r := range ranges {
		s = append(s, r.String())
	}
	return strings.Join(s, " ")
}

func TestSubIDFileBounded(t *testing.T) {
	if _, _, err := parseSubIDs(endless{}); err == nil {
		t.Error("an endless line was read")
	}
	if _, _, err := parseSubIDs(strings.NewReader(strings.Repeat("web:100000:65536\n", 600_000))); !errors.Is(err, errTooLarge) {
		t.Errorf("a 10 MiB file: %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func TestSubIDsFromDirectoryService(t *testing.T) {
	h, files, k := healthy()
	files["etc/nsswitch.conf"] = &fstest.MapFile{Data: []byte("passwd: files\nsubid: sss\n")}
	k.runs = map[string]string{"getsubids web": "0: web 500000 65536\n", "getsubids -g web": "0: web 600000 65536\n"}
	h.Kernel = *k
	uids, gids, err := h.SubIDs()
	if err != nil || join(uids) != "500000-565535" || join(gids) != "600000-665535" {
		t.Errorf("%v %v %v", uids, gids, err)
	}
	k.runs = nil
	h.Kernel = *k
	if _, _, err := h.SubIDs(); err == nil || !strings.Contains(err.Error(), "getsubids") {
		t.Errorf("without the program: %v", err)
	}
}

func TestFullMap(t *testing.T) {
	rootCaps := "CapEff:\t000001ffffffffff\nNoNewPrivs:\t0\n"
	for _, c := range []struct {
		name   string
		change func(*Host, fstest.MapFS, *fakeKernel)
		want   string
		direct bool
		err    error
	}{
		{"plain user", func(*Host, fstest.MapFS, *fakeKernel) {}, "100000-165535", false, nil},
		{"no entry", func(_ *Host, f fstest.MapFS, _ *fakeKernel) { delete(f, "etc/subgid") }, "", false, ErrNoSubIDs},
		{"no helper", func(_ *Host, _ fstest.MapFS, k *fakeKernel) { k.programs = nil }, "", false, ErrNoHelper},
		{"root without an entry", func(h *Host, f fstest.MapFS, _ *fakeKernel) {
			h.User = User{"root", 0, 0}
			f["proc/self/status"] = &fstest.MapFile{Data: []byte(rootCaps)}
		}, "1879048192-1879113727", true, nil},
		{"root with an entry", func(h *Host, f fstest.MapFS, _ *fakeKernel) {
			h.User = User{"root", 0, 0}
			f["proc/self/status"] = &fstest.MapFile{Data: []byte(rootCaps)}
			f["etc/subuid"] = &fstest.MapFile{Data: []byte("root:500000:65536\n")}
			f["etc/subgid"] = &fstest.MapFile{Data: []byte("root:500000:65536\n")}
		}, "500000-565535", true, nil},
		{"root inside a user namespace", func(h *Host, f fstest.MapFS, _ *fakeKernel) {
			h.User = User{"root", 0, 0}
			f["proc/self/status"] = &fstest.MapFile{Data: []byte(rootCaps)}
			f["proc/self/uid_map"] = &fstest.MapFile{Data: []byte("0 1000 1\n1 100000 65536\n")}
			f["proc/self/gid_map"] = &fstest.MapFile{Data: []byte("0 1000 1\n1 100000 65536\n")}
		}, "1-65536", true, nil},
		{"root inside a namespace, entry of the outside", func(h *Host, f fstest.MapFS, k *fakeKernel) {
			h.User = User{"root", 0, 0}
			k.programs = nil
			f["proc/self/status"] = &fstest.MapFile{Data: []byte(rootCaps)}
			f["etc/subuid"] = &fstest.MapFile{Data: []byte("root:500000:65536\n")}
			f["etc/subgid"] = &fstest.MapFile{Data: []byte("root:500000:65536\n")}
			f["proc/self/uid_map"] = &fstest.MapFile{Data: []byte("0 1000 1\n1 100000 65536\n")}
			f["proc/self/gid_map"] = &fstest.MapFile{Data: []byte("0 1000 1\n1 100000 65536\n")}
		}, "1-65536", true, nil},
		{"root of a single-uid namespace", func(h *Host, f fstest.MapFS, _ *fakeKernel) {
			h.User = User{"root", 0, 0}
			f["proc/self/status"] = &fstest.MapFile{Data: []byte(rootCaps)}
			f["proc/self/uid_map"] = &fstest.MapFile{Data: []byte("0 1000 1\n")}
			f["proc/self/gid_map"] = &fstest.MapFile{Data: []byte("0 1000 1\n")}
		}, "", false, ErrNoSubIDs},
		{"root without capabilities or entry", func(h *Host, _ fstest.MapFS, _ *fakeKernel) { h.User = User{"root", 0, 0} }, "", false, ErrNoSubIDs},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, files, k := healthy()
			c.change(h, files, k)
			h.Kernel = *k
			m, err := h.FullMap()
			if !errors.Is(err, c.err) || join(m.UIDs) != c.want || m.Direct != c.direct {
				t.Errorf("got %v direct=%v, %v", m.UIDs, m.Direct, err)
			}
		})
	}
}

func FuzzSubIDs(f *testing.F) {
	f.Add("web:100000:65536\n")
	f.Add("1000:1:4294967294\nweb:0:1\n:::\n")
	f.Fuzz(func(t *testing.T, text string) {
		entries, _, err := parseSubIDs(io.LimitReader(strings.NewReader(text), 1<<16))
		if err != nil {
			return
		}
		var ranges []Range
		for _, e := range entries {
			if e.Count == 0 || e.end() > 1<<32-1 {
				t.Fatalf("entry %+v", e)
			}
			ranges = append(ranges, e.Range)
		}
		if len(ranges) > 50 {
			ranges = ranges[:50]
		}
		out := disjoint(ranges, 1000)
		for i, a := range out {
			if a.overlaps(Range{1000, 1}) {
				t.Fatalf("%v holds the own id", a)
			}
			for _, b := range out[:i] {
				if a.overlaps(b) {
					t.Fatalf("%v overlaps %v", a, b)
				}
			}
		}
	})
}
