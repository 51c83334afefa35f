package main

// int80 makes a system call of the i386 interface. It returns what the kernel
// leaves in EAX.
func int80(nr, a, b, c uint32) uint32
