// Package server is the image role.
package server

// Main runs it.
func Main() int { return 125 }
