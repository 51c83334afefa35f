//go:build !amd64

package main

import "syscall"

// int80: other processors have no second interface of this kind.
func int80(nr, a, b, c uint32) uint32 { return -uint32(syscall.ENOSYS) }
