package hostinfo

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
)

// fakeKernel is a host where everything works but for what a test changes.
type fakeKernel struct {
	release    string
	userNS     error
	inside     map[string]error
	programs   map[string]string // name -> problem, "" for none
	runs       map[string]string
	noSeccomp  bool
	noNotify   bool
	landlock   int
	keyring    error
	open       map[string]error
	fsFlags    map[string]int64
	unwritable []string
	owners     map[string]int
}

func (k fakeKernel) Release() string    { return k.release }
func (k fakeKernel) Executable() string { return "/opt/bryo" }

func (k fakeKernel) LookPath(p string) (string, error) {
	if _, ok := k.programs[p]; !ok {
		return "", &exec.Error{Name: p, Err: exec.ErrNotFound}
	}
	return "/usr/bin/" + p, nil
}

func (k fakeKernel) Run(_ context.Context, program string, args ...string) (string, error) {
	out, ok := k.runs[strings.Join(append([]string{program}, args...), " ")]
	if !ok {
		return "", &exec.Error{Name: program, Err: exec.ErrNotFound}
	}
	return out, nil
}

func (k fakeKernel) PrivilegeProblem(path string) string {
	return k.programs[strings.TrimPrefix(path, "/usr/bin/")]
}
func (k fakeKernel) TryUserNS() error                                { return k.userNS }
func (k fakeKernel) TryInside(_ context.Context, probe string) error { return k.inside[probe] }
func (k fakeKernel) Seccomp() (bool, bool)                           { return !k.noSeccomp, !k.noSeccomp && !k.noNotify }
func (k fakeKernel) LandlockABI() int                                { return k.landlock }
func (k fakeKernel) KeyringError() error                             { return k.keyring }
func (k fakeKernel) OpenError(path string, _ int) error              { return k.open[path] }

func (k fakeKernel) FileSystem(path string) (int64, bool, error) {
	return k.fsFlags[path], !slices.Contains(k.unwritable, path), nil
}

func (k fakeKernel) Owner(path string) (int, os.FileMode, error) {
	owner, ok := k.owners[path]
	if !ok {
		return 0, 0, syscall.ENOENT
	}
	return owner, 0o700, nil
}

// healthy is a Debian host with a logged-in user: every feature is ok.
func healthy() (*Host, fstest.MapFS, *fakeKernel) {
	files := fstest.MapFS{}
	for name, text := range map[string]string{
		"etc/passwd":                        "root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\nmail:x:1001:1001::/home/mail:/bin/sh\n",
		"etc/subuid":                        "web:100000:65536\nmail:165536:65536\n",
		"etc/subgid":                        "web:100000:65536\nmail:165536:65536\n",
		"etc/os-release":                    "PRETTY_NAME=\"Debian\"\nID=debian\n",
		"proc/self/status":                  "Name:\tbryo\nCapEff:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t0\n",
		"proc/self/uid_map":                 "         0          0 4294967295\n",
		"proc/self/gid_map":                 "         0          0 4294967295\n",
		"proc/self/ns/user":                 "",
		"proc/self/cgroup":                  "0::/user.slice/user-1000.slice/session-1.scope\n",
		"proc/self/mountinfo":               "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:5 / /proc rw - proc proc rw\n24 23 0:6 / /proc/sys/fs/binfmt_misc rw - autofs x rw\n25 22 0:7 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
		"proc/sys/user/max_user_namespaces": "95000\n",
		"proc/sys/kernel/keys/maxkeys":      "200\n",
		"run/user/1000/bus":                 "",
		"sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/cgroup.controllers": "cpu memory pids\n",
	} {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	kernel := &fakeKernel{
		release: "6.1.0-18-amd64", landlock: 2,
		programs:   map[string]string{"newuidmap": "", "newgidmap": ""},
		unwritable: []string{"/sys/fs/cgroup/user.slice/user-1000.slice/session-1.scope/cgroup.procs"},
		owners:     map[string]int{"/run/user/1000": 1000},
	}
	env := map[string]string{"HOME": "/home/web", "XDG_RUNTIME_DIR": "/run/user/1000"}
	h := &Host{FS: files, User: User{"web", 1000, 1000}, Getenv: func(k string) string { return env[k] }}
	return h, files, kernel
}

func TestHealthyHost(t *testing.T) {
	h, _, k := healthy()
	h.Kernel = *k
	r := h.Collect(t.Context())
	for _, f := range r.Features {
		if f.State != OK || f.Without != "" && f.State == OK || len(f.Cure) > 0 {
			t.Errorf("%s: %+v", f.Name, f)
		}
		if f.Detail == "" {
			t.Errorf("%s: no detail", f.Name)
		}
	}
	if r.Worst() != OK {
		t.Errorf("worst = %s", r.Worst())
	}
}

// Each case breaks one thing of a healthy host and names what the table must
// say: the feature, its state, a part of the detail and a part of the cure.
func TestBrokenHost(t *testing.T) {
	set := func(name, text string) func(*Host, fstest.MapFS, *fakeKernel) {
		return func(_ *Host, fs fstest.MapFS, _ *fakeKernel) { fs[name] = &fstest.MapFile{Data: []byte(text)} }
	}
	for _, c := range []struct {
		name    string
		change  func(*Host, fstest.MapFS, *fakeKernel)
		feature string
		state   State
		detail  string
		cure    string
	}{
		{"debian sysctl", func(_ *Host, fs fstest.MapFS, k *fakeKernel) {
			k.userNS = syscall.EPERM
			fs["proc/sys/kernel/unprivileged_userns_clone"] = &fstest.MapFile{Data: []byte("0\n")}
		}, "user namespaces", Missing, "kernel.unprivileged_userns_clone=0", "kernel.unprivileged_userns_clone=1"},
		{"limit zero", func(_ *Host, fs fstest.MapFS, k *fakeKernel) {
			k.userNS = syscall.ENOSPC
			fs["proc/sys/user/max_user_namespaces"] = &fstest.MapFile{Data: []byte("0\n")}
		}, "user namespaces", Missing, "user.max_user_namespaces=0", "user.max_user_namespaces=15000"},
		{"limit reached", func(_ *Host, _ fstest.MapFS, k *fakeKernel) { k.userNS = syscall.ENOSPC },
			"user namespaces", Missing, "limit is reached", "user.max_user_namespaces"},
		{"ubuntu apparmor", func(_ *Host, fs fstest.MapFS, k *fakeKernel) {
			k.userNS = syscall.EACCES
			fs["proc/sys/kernel/apparmor_restrict_unprivileged_userns"] = &fstest.MapFile{Data: []byte("1\n")}
		}, "user namespaces", Missing, "apparmor_restrict_unprivileged_userns=1", "/etc/apparmor.d/bryo"},
		{"outer seccomp", func(_ *Host, fs fstest.MapFS, k *fakeKernel) {
			k.userNS = syscall.EPERM
			fs["proc/self/status"] = &fstest.MapFile{Data: []byte("Seccomp:\t2\n")}
		}, "user namespaces", Missing, "surrounding container", "seccomp=unconfined"},
		{"chroot", func(_ *Host, fs fstest.MapFS, k *fakeKernel) {
			k.userNS = syscall.EPERM
			fs["proc/self/mountinfo"] = &fstest.MapFile{Data: []byte("23 22 0:5 / /proc rw - proc proc rw\n")}
		}, "user namespaces", Missing, "chroot", ""},
		{"no subuid file", func(_ *Host, fs fstest.MapFS, _ *fakeKernel) { delete(fs, "etc/subuid") },
			"subordinate ids", Missing, "no range for web", "--add-subuids 231072-296607"},
		{"no line", set("etc/subgid", "mail:1:2\n"), "subordinate ids", Missing, "no range for web", "usermod"},
		{"overlap", set("etc/subuid", "web:100000:65536\nmail:165535:65536\n"), "subordinate ids", Degraded, "/etc/subuid: range 100000-165535 is also of mail", "web:231072:65536"},
		{"overlap with an account", set("etc/subuid", "web:1001:65536\n"), "subordinate ids", Degraded, "is also of mail", "sed"},
		{"small range", set("etc/subuid", "web:100000:1000\n"), "subordinate ids", Degraded, "1000 uids", "usermod"},
		{"broken foreign line", set("etc/subuid", "web:100000:65536\nx:y\n"), "subordinate ids", Degraded, "/etc/subuid line 2", "sed -i '2d' /etc/subuid"},
		{"broken own line", set("etc/subuid", "web:100000:-1\n"), "subordinate ids", Missing, `line 1: count "-1"`, "usermod"},
		{"no uidmap package", func(_ *Host, _ fstest.MapFS, k *fakeKernel) { k.programs = nil },
			"newuidmap, newgidmap", Missing, "newuidmap is not installed", "apt-get install uidmap"},
		{"fedora without it", func(_ *Host, fs fstest.MapFS, k *fakeKernel) {
			k.programs = nil
			fs["etc/os-release"] = &fstest.MapFile{Data: []byte("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n")}
		}, "newuidmap, newgidmap", Missing, "not installed", "dnf install shadow-utils"},
		{"no setuid bit", func(_ *Host, _ fstest.MapFS, k *fakeKernel) { k.programs["newgidmap"] = "has neither" },
			"newuidmap, newgidmap", Missing, "/usr/bin/newgidmap has neither", "chmod u+s"},
		{"no_new_privs", set("proc/self/status", "NoNewPrivs:\t1\n"), "newuidmap, newgidmap", Missing, "no_new_privs", ""},
		{"old kernel", func(_ *Host, _ fstest.MapFS, k *fakeKernel) { k.release = "5.10.0" }, "kernel", Degraded, "older than 5.11", ""},
		{"memfd_noexec", set("proc/sys/vm/memfd_noexec", "2\n"), "kernel", Missing, "vm.memfd_noexec=2", "vm.memfd_noexec=1"},
		{"no overlay", func(_ *Host, _ fstest.MapFS, k *fakeKernel) {
			k.inside = map[string]error{probeOverlay: syscall.ENODEV}
		},
			"overlay", Missing, "no such device", "modprobe overlay"},
		{"masked proc", func(_ *Host, fs fstest.MapFS, k *fakeKernel) {
			k.inside = map[string]error{probeProc: syscall.EPERM}
			fs["proc/self/mountinfo"].Data = append(fs["proc/self/mountinfo"].Data, "30 23 0:9 / /proc/kcore rw - tmpfs tmpfs rw\n"...)
		}, "/proc", Degraded, "covered by mounts", "systempaths=unconfined"},
		{"masked sys", func(_ *Host, fs fstest.MapFS, _ *fakeKernel) {
			fs["proc/self/mountinfo"].Data = append(fs["proc/self/mountinfo"].Data, "30 23 0:9 / /sys/firmware ro - tmpfs tmpfs ro\n"...)
		}, "/sys", Degraded, "covered by mounts", "unmask=ALL"},
		{"no null", func(_ *Host, _ fstest.MapFS, k *fakeKernel) {
			k.open = map[string]error{"/dev/null": syscall.ENOENT}
		}, "/dev", Missing, "no such file", "mknod -m 0666 /dev/null c 1 3"},
		{"no seccomp", func(_ *Host, _ fstest.MapFS, k *fakeKernel) { k.noSeccomp = true }, "seccomp", Missing, "CONFIG_SECCOMP_FILTER", ""},
		{"no notification", func(_ *Host, _ fstest.MapFS, k *fakeKernel) { k.noNotify = true }, "seccomp", Degraded, "no user notification", ""},
		{"landlock off", func(_ *Host, fs fstest.MapFS, k *fakeKernel) {
			k.landlock = 0
			fs["sys/kernel/security/lsm"] = &fstest.MapFile{Data: []byte("capability,apparmor")}
		}, "Landlock", Missing, "", "lsm=landlock,capability,apparmor"},
		{"hybrid", func(_ *Host, fs fstest.MapFS, _ *fakeKernel) {
			fs["proc/self/mountinfo"] = &fstest.MapFile{Data: []byte("22 1 8:1 / / rw - ext4 x rw\n25 22 0:7 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw\n26 22 0:8 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n")}
		}, "cgroup limits", Missing, "cgroup hybrid", "unified_cgroup_hierarchy=1"},
		{"no sysfs", func(_ *Host, fs fstest.MapFS, _ *fakeKernel) {
			for name := range fs {
				if strings.HasPrefix(name, "sys/") {
					delete(fs, name)
				}
			}
		}, "cgroup limits", Missing, "no sysfs is mounted", "mount -t sysfs"},
		{"no procfs", func(_ *Host, fs fstest.MapFS, _ *fakeKernel) { delete(fs, "proc/self/status") },
			"/proc", Missing, "no procfs", "mount -t proc proc /proc"},
		{"root of one id", func(h *Host, fs fstest.MapFS, _ *fakeKernel) {
			h.User = User{"root", 0, 0}
			fs["proc/self/status"] = &fstest.MapFile{Data: []byte("CapEff:\t000001ffffffffff\n")}
			for _, kind := range []string{"uid", "gid"} {
				fs["proc/self/"+kind+"_map"] = &fstest.MapFile{Data: []byte("0 1000 1\n")}
			}
		}, "subordinate ids", Missing, "one id only", "--map-auto"},
		{"no cgroup", set("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 x rw\n"), "cgroup limits", Missing, "no cgroup", ""},
		{"no session", func(_ *Host, fs fstest.MapFS, _ *fakeKernel) {
			delete(fs, "sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/cgroup.controllers")
			fs["sys/fs/cgroup/cgroup.procs"] = &fstest.MapFile{}
		}, "cgroup limits", Missing, "nothing delegated to web", "enable-linger web"},
		{"no bus", func(_ *Host, fs fstest.MapFS, _ *fakeKernel) { delete(fs, "run/user/1000/bus") },
			"cgroup limits", Missing, "no session bus", "dbus-user-session"},
		{"two controllers", set("sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/cgroup.controllers", "memory pids\n"),
			"cgroup limits", Degraded, "not delegated: cpu", "Delegate=cpu"},
		{"no tun", func(_ *Host, _ fstest.MapFS, k *fakeKernel) {
			k.open = map[string]error{"/dev/net/tun": syscall.EACCES}
		},
			"/dev/net/tun", Missing, "permission denied", "chmod 0666 /dev/net/tun"},
		{"no fuse", func(_ *Host, _ fstest.MapFS, k *fakeKernel) { k.open = map[string]error{"/dev/fuse": syscall.ENOENT} },
			"/dev/fuse", Missing, "no such file", "modprobe fuse"},
		{"keyring forbidden", func(_ *Host, _ fstest.MapFS, k *fakeKernel) { k.keyring = syscall.EPERM }, "kernel keyring", Degraded, "not permitted", ""},
		{"foreign runtime dir", func(_ *Host, _ fstest.MapFS, k *fakeKernel) { k.owners["/run/user/1000"] = 0 },
			"XDG_RUNTIME_DIR", Degraded, "belongs to uid 0", "/run/user/1000"},
		{"read-only home", func(_ *Host, _ fstest.MapFS, k *fakeKernel) { k.unwritable = append(k.unwritable, "/home/web") },
			"home", Degraded, "/home/web: not writable", "BRYO_ROOT"},
		{"no home", func(h *Host, _ fstest.MapFS, _ *fakeKernel) { h.Getenv = func(string) string { return "" } },
			"home", Degraded, "HOME is not set", "BRYO_ROOT"},
		{"noexec home is fine", func(_ *Host, _ fstest.MapFS, k *fakeKernel) {
			k.fsFlags = map[string]int64{"/home/web": unix.ST_NOEXEC}
		},
			"home", OK, "noexec", ""},
		{"noexec tmp is fine", func(_ *Host, _ fstest.MapFS, k *fakeKernel) { k.fsFlags = map[string]int64{"/tmp": unix.ST_NOEXEC} },
			"temporary files", OK, "noexec", ""},
		{"read-only tmp", func(_ *Host, _ fstest.MapFS, k *fakeKernel) { k.fsFlags = map[string]int64{"/tmp": unix.ST_RDONLY} },
			"temporary files", Degraded, "not writable", "TMPDIR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, files, k := healthy()
			c.change(h, files, k)
			h.Kernel = *k
			f := find(t, h.Collect(t.Context()), c.feature)
			cure := strings.Join(f.Cure, "\n")
			if f.State != c.state || !strings.Contains(f.Detail, c.detail) || !strings.Contains(cure, c.cure) || c.cure == "" && cure != "" {
				t.Errorf("got %+v", f)
			}
			if f.State != OK && f.Without == "" {
				t.Error("does not say what bryo does without it")
			}
		})
	}
}

func find(t *testing.T, r Report, name string) Feature {
	t.Helper()
	for _, f := range r.Features {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no feature %q", name)
	return Feature{}
}

func TestExplain(t *testing.T) {
	h, files, k := healthy()
	files["proc/sys/kernel/apparmor_restrict_unprivileged_userns"] = &fstest.MapFile{Data: []byte("1\n")}
	delete(k.programs, "newgidmap")
	h.Kernel = *k
	for _, c := range []struct {
		name string
		err  error
		step string
		want string // part of the text; "" for no text
	}{
		{"nothing wrong", nil, "unshare", ""},
		{"apparmor", syscall.EPERM, "unshare", "docs/hosts.md#userns"},
		{"apparmor from inside", syscall.EACCES, "mount", "apparmor_restrict_unprivileged_userns=1"},
		{"map refused", syscall.EPERM, "write uid_map", "apparmor"},
		{"helper absent", &exec.Error{Name: "newgidmap", Err: exec.ErrNotFound}, "newgidmap", "apt-get install uidmap"},
		{"range not ours", errors.New("newuidmap: uid range [1-65537) -> [5-65541) not allowed"), "newuidmap", "/etc/subuid does not give these ids to web"},
		{"helper without privilege", errors.New("write to uid_map failed: Operation not permitted"), "newuidmap", "newgidmap is not installed. See docs/hosts.md#newuidmap"},
		{"overlay", syscall.ENODEV, "mount overlay", "docs/hosts.md#overlay"},
		{"proc", syscall.EPERM, "mount proc", "docs/hosts.md#proc"},
		{"no process left", &os.PathError{Op: "fork/exec", Path: "/usr/bin/newuidmap", Err: syscall.EAGAIN}, "newuidmap", ""},
		{"no descriptor left", errors.New("newgidmap: open /dev/null: Too many open files in system"), "newgidmap", ""},
		{"tun", syscall.ENOENT, "open /dev/net/tun", "docs/hosts.md#tun"},
		{"unknown step", syscall.EPERM, "chdir", ""},
		{"unrelated error", syscall.EINVAL, "mount overlay", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := h.Explain(c.err, c.step)
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestWriteText(t *testing.T) {
	var b strings.Builder
	r := Report{Features: []Feature{
		{Name: "seccomp", State: OK, Detail: "filters"},
		{Name: "overlay", State: Missing, Detail: "no such device", Without: "layers are copied", Cure: []string{"sudo modprobe overlay"}, Doc: "docs/hosts.md#overlay"},
	}}
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	want := `FEATURE  STATE    DETAIL
seccomp  ok       filters
overlay  missing  no such device

overlay: layers are copied
    sudo modprobe overlay
    see docs/hosts.md#overlay
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

// TestRunningHost only asks that the checks end and name themselves: what this
// host offers is not known.
func TestRunningHost(t *testing.T) {
	h := System()
	for _, f := range []Feature{h.kernelVersion(t.Context()), h.seccomp(t.Context()), h.landlock(t.Context()), h.cgroup(t.Context()),
		h.subordinateIDs(t.Context()), h.userNamespaces(t.Context()), h.keyring(t.Context())} {
		if f.Detail == "" || f.State == "" {
			t.Errorf("%+v", f)
		}
		t.Logf("%s: %s: %s", f.Name, f.State, f.Detail)
	}
}

// Root has the system's manager; root of a user namespace is nobody to it, and not to
// the one of the user whom he is outside.
func TestManagerOfRoot(t *testing.T) {
	h, files, k := healthy()
	h.Kernel, h.User = *k, User{"root", 0, 0}
	for _, name := range []string{"run/systemd/system/x", systemBus, "run/user/0/bus", "sys/fs/cgroup/user.slice/user-0.slice/user@0.service/x"} {
		files[name] = &fstest.MapFile{}
	}
	files["sys/fs/cgroup/cgroup.controllers"] = &fstest.MapFile{Data: []byte("cpu memory pids\n")}
	if c := h.Cgroups(); c.Bus != "/"+systemBus || len(c.Controllers) != 3 {
		t.Errorf("root: %+v", c)
	}
	files["proc/self/uid_map"] = &fstest.MapFile{Data: []byte("         0       1000          1\n")}
	if c := h.Cgroups(); c.Bus != "" {
		t.Errorf("root of a user namespace: %+v", c)
	}
}
