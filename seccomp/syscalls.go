package seccomp

//go:generate go run ./internal/gentables
//go:generate go run ./internal/genprograms

import "sort"

// absent is the number of a call that an ABI does not have.
const absent = -1

// call is one syscall name with its number in each ABI, without the x32 bit.
type call struct {
	name string
	nr   [abiCount]int32
}

// lookup returns the index of a name in calls.
func lookup(name string) (int, bool) {
	i := sort.Search(len(calls), func(i int) bool { return calls[i].name >= name })
	return i, i < len(calls) && calls[i].name == name
}

// number returns the syscall number as seccomp_data has it, with the x32 bit.
func (a *abi) number(index int) (uint32, bool) {
	nr := calls[index].nr[a.id]
	return uint32(nr) | a.bit, nr != absent
}
