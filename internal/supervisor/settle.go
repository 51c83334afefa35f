package supervisor

import (
	"bufio"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// settle makes the supervisor small once the program runs: collect what the start
// left and give it back, then let go of the binary's pages, most of which only a
// start needs. A foreground container gets along without: it is the user's command
// that is waited for.
func settle() {
	debug.SetGCPercent(50)
	debug.FreeOSMemory()
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer smaps.Close()
	for _, m := range cleanFiles(smaps) {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED)
	}
}

type mapping struct{ from, to uintptr }

// cleanFiles picks code and constants from a smaps file: private mappings of a
// file that cannot be written and never were, whose pages come back from the page
// cache when they are needed. The second half matters: relocated data is read-only
// too, and MADV_DONTNEED would undo its relocation.
func cleanFiles(smaps io.Reader) (found []mapping) {
	var candidate mapping
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) >= 5 && len(f[1]) == 4 && strings.Contains(f[0], "-"):
			candidate = readOnlyFile(f)
		case len(f) == 3 && f[0] == "Anonymous:" && f[1] == "0" && candidate.to != 0:
			found = append(found, candidate)
		}
	}
	return found
}

// readOnlyFile reads the first line of a mapping; the zero mapping if it is of no use.
func readOnlyFile(f []string) (m mapping) {
	if len(f) < 6 || !strings.HasPrefix(f[5], "/") || f[1][:2] != "r-" || f[1][3] != 'p' {
		return mapping{}
	}
	low, high, _ := strings.Cut(f[0], "-")
	from, err1 := strconv.ParseUint(low, 16, 64)
	to, err2 := strconv.ParseUint(high, 16, 64)
	if err1 != nil || err2 != nil {
		return mapping{}
	}
	return mapping{uintptr(from), uintptr(to)}
}
