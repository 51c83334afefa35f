package seccomp

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// abiID is the column of an ABI in the generated syscall table.
type abiID uint8

const (
	abiAMD64 abiID = iota
	abiX32
	abi386
	abiARM64
	abiARM
	abiCount
)

// x32Bit marks an x32 call; such calls carry the audit architecture of amd64.
const x32Bit = 0x40000000

// abi is one way of calling the kernel that a filter tells apart.
type abi struct {
	id     abiID
	name   string // as in tables and reports
	token  string // as in a profile's includes.arches and excludes.arches
	scmp   string // as in a profile's architectures and archMap
	audit  uint32 // seccomp_data.arch
	bit    uint32 // or-ed into each syscall number
	narrow bool   // registers are 32 bits wide: the kernel ignores the high halves
	ids16  bool   // chown, setuid & co. take 16-bit ids, the *32 calls the wide ones
	mux    bool   // socketcall(2) and ipc(2) bundle the socket and SysV IPC calls
}

// abis is indexed by abiID. x32 is not narrow: the kernel hands its common
// calls full registers, so a filter has to look at all 64 bits.
var abis = [abiCount]abi{
	{id: abiAMD64, name: "amd64", token: "amd64", scmp: "SCMP_ARCH_X86_64", audit: unix.AUDIT_ARCH_X86_64},
	{id: abiX32, name: "x32", token: "x32", scmp: "SCMP_ARCH_X32", audit: unix.AUDIT_ARCH_X86_64, bit: x32Bit},
	{id: abi386, name: "386", token: "x86", scmp: "SCMP_ARCH_X86", audit: unix.AUDIT_ARCH_I386, narrow: true, ids16: true, mux: true},
	{id: abiARM64, name: "arm64", token: "arm64", scmp: "SCMP_ARCH_AARCH64", audit: unix.AUDIT_ARCH_AARCH64},
	{id: abiARM, name: "arm", token: "arm", scmp: "SCMP_ARCH_ARM", audit: unix.AUDIT_ARCH_ARM, narrow: true, ids16: true},
}

// machine is what the architecture of an image means for the filter.
type machine struct {
	native []abiID  // always covered, whatever the profile's architectures say
	all    []abiID  // every ABI that the kernel below can run, in dispatch order
	key    string   // the archMap entry that applies
	tokens []string // what includes.arches and excludes.arches are compared with
}

// machineFor maps a GOARCH name. The kernel below a 32-bit image is taken to
// be the 64-bit one of its family: bryo itself, which execs the image's
// program after the filter is loaded, is built for that one.
func machineFor(arch string) (machine, error) {
	x86 := machine{native: []abiID{abiAMD64}, all: []abiID{abiAMD64, abiX32, abi386}, key: abis[abiAMD64].scmp, tokens: []string{"amd64"}}
	arm := machine{native: []abiID{abiARM64}, all: []abiID{abiARM64, abiARM}, key: abis[abiARM64].scmp, tokens: []string{"arm64"}}
	switch arch {
	case "amd64":
		return x86, nil
	case "386":
		x86.native, x86.tokens = []abiID{abiAMD64, abi386}, []string{"amd64", "x86"}
		return x86, nil
	case "arm64":
		return arm, nil
	case "arm":
		arm.native, arm.tokens = []abiID{abiARM64, abiARM}, []string{"arm64", "arm"}
		return arm, nil
	}
	return machine{}, fmt.Errorf("seccomp filter for %s: no syscall table for this architecture", arch)
}

// covered returns the ABIs that the profile wants filtered, in dispatch
// order. An ABI that is not covered cannot be used at all.
func (m machine) covered(p *Profile) []abiID {
	listed := p.Architectures
	for _, entry := range p.ArchMap {
		if entry.Arch == m.key {
			listed = append(slices.Clone(listed), entry.SubArches...)
			break
		}
	}
	var out []abiID
	for _, id := range m.all {
		if slices.Contains(m.native, id) || slices.Contains(listed, abis[id].scmp) {
			out = append(out, id)
		}
	}
	return out
}
