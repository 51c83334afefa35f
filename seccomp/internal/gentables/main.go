// Command gentables writes the generated sources of package seccomp: the
// syscall numbers of every ABI (from the tables of golang.org/x/sys/unix) and
// the rules of Docker's default profile (from github.com/moby/profiles/seccomp).
//
// It is run by go generate in the package's folder (or given another) and needs neither network
// nor kernel headers. Start reading at main.
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"log"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	log.SetFlags(0)
	calls, err := readTables()
	if err != nil {
		log.Fatal(err)
	}
	write("syscalls_gen.go", tablesSource(calls))
	write("moby_gen.go", mobySource(calls))
}

// write formats a Go source and puts it into the folder that is the argument,
// else into the current one.
func write(name string, src *bytes.Buffer) {
	out, err := format.Source(src.Bytes())
	if err != nil {
		log.Fatalf("format %s: %v", name, err)
	}
	if err := os.WriteFile(filepath.Join(slices.Concat(os.Args[1:], []string{name})...), out, 0o644); err != nil {
		log.Fatal(err)
	}
	fmt.Println("wrote", name, len(out), "bytes")
}
