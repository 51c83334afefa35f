package integration

import (
	"context"
	"errors"

	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"crypto/tls"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"bryo/integration/fixture"
)

// commands are what scripts may say beyond the language:
//
//	bryo ARG…                    run bryo; ! for any failure
//	code N COMMAND ARG…          run a command and expect exactly this exit code
//	pty FILE COMMAND ARG…        run on a terminal, driven by FILE (pty_test.go)
//	registry NAME [tls] [auth USER:PASSWORD] [push IMAGE…]
//	                             start one more docker-registry; $NAME is its address, $NAME_DIR its folder
//	hostile NAME                 start a misbehaving proxy before the shared registry (package fixture)
//	requests NAME N REGEXP       N requests so far match ("+" for at least one)
//	served NAME PREFIX MAX       at most MAX bytes of blobs were served below PREFIX
//	signal SIGNAL                to the newest command in the background
//	nocontainers                 $BRYO_ROOT/containers is empty
//	within DURATION COMMAND…     repeat a command until it succeeds
//	syscalltable FILE            what the probe's sweep printed is the default profile
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"bryo": runBryo, "code": exitCode, "pty": ptyCommand, "registry": registry, "hostile": hostile,
		"signal": signalBackground, "requests": requests, "served": served, "nocontainers": noContainers, "within": within,
		"syscalltable": syscallTable,
	}
}

func runBryo(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("bryo", args...)
	switch {
	case err == nil && neg:
		ts.Fatalf("bryo succeeded")
	case err != nil && !neg:
		ts.Fatalf("bryo: %v", err)
	case err != nil && !isExit(err):
		ts.Fatalf("bryo did not run: %v", err)
	}
}

// signalBackground sends any signal to the newest background command: the
// language's own kill knows INT and KILL only.
func signalBackground(ts *testscript.TestScript, neg bool, args []string) {
	running := ts.BackgroundCmds()
	if neg || len(args) != 1 || len(running) == 0 {
		ts.Fatalf("usage: signal SIGNAL, after a command in the background")
	}
	ts.Check(running[len(running)-1].Process.Signal(unix.SignalNum(args[0])))
}

func isExit(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit)
}

func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND ARG…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// servers of the running script, by the name of their variable. Scripts of one
// user run one after another.
var (
	hostiles = map[string]*fixture.Hostile{}
)

func registry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: registry NAME [tls] [auth USER:PASSWORD] [push IMAGE…]")
	}
	name := args[0]
	var o fixture.RegistryOptions
	var images []string
	for i := 1; i < len(args); i++ {
		switch args[i] {
		case "tls":
			o.TLS = true
		case "auth":
			i++
			o.Password = args[i]
		case "push":
			images, i = args[i+1:], len(args)
		default:
			ts.Fatalf("registry: what is %s?", args[i])
		}
	}
	r, err := fixture.StartRegistry(filepath.Join(ts.Getenv("WORK"), "registry-"+name), o)
	ts.Check(err)
	ownProcesses = append(ownProcesses, r.PID())
	ts.Defer(r.Stop)
	set := &fixture.Set{Dir: os.Getenv(envFixtures)}
	ts.Check(set.Push(context.Background(), r.Address, client(o), images...))
	ts.Setenv(name, r.Address)
	ts.Setenv(name+"_PORT", r.Address[strings.LastIndexByte(r.Address, ':')+1:])
	ts.Setenv(name+"_DIR", r.Dir)
}

// client for pushing: the certificate is our own, the password is known.
func client(o fixture.RegistryOptions) http.RoundTripper {
	base := remote.DefaultTransport.(*http.Transport).Clone()
	base.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	return authenticated{base, o.Password}
}

type authenticated struct {
	next     http.RoundTripper
	password string
}

func (a authenticated) RoundTrip(r *http.Request) (*http.Response, error) {
	if user, password, ok := strings.Cut(a.password, ":"); ok {
		r = r.Clone(r.Context())
		r.SetBasicAuth(user, password)
	}
	return a.next.RoundTrip(r)
}

func hostile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hostile NAME")
	}
	h, err := fixture.StartHostile(os.Getenv(envRegistry))
	ts.Check(err)
	ts.Defer(h.Stop)
	hostiles[args[0]] = h
	ts.Setenv(args[0], h.Address)
}

func requests(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: requests NAME N|+ REGEXP")
	}
	pattern, err := regexp.Compile(args[2])
	ts.Check(err)
	n := 0
	for _, line := range hostiles[args[0]].Seen() {
		if pattern.MatchString(line) {
			n++
		}
	}
	if args[1] == "+" && n == 0 || args[1] != "+" && strconv.Itoa(n) != args[1] {
		ts.Fatalf("%d requests match %s, want %s:\n%s", n, args[2], args[1], strings.Join(hostiles[args[0]].Seen(), "\n"))
	}
}

func served(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: served NAME PREFIX MAX")
	}
	most, err := strconv.ParseInt(args[2], 10, 64)
	ts.Check(err)
	if n := hostiles[args[0]].Served(args[1]); n > most {
		ts.Fatalf("%d bytes of blobs were served, more than %d", n, most)
	}
}

func noContainers(ts *testscript.TestScript, neg bool, args []string) {
	entries, err := os.ReadDir(filepath.Join(ts.Getenv("BRYO_ROOT"), "containers"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		ts.Fatalf("%v", err)
	}
	if len(entries) > 0 != neg {
		ts.Fatalf("%d containers in $BRYO_ROOT", len(entries))
	}
}

func within(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: within DURATION COMMAND ARG…")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	deadline := time.Now().Add(limit)
	for {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not within %s: %v", limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
