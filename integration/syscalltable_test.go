package integration

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"bryo/sandbox"
	"bryo/seccomp"
)

// syscallTable compares the last command's output, "NUMBER RESULT" lines of the
// probe's sweep, with the default profile run in a simulator: what the profile
// refuses is refused by the kernel with the same error, and nothing else ends
// as a refusal by a filter would (EPERM is the kernel's own word as well, so there
// only the first half counts).
func syscallTable(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: syscalltable FILE")
	}
	profile := seccomp.Default()
	program, err := seccomp.Compile(profile, seccomp.Options{Caps: sandbox.DefaultCapabilities()})
	ts.Check(err)
	compared := 0
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		var nr uint32
		var got string
		if _, err := fmt.Sscan(line, &nr, &got); err != nil {
			continue
		}
		compared++
		if want := refusal(program, nr); want != "" && got != want && !slices.Contains(answered, nr) {
			ts.Logf("call %d: %s, the profile says %s", nr, got, want)
			ts.Fatalf("the filter inside is not the default profile")
		} else if want == "" && got == "ENOSYS" && !unknownHere(nr) {
			ts.Fatalf("call %d: refused as unknown, the profile allows it", nr)
		}
	}
	if compared < 450 {
		ts.Fatalf("%d calls compared, at least 450 expected", compared)
	}
}

// answered: none. With one id the filter answers some calls with success.
var answered []uint32

// refusal is the name of the error that the profile gives the call, "" when it
// lets it through.
func refusal(program seccomp.Program, nr uint32) string {
	arch := uint32(unix.AUDIT_ARCH_X86_64)
	if runtime.GOARCH == "arm64" {
		arch = unix.AUDIT_ARCH_AARCH64
	}
	all := ^uint64(0)
	verdict := program.Run(seccomp.Data{Nr: nr, Arch: arch, Args: [6]uint64{all, all, all, all, all, all}})
	if verdict&unix.SECCOMP_RET_ACTION_FULL != unix.SECCOMP_RET_ERRNO {
		return ""
	}
	return unix.ErrnoName(unix.Errno(verdict & unix.SECCOMP_RET_DATA))
}

// unknownHere asks the kernel outside: a call that it does not have is unknown
// inside too. Only numbers that do nothing with such arguments are asked.
func unknownHere(nr uint32) bool {
	_, _, errno := unix.RawSyscall6(uintptr(nr), ^uintptr(0), ^uintptr(0), ^uintptr(0), ^uintptr(0), ^uintptr(0), ^uintptr(0))
	return errno == unix.ENOSYS
}
