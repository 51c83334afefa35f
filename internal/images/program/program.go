// Package program carries the program of the image role, built by make from
// package images/worker, and hands it out as a file that can be executed.
package program

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"runtime"

	"bryo/internal/linux"
)

//go:embed all:bin
var programs embed.FS

// Open returns the program in memory. The copy takes some milliseconds.
func Open() (*os.File, error) {
	source, err := programs.Open("bin/images-" + runtime.GOARCH)
	if err != nil {
		return nil, errors.New("image role: not in this build: build bryo with make")
	}
	defer source.Close()
	file, err := linux.SealedProgram("bryo-images", source)
	if err != nil {
		return nil, fmt.Errorf("image role: %w", err)
	}
	return file, nil
}
