// Package progress shows a pull or push as docker does: bars on a terminal,
// plain lines otherwise, nothing when quiet, and docker's closing lines.
//
// Start with New. A View is a registry.Progress, and has methods for the
// stages that only the importer knows (Exists, Extracting, Complete).
// Bars, plain lines, back-off and notes go to Options.Terminal (stderr);
// results that a script may read ("Digest: ...", "Status: ...") to Options.Out.
//
// It leaves out: errors. The caller prints those once, after Close.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/term"

	"bryo/rootfs/reference"
)

// Options say where a View writes.
type Options struct {
	Out      io.Writer // results
	Terminal io.Writer // progress; bars when it is a terminal
	Quiet    bool      // results shrink to the reference, progress to nothing
}

// View shows one pull or push. Its methods may be called from several
// goroutines.
type View struct {
	o     Options
	ref   reference.Reference
	push  bool
	start sync.Once
	bars  *bars // nil: plain lines

	mu     sync.Mutex
	layers map[string]string // digest -> the stage last shown
	closed bool
}

// New is a View that has written nothing yet.
func New(o Options) *View {
	v := &View{o: o, layers: map[string]string{}}
	if f, ok := o.Terminal.(*os.File); ok && f != nil && !o.Quiet && drawable(f) {
		v.bars = newBars(f)
	}
	return v
}

// drawable: a terminal that can move its cursor and says how wide it is.
func drawable(f *os.File) bool {
	if !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return false
	}
	width, height, err := term.GetSize(int(f.Fd()))
	return err == nil && width >= 40 && height >= 3
}

// Pulling names what is pulled. The line appears with the first layer, so that
// a failure before it is one line.
func (v *View) Pulling(ref reference.Reference) { v.ref, v.push = ref, false }

// Pushing names what is pushed.
func (v *View) Pushing(ref reference.Reference) { v.ref, v.push = ref, true }

func (v *View) head() {
	v.start.Do(func() {
		switch {
		case v.ref.Path == "":
		case v.push:
			v.line("The push refers to repository [" + v.ref.Name() + "]")
		default:
			v.line(v.ref.Identifier() + ": Pulling from " + v.ref.Path)
		}
	})
}

// line writes one line of progress, above the bars if there are any.
func (v *View) line(text string) {
	if v.o.Quiet || v.o.Terminal == nil {
		return
	}
	text = printable(text) + "\n"
	if v.bars != nil && v.bars.write(text) {
		return
	}
	_, _ = io.WriteString(v.o.Terminal, text)
}

// stage shows that a layer has come to a stage, once.
func (v *View) stage(blob, stage string, last bool) {
	v.head()
	v.mu.Lock()
	same := v.layers[blob] == stage
	v.layers[blob] = stage
	v.mu.Unlock()
	switch {
	case same:
	case v.bars != nil:
		v.bars.stage(blob, stage, last)
	default:
		v.line(short(blob) + ": " + stage)
	}
}

// Waiting: a layer that is needed, before anything of it moved.
func (v *View) Waiting(blob string) {
	if v.push {
		v.stage(blob, "Preparing", false)
	} else {
		v.stage(blob, "Pulling fs layer", false)
	}
}

// Exists: the store or the registry has the layer.
func (v *View) Exists(blob string) {
	if v.push {
		v.stage(blob, "Layer already exists", true)
	} else {
		v.stage(blob, "Already exists", true)
	}
}

// Extracting: all bytes are here, the layer is being unpacked or synced.
func (v *View) Extracting(blob string) {
	if v.bars != nil { // docker's plain output has no such line
		v.stage(blob, "Extracting", false)
	}
}

// Complete: the layer is in the store.
func (v *View) Complete(blob string) { v.stage(blob, "Pull complete", true) }

// Start implements registry.Progress.
func (v *View) Start(blob string, size, have int64) {
	switch {
	case v.push && have == size:
		v.Exists(blob)
		return
	case v.push:
		v.head()
	default:
		v.Waiting(blob)
	}
	if v.bars != nil {
		v.bars.begin(blob, size, have)
		v.stage(blob, map[bool]string{true: "Pushing", false: "Downloading"}[v.push], false)
	} else if have > 0 && !v.push {
		v.line(fmt.Sprintf("%s: Resuming at %s of %s", short(blob), bytesText(have), bytesText(size)))
	}
}

// Advance implements registry.Progress.
func (v *View) Advance(blob string, n int64) {
	if v.bars != nil {
		v.bars.add(blob, n)
	}
}

// Retry implements registry.Progress.
func (v *View) Retry(what string, cause error, wait time.Duration) {
	v.line(fmt.Sprintf("%s: %v; retrying in %s", shorten(what), cause, wait.Round(100*time.Millisecond)))
}

// Note implements registry.Progress.
func (v *View) Note(line string) { v.line(shorten(line)) }

// Done implements registry.Progress.
func (v *View) Done(blob string, err error) {
	v.mu.Lock()
	stage := v.layers[blob]
	v.mu.Unlock()
	switch {
	case err != nil || stage == "Layer already exists" || stage == "Already exists" || stage == "Pull complete":
	case v.push:
		v.stage(blob, "Pushed", true)
	default:
		v.stage(blob, "Download complete", false)
	}
}

// Finished closes the progress and writes docker's last lines of a pull.
func (v *View) Finished(ref reference.Reference, digest fmt.Stringer, updated bool) {
	v.Close()
	if v.o.Out == nil {
		return
	}
	if v.o.Quiet {
		fmt.Fprintln(v.o.Out, ref)
		return
	}
	status := "Image is up to date for "
	if updated {
		status = "Downloaded newer image for "
	}
	fmt.Fprintf(v.o.Out, "Digest: %s\nStatus: %s%s\n%s\n", digest, status, ref.Familiar(), ref)
}

// Pushed closes the progress and writes docker's last line of a push; size is
// that of the manifest.
func (v *View) Pushed(ref reference.Reference, digest fmt.Stringer, size int64) {
	v.Close()
	if v.o.Out == nil {
		return
	}
	if v.o.Quiet {
		fmt.Fprintln(v.o.Out, ref)
		return
	}
	fmt.Fprintf(v.o.Out, "%s: digest: %s size: %d\n", ref.Identifier(), digest, size)
}

// Close takes the bars down; it may be called twice.
func (v *View) Close() {
	v.mu.Lock()
	closed := v.closed
	v.closed = true
	v.mu.Unlock()
	if !closed && v.bars != nil {
		v.bars.close()
	}
}

// short is the first 12 digits of a digest.
func short(blob string) string {
	_, hex, _ := strings.Cut(blob, ":")
	if len(hex) > 12 {
		hex = hex[:12]
	}
	return hex
}

// shorten cuts whole digests in a line to 12 digits.
func shorten(line string) string {
	const prefix, length = "sha256:", 64
	for from := 0; ; {
		at := strings.Index(line[from:], prefix)
		if at < 0 {
			return line
		}
		from += at + len(prefix)
		if end := from + length; end <= len(line) {
			line = line[:from+12] + line[end:]
		}
	}
}

// printable keeps terminal escapes out of what is shown.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

// bytesText is a size as docker shows it: "12.3MB".
func bytesText(n int64) string {
	value, units := float64(n), []string{"B", "kB", "MB", "GB", "TB"}
	for len(units) > 1 && value >= 1000 {
		value, units = value/1000, units[1:]
	}
	return fmt.Sprintf("%.4g%s", value, units[0])
}
