package user

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

const passwd = `root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
# comment:x:9:9::/:
www:x:33:33::/var/www:/bin/false
4242:x:0:0:digits that name root:/root:/bin/sh
99999999999999999999:x:0:0::/root:/bin/sh
broken:x:abc:0::/:
negative:x:-1:0::/:
huge:x:4294967296:0::/:
empty:x:::/:
nohome:x:7:7
far:x:70000:33::/far:
nobody:x:65534:65534::/nonexistent:/bin/false
`

const group = `root:x:0:
wheel:x:10:root,www
www:x:33:
far:x:80000:www
broken:x:z:www
4242:x:0:
twice:x:10:www
`

func rootWith(t testing.TB, passwd, group string) string {
	t.Helper()
	root := t.TempDir()
	os.Mkdir(filepath.Join(root, "etc"), 0o755)
	for name, content := range map[string]string{"passwd": passwd, "group": group} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestResolve(t *testing.T) {
	root := rootWith(t, passwd, group)
	for _, c := range []struct {
		name string
		spec string
		add  []string
		want User
		err  string
	}{
		{name: "none is root", spec: "", want: User{Name: "root", Home: "/root", Groups: []uint32{10}}},
		{name: "name", spec: "daemon", want: User{UID: 1, GID: 1, Name: "daemon", Home: "/usr/sbin"}},
		{name: "name with groups", spec: "www", want: User{UID: 33, GID: 33, Name: "www", Home: "/var/www",
			Groups: []uint32{10}, Unmapped: []uint32{80000}}},
		{name: "uid of an entry", spec: "33", want: User{UID: 33, GID: 33, Name: "www", Home: "/var/www",
			Groups: []uint32{10}, Unmapped: []uint32{80000}}},
		{name: "uid without entry", spec: "1000", want: User{UID: 1000, Home: "/"}},
		{name: "uid with zeros", spec: "0033", want: User{UID: 33, GID: 33, Name: "www", Home: "/var/www",
			Groups: []uint32{10}, Unmapped: []uint32{80000}}},
		{name: "explicit group drops memberships", spec: "www:daemon", err: "unable to find group daemon: no matching entries in group file"},
		{name: "name and group", spec: "www:wheel", want: User{UID: 33, GID: 10, Name: "www", Home: "/var/www"}},
		{name: "numbers", spec: "1000:2000", want: User{UID: 1000, GID: 2000, Home: "/"}},
		{name: "no home", spec: "nohome", want: User{UID: 7, GID: 7, Name: "nohome", Home: "/"}},
		{name: "nobody", spec: "nobody", want: User{UID: 65534, GID: 65534, Name: "nobody", Home: "/nonexistent"}},
		{name: "digits are never a name", spec: "4242", want: User{UID: 4242, Home: "/"}},
		{name: "digits are never a group name", spec: "1:4242", want: User{UID: 1, GID: 4242, Name: "daemon", Home: "/usr/sbin"}},
		{name: "digits beyond 64 bits", spec: "99999999999999999999", err: "uids and gids must be in range 0-2147483647: 99999999999999999999"},
		{name: "2^32", spec: "4294967296", err: "in range 0-2147483647"},
		{name: "2^32-1", spec: "4294967295", err: "in range 0-2147483647"},
		{name: "2^31", spec: "2147483648", err: "in range 0-2147483647"},
		{name: "negative", spec: "-1", err: "in range 0-2147483647: -1"},
		{name: "group beyond", spec: "1:4294967296", err: "in range 0-2147483647"},
		{name: "plus", spec: "+0", err: "unable to find user +0: no matching entries in passwd file"},
		{name: "hex", spec: "0x0", err: "unable to find user 0x0"},
		{name: "blank", spec: " ", err: "unable to find user  : no matching"},
		{name: "blank before digits", spec: " 0", err: "unable to find user  0"},
		{name: "arabic digits", spec: "٠", err: "unable to find user ٠"},
		{name: "unknown", spec: "foo", err: "unable to find user foo: no matching entries in passwd file"},
		{name: "comment", spec: "# comment", err: "unable to find user"},
		{name: "broken uid", spec: "broken", err: `unable to find user broken: passwd line 7: "abc":"0" are no uid and gid`},
		{name: "negative uid in the file", spec: "negative", err: "unable to find user negative"},
		{name: "huge uid in the file", spec: "huge", err: "unable to find user huge"},
		{name: "empty uid in the file", spec: "empty", err: "unable to find user empty"},
		{name: "broken gid in the file", spec: "1:broken", err: "unable to find group broken"},
		{name: "empty user", spec: ":33", err: `invalid user ":33"`},
		{name: "empty group", spec: "33:", err: `invalid user "33:"`},
		{name: "colon", spec: ":", err: `invalid user ":"`},
		{name: "three parts", spec: "1:2:3", err: `invalid user "1:2:3"`},
		{name: "NUL", spec: "root\x00", err: "invalid user"},
		{name: "newline", spec: "x\nroot", err: "invalid user"},
		{name: "outside the map", spec: "far", err: "user far: uid 70000 is outside of the user namespace, which has 65536 ids"},
		{name: "gid outside the map", spec: "33:70000", err: "user 33:70000: gid 70000 is outside"},
		{name: "added groups", spec: "daemon", add: []string{"www", "55", "www"},
			want: User{UID: 1, GID: 1, Name: "daemon", Home: "/usr/sbin", Groups: []uint32{33, 55}}},
		{name: "added to an explicit group", spec: "www:www", add: []string{"wheel"},
			want: User{UID: 33, GID: 33, Name: "www", Home: "/var/www", Groups: []uint32{10}}},
		{name: "unknown added group", spec: "1", add: []string{"nope"}, err: "unable to find group nope: no matching entries in group file"},
		{name: "added group outside the map", spec: "1", add: []string{"far"}, err: "group far: gid 80000 is outside"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Resolve(Request{Rootfs: root, User: c.spec, Groups: c.add, UIDs: 65536, GIDs: 65536})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %+v, %v; want error %q", got, err, c.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func TestResolveSingleUID(t *testing.T) {
	root := rootWith(t, passwd, group)
	u, err := Resolve(Request{Rootfs: root, UIDs: 1, GIDs: 1})
	if err != nil || u.UID != 0 || len(u.Groups) != 0 || !reflect.DeepEqual(u.Unmapped, []uint32{10}) {
		t.Errorf("root: %+v, %v", u, err)
	}
	_, err = Resolve(Request{Rootfs: root, User: "www", UIDs: 1, GIDs: 1})
	var outside *OutsideMapError
	if !errors.As(err, &outside) || outside.Kind != "uid" || outside.ID != 33 || outside.Count != 1 {
		t.Errorf("www: %v", err)
	}
}

func TestResolveWithoutFiles(t *testing.T) {
	root := t.TempDir()
	if u, err := Resolve(Request{Rootfs: root, User: "1000:5"}); err != nil || u.UID != 1000 || u.GID != 5 || u.Home != "/" {
		t.Errorf("%+v, %v", u, err)
	}
	if u, err := Resolve(Request{Rootfs: root}); err != nil || u.UID != 0 || u.Home != "/" {
		t.Errorf("%+v, %v", u, err)
	}
	if _, err := Resolve(Request{Rootfs: root, User: "root"}); err == nil {
		t.Error("a name without a passwd file was found")
	}
}

// Whatever /etc/passwd is, nothing is read from outside the root, nothing hangs,
// and memory stays bounded (A23).
func TestResolveHostileFiles(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "passwd")
	os.WriteFile(outside, []byte("canary:x:5:5::/:\n"), 0o644)
	for _, c := range []struct {
		name string
		make func(passwd string) error
		err  string
	}{
		{"FIFO", func(p string) error { return syscall.Mkfifo(p, 0o644) }, "not a regular file"},
		{"directory", func(p string) error { return os.Mkdir(p, 0o755) }, "not a regular file"},
		{"absolute link to the host", func(p string) error { return os.Symlink(outside, p) }, "no matching entries"},
		{"dotted link to the host", func(p string) error { return os.Symlink("../../../../../../.."+outside, p) }, "no matching entries"},
		{"loop", func(p string) error { return os.Symlink("passwd", p) }, "too many levels of symbolic links"},
		{"five gigabytes", func(p string) error {
			os.WriteFile(p, nil, 0o644)
			return os.Truncate(p, 5<<30)
		}, "larger than 4 MiB"},
		{"one long line", func(p string) error {
			return os.WriteFile(p, []byte("canary:x:5:5:"+strings.Repeat("x", 1<<20)+":/:\n"), 0o644)
		}, "no matching entries"},
		{"many fields", func(p string) error {
			return os.WriteFile(p, []byte(strings.Repeat(":", 60000)+"\ncanary\n"), 0o644)
		}, "no matching entries"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := rootWith(t, "", "")
			p := filepath.Join(root, "etc/passwd")
			os.Remove(p)
			if err := c.make(p); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				_, err := Resolve(Request{Rootfs: root, User: "canary"})
				done <- err
			}()
			select {
			case err := <-done:
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("hangs")
			}
		})
	}
}

func TestResolveLinkInsideTheRoot(t *testing.T) {
	root := rootWith(t, "", group)
	os.Remove(filepath.Join(root, "etc/passwd"))
	os.Mkdir(filepath.Join(root, "real"), 0o755)
	os.WriteFile(filepath.Join(root, "real/passwd"), []byte("inner:x:5:6::/h:\n"), 0o644)
	os.Symlink("/real/passwd", filepath.Join(root, "etc/passwd"))
	u, err := Resolve(Request{Rootfs: root, User: "inner"})
	if err != nil || u.UID != 5 || u.GID != 6 || u.Home != "/h" {
		t.Errorf("%+v, %v", u, err)
	}
}

// FuzzResolve: whatever the files hold, a name that is not "root" or an alias of
// it by a well-formed line never yields uid 0, and digits are that very uid.
func FuzzResolve(f *testing.F) {
	f.Add(passwd, group, "www", "33")
	f.Add("a:x:1:2\n", "b:x:3:a", "a", "b")
	f.Add(":::::", ",,,", "1", "-1")
	f.Fuzz(func(t *testing.T, passwd, group, name, groupName string) {
		u, err := lookUser([]byte(passwd), name)
		if err == nil && u.UID > maxID {
			t.Errorf("uid %d", u.UID)
		}
		if err == nil && u.UID == 0 && name != "" && name != strings.Repeat("0", max(len(name), 1)) && name != "-0" {
			if !hasRootLine(passwd, name) {
				t.Errorf("%q became uid 0", name)
			}
		}
		if gid, err := lookGroup([]byte(group), groupName); err == nil && gid > maxID {
			t.Errorf("gid %d", gid)
		}
		for _, gid := range memberships([]byte(group), name) {
			if gid > maxID {
				t.Errorf("gid %d", gid)
			}
		}
	})
}

// hasRootLine is a second, simple reading of the file.
func hasRootLine(passwd, name string) bool {
	for _, line := range strings.Split(passwd, "\n") {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) >= 4 && f[0] == name && strings.Trim(f[2], "0") == "" && f[2] != "" {
			return true
		}
	}
	return false
}
