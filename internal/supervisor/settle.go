package supervisor

import (
	"runtime/debug"

	"bryo/sandbox/userns"
)

// settle makes the supervisor small once the program runs: collect what the start
// left and give it back, then let go of the binary's pages. A foreground container gets
// along without: it is the user's command that is waited for.
func settle() {
	debug.SetGCPercent(50)
	debug.FreeOSMemory()
	userns.ForgetCode()
}
