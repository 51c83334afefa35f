package supervisor

import (
	"slices"
	"strings"
	"testing"
)

// Only what was never written may be given back: MADV_DONTNEED on anything else
// takes the supervisor's memory away under it.
func TestCleanFiles(t *testing.T) {
	const smaps = `00400000-00401000 r--p 00000000 fe:00 7 /usr/bin/bryo
Anonymous:             0 kB
00401000-00da8000 r-xp 00001000 fe:00 7 /usr/bin/bryo
Size:               9884 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
01730000-01734000 r--p 01330000 fe:00 7 /usr/bin/bryo
Anonymous:            16 kB
01734000-017c0000 rw-p 01334000 fe:00 7 /usr/bin/bryo
Anonymous:             0 kB
7f0000000000-7f0000001000 r--s 00000000 fe:00 9 /etc/shared
Anonymous:             0 kB
7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
`
	want := []mapping{{0x400000, 0x401000}, {0x401000, 0xda8000}}
	if got := cleanFiles(strings.NewReader(smaps)); !slices.Equal(got, want) {
		t.Errorf("cleanFiles = %#x, want %#x", got, want)
	}
}
