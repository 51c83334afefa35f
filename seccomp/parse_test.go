package seccomp

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       *Profile
	}{
		{"docker", `{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,
			"archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],
			"syscalls":[{"names":["clone"],"action":"SCMP_ACT_ALLOW","comment":"x",
				"args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}],
				"includes":{"minKernel":"4.8","arches":["amd64"]},"excludes":{"caps":["CAP_SYS_ADMIN"]}}]}`,
			&Profile{DefaultAction: Errno, DefaultErrno: 38,
				ArchMap: []ArchEntry{{"SCMP_ARCH_X86_64", []string{"SCMP_ARCH_X86"}}},
				Rules: []Rule{{Names: []string{"clone"}, Action: Allow, Args: []Arg{{0, MaskedEqual, 0x7e020000, 0}},
					Includes: Condition{Arches: []string{"amd64"}, MinKernel: Kernel{4, 8}},
					Excludes: Condition{Caps: []string{"CAP_SYS_ADMIN"}}}}}},
		{"old docker", `{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],"syscalls":[{"name":"read","action":"SCMP_ACT_ALLOW","args":null}]}`,
			&Profile{DefaultAction: Errno, DefaultErrno: 1, Architectures: []string{"SCMP_ARCH_X86"},
				Rules: []Rule{{Names: []string{"read"}, Action: Allow}}}},
		{"podman", `{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"ENOSYS","defaultErrnoRet":38,
			"syscalls":[{"names":["bpf"],"action":"SCMP_ACT_ERRNO","errno":"EPERM","errnoRet":1,"args":[],"comment":"","includes":{},"excludes":{}}]}`,
			&Profile{DefaultAction: Errno, DefaultErrno: 38, Rules: []Rule{{Names: []string{"bpf"}, Action: Errno, Errno: 1}}}},
		{"success", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["sync"],"action":"SCMP_ACT_ERRNO","errnoRet":0}]}`,
			&Profile{DefaultAction: Allow, Rules: []Rule{{Names: []string{"sync"}, Action: Errno}}}},
		{"flags", `{"defaultAction":"SCMP_ACT_KILL_PROCESS","flags":["SECCOMP_FILTER_FLAG_TSYNC","SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_SPEC_ALLOW"],"listenerPath":""}`,
			&Profile{DefaultAction: KillProcess, Flags: unix.SECCOMP_FILTER_FLAG_LOG | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW}},
		{"largest value", `{"defaultAction":"SCMP_ACT_LOG","firstMatch":true,"syscalls":[{"names":["a"],"action":"SCMP_ACT_KILL","args":[{"index":5,"value":18446744073709551615,"op":"SCMP_CMP_NE"}]}]}`,
			&Profile{DefaultAction: Log, FirstMatch: true, Rules: []Rule{{Names: []string{"a"}, Action: KillThread, Args: []Arg{{5, NotEqual, ^uint64(0), 0}}}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Parse([]byte(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	rule := func(r string) string { return `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[` + r + `]}` }
	for _, tc := range []struct{ name, text, want string }{
		{"nothing", ``, "the file is empty"},
		{"no object", `[]`, "want a JSON object"},
		{"empty object", `{}`, "defaultAction is missing"},
		{"cut short", `{"defaultAction":`, "the file is cut short"},
		{"text behind", `{"defaultAction":"SCMP_ACT_ALLOW"} x`, "text after the JSON object"},
		{"two objects", `{"defaultAction":"SCMP_ACT_ALLOW"}{}`, "text after the JSON object"},
		{"unknown key", `{"defaultAction":"SCMP_ACT_ALLOW","sysalls":[]}`, `unknown key "sysalls"`},
		{"other case", `{"DefaultAction":"SCMP_ACT_ALLOW"}`, `unknown key "DefaultAction"`},
		{"duplicate key", `{"defaultAction":"SCMP_ACT_ERRNO","defaultAction":"SCMP_ACT_ALLOW"}`, `duplicate key "defaultAction"`},
		{"duplicate key in a rule", rule(`{"names":["a"],"action":"SCMP_ACT_ERRNO","action":"SCMP_ACT_ALLOW"}`), `syscalls[0]: duplicate key "action"`},
		{"misspelt includes", rule(`{"names":["a"],"action":"SCMP_ACT_ALLOW"},{"names":["a"],"action":"SCMP_ACT_ALLOW","include":{}}`), `syscalls[1]: unknown key "include"`},
		{"unknown key in args", rule(`{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"op":"SCMP_CMP_EQ","val":1}]}`), `syscalls[0].args[0]: unknown key "val"`},
		{"unknown key in includes", rule(`{"names":["a"],"action":"SCMP_ACT_ALLOW","includes":{"cap":["X"]}}`), `syscalls[0].includes: unknown key "cap"`},
		{"unknown action", rule(`{"names":["a"],"action":"SCMP_ACT_FOO"}`), `syscalls[0]: unknown action "SCMP_ACT_FOO"`},
		{"unknown default action", `{"defaultAction":"ALLOW"}`, `defaultAction: unknown action "ALLOW"`},
		{"no action", rule(`{"names":["a"]}`), "syscalls[0]: action is missing"},
		{"no name", rule(`{"action":"SCMP_ACT_ALLOW"}`), "syscalls[0]: a syscall name is missing"},
		{"empty name", rule(`{"names":["a",""],"action":"SCMP_ACT_ALLOW"}`), "syscalls[0]: a syscall name is missing"},
		{"name and names", rule(`{"name":"a","names":["b"],"action":"SCMP_ACT_ALLOW"}`), "name and names exclude each other"},
		{"null rule", rule(`null`), "syscalls[0]: null"},
		{"null argument", rule(`{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[null]}`), "args[0]: want index, value and op"},
		{"unknown operator", rule(`{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"op":"EQ"}]}`), `unknown operator "EQ"`},
		{"argument 6", rule(`{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}`), "index 6"},
		{"negative value", rule(`{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":-1,"op":"SCMP_CMP_EQ"}]}`), "number -1 does not fit"},
		{"value too large", rule(`{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":18446744073709551616,"op":"SCMP_CMP_EQ"}]}`), "does not fit"},
		{"thirteen conditions", rule(`{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[` + strings.Repeat(`{"index":0,"op":"SCMP_CMP_EQ"},`, 12) + `{"index":0,"op":"SCMP_CMP_EQ"}]}`), "at most 12"},
		{"errno of allow", rule(`{"names":["a"],"action":"SCMP_ACT_ALLOW","errnoRet":1}`), "SCMP_ACT_ALLOW takes none"},
		{"errno too high", rule(`{"names":["a"],"action":"SCMP_ACT_ERRNO","errnoRet":4096}`), "the highest errno is 4095"},
		{"errno disagrees", rule(`{"names":["a"],"action":"SCMP_ACT_ERRNO","errno":"EPERM","errnoRet":2}`), "errno EPERM is 1, but errnoRet is 2"},
		{"unknown errno", rule(`{"names":["a"],"action":"SCMP_ACT_ERRNO","errno":"EFOO"}`), `unknown errno "EFOO"`},
		{"both arch forms", `{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}`, "exclude each other"},
		{"unknown architecture", `{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_VAX"]}`, `unknown architecture "SCMP_ARCH_VAX"`},
		{"empty architecture", `{"defaultAction":"SCMP_ACT_ALLOW","architectures":[""]}`, `unknown architecture ""`},
		{"unknown flag", `{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_X"]}`, `unknown flag "SECCOMP_FILTER_FLAG_X"`},
		{"flag of a listener", `{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}`, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"},
		{"listener", `{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/agent"}`, "listenerPath"},
		{"notify", rule(`{"names":["a"],"action":"SCMP_ACT_NOTIFY"}`), "SCMP_ACT_NOTIFY"},
		{"kernel version", rule(`{"names":["a"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8.1"}}`), `minKernel "4.8.1"`},
		{"kernel version 0", rule(`{"names":["a"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"0.0"}}`), `minKernel "0.0"`},
		{"wrong type", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":"all"}`, "syscalls: string does not fit"},
		{"object for a string", `{"defaultAction":{}}`, "defaultAction: an object does not belong here"},
		{"list in a list", rule(`[[]]`), "syscalls[0]: a list does not belong here"},
		{"deep lists", `{"flags":` + strings.Repeat("[", 100000), "flags[0]: a list does not belong here"},
		{"too large", `{"defaultAction":"SCMP_ACT_ALLOW","comment":"` + strings.Repeat("x", MaxProfile) + `"}`, "the limit is"},
		{"long name", `{"defaultAction":"` + strings.Repeat("x", 1000) + `"}`, "..."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse([]byte(tc.text))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.HasPrefix(err.Error(), "seccomp profile: ") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %q, want %q in it", err, tc.want)
			}
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 250 {
				t.Errorf("not one short line: %q", err)
			}
		})
	}
}

// TestParseDockersProfile reads Docker's published JSON and compares it with
// the rules that were generated from the same module.
func TestParseDockersProfile(t *testing.T) {
	text, err := json.Marshal(moby.DefaultProfile())
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{Caps: dockerCaps}, {}, {Caps: []string{"CAP_SYS_ADMIN", "CAP_BPF"}}} {
		for _, o.Arch = range []string{"amd64", "386", "arm64", "arm"} {
			o.Kernel = modern
			parsed, generated := mustCompile(t, p, o), mustCompile(t, docker(), o)
			if !reflect.DeepEqual(parsed, generated) {
				t.Errorf("%s: the generated rules and the published JSON compile to different programs", o.Arch)
			}
		}
	}
}

// TestFromSpec converts what Docker hands to a runtime.
func TestFromSpec(t *testing.T) {
	errno := uint(38)
	spec := &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, DefaultErrnoRet: &errno,
		Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86},
		Flags:         []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog},
		Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 1, Value: 2, ValueTwo: 3, Op: specs.OpMaskedEqual}}}},
	}
	got, err := FromSpec(spec)
	if err != nil {
		t.Fatal(err)
	}
	want := &Profile{DefaultAction: Errno, DefaultErrno: 38, Architectures: []string{"SCMP_ARCH_X86_64", "SCMP_ARCH_X86"},
		Flags: unix.SECCOMP_FILTER_FLAG_LOG, Rules: []Rule{{Names: []string{"read"}, Action: Allow, Args: []Arg{{1, MaskedEqual, 2, 3}}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	spec.ListenerPath = "/x"
	if _, err := FromSpec(spec); err == nil || !strings.Contains(err.Error(), "listenerPath") {
		t.Errorf("listenerPath: %v", err)
	}
	if _, err := FromSpec(nil); err == nil {
		t.Error("nil was accepted")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(smallProfile))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]}],` +
		`"syscalls":[{"names":["clone","socketcall"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}],` +
		`"includes":{"caps":["CAP_X"],"arches":["amd64"],"minKernel":"4.8"},"excludes":{"caps":["CAP_Y"]}}]}`))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"socket","action":"SCMP_ACT_ERRNO","errno":"EPERM","args":[{"index":0,"value":38,"op":"SCMP_CMP_EQ"}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("not one line: %q", err)
			}
			return
		}
		program, err := Compile(p, Options{Arch: "amd64", Kernel: modern})
		if err != nil || len(p.Rules) > 20 { // the reference is slow
			return
		}
		ref := newReference(p, Options{Arch: "amd64", Kernel: modern})
		for _, nr := range []uint32{0, 41, 56, 102, 435, 500, x32Bit, 0xffffffff} {
			for _, arch := range []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM} {
				d := Data{Nr: nr, Arch: arch, Args: [6]uint64{38, 1, 1 << 32}}
				if got, want := program.Run(d), ref.decide(d); got != want {
					t.Errorf("%+v: %s, want %s", d, VerdictName(got), VerdictName(want))
				}
			}
		}
	})
}

// TestInitIsFree fails when the package begins to do work at process start.
func TestInitIsFree(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	binary := filepath.Join(t.TempDir(), "inittrace")
	if out, err := exec.Command("go", "build", "-o", binary, "./testdata/inittrace").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(binary)
	cmd.Env = append(cmd.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		// The runtime prints packages that have init work, with its cost.
		if strings.HasPrefix(line, "init bryo/seccomp ") {
			t.Errorf("the package has init work: %s", line)
		}
	}
	if !strings.Contains(string(out), "init ") {
		t.Fatal("no trace was printed")
	}
}
