// Command inittrace links package seccomp and does nothing, to show what the
// package costs at process start.
package main

import "bryo/seccomp"

func main() {
	if seccomp.Default() == nil {
		panic("no default")
	}
}
