// Command worker is the image role as a program of its own, which the binary
// carries (package program): the libraries of registries and of the image store
// take longer to initialise than all else in a start, and no container needs them.
package main

import (
	"io"
	"log"
	"os"

	"bryo/internal/images/server"
)

func main() {
	// net/http logs what a strange server does. Errors are returned, and said once.
	log.SetOutput(io.Discard)
	os.Exit(server.Main())
}
