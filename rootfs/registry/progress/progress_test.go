package progress

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"bryo/rootfs/reference"
	"bryo/rootfs/registry"
)

var _ registry.Progress = (*View)(nil)

const blobA = "sha256:aaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

type text string

func (t text) String() string { return string(t) }

func TestPlainPull(t *testing.T) {
	var out, err bytes.Buffer
	v := New(Options{Out: &out, Terminal: &err})
	ref, _ := reference.Parse("debian:13")
	v.Pulling(ref)
	v.Waiting(blobA)
	v.Start(blobA, 5_000_000, 1_500_000)
	v.Advance(blobA, 10)
	v.Retry("get blob "+blobA, errors.New("connection reset by peer\x1b[2J"), 1234*time.Millisecond)
	v.Done(blobA, nil)
	v.Extracting(blobA)
	v.Complete(blobA)
	v.Finished(ref, text("sha256:d"), true)
	want := `13: Pulling from library/debian
aaaaaaaaaaaa: Pulling fs layer
aaaaaaaaaaaa: Resuming at 1.5MB of 5MB
get blob sha256:aaaaaaaaaaaa: connection reset by peer[2J; retrying in 1.2s
aaaaaaaaaaaa: Download complete
aaaaaaaaaaaa: Pull complete
`
	if err.String() != want {
		t.Errorf("progress:\n%s\nwant:\n%s", err.String(), want)
	}
	want = "Digest: sha256:d\nStatus: Downloaded newer image for debian:13\ndocker.io/library/debian:13\n"
	if out.String() != want {
		t.Errorf("result:\n%s\nwant:\n%s", out.String(), want)
	}
}

func TestPlainPush(t *testing.T) {
	var out, err bytes.Buffer
	v := New(Options{Out: &out, Terminal: &err})
	ref, _ := reference.Parse("h.x/a:1")
	v.Pushing(ref)
	v.Start(blobA, 5, 5)
	v.Done(blobA, nil)
	v.Pushed(ref, text("sha256:d"), 7)
	if got := err.String(); got != "The push refers to repository [h.x/a]\naaaaaaaaaaaa: Layer already exists\n" {
		t.Errorf("progress:\n%s", got)
	}
	if got := out.String(); got != "1: digest: sha256:d size: 7\n" {
		t.Errorf("result:\n%s", got)
	}
}

func TestQuiet(t *testing.T) {
	var out, err bytes.Buffer
	v := New(Options{Out: &out, Terminal: &err, Quiet: true})
	ref, _ := reference.Parse("debian")
	v.Pulling(ref)
	v.Start(blobA, 5, 0)
	v.Done(blobA, nil)
	v.Finished(ref, text("sha256:d"), false)
	if err.Len() != 0 || out.String() != "docker.io/library/debian:latest\n" {
		t.Errorf("%q %q", err.String(), out.String())
	}
}

// Bars must never keep the program from ending, whatever state they are in.
func TestBarsClose(t *testing.T) {
	b := newBars(&bytes.Buffer{})
	for i, blob := range []string{"sha256:1", "sha256:2", "sha256:3"} {
		b.begin(blob, 100, 0)
		b.stage(blob, "Downloading", false)
		b.add(blob, int64(50*i))
	}
	b.stage("sha256:3", "Pull complete", true)
	ended := make(chan struct{})
	go func() { b.close(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("bars do not end")
	}
}

func TestBytesText(t *testing.T) {
	var got []string
	for _, n := range []int64{0, 999, 1000, 12_345_678, 7_000_000_000} {
		got = append(got, bytesText(n))
	}
	if s := strings.Join(got, " "); s != "0B 999B 1kB 12.35MB 7GB" {
		t.Error(s)
	}
}
