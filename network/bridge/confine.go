package bridge

import "golang.org/x/sys/unix"

// confine takes from the helper what it does not need once the router is there.
func confine(string) {
	_ = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}
