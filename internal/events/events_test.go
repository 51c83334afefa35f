package events

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bryo/internal/format"
)

// TestMain lets a test append from processes of their own.
func TestMain(m *testing.M) {
	if root := os.Getenv("EVENTS_TEST_ROOT"); root != "" {
		n, _ := strconv.Atoi(os.Getenv("EVENTS_TEST_COUNT"))
		for i := range n {
			Append(root, sized(os.Getenv("EVENTS_TEST_NAME"), i, 500))
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// sized is an event whose line has a length, about.
func sized(name string, i, length int) Event {
	return Event{Type: Container, Action: "start", Actor: Actor{ID: fmt.Sprintf("%s-%d", name, i),
		Attributes: map[string]string{"name": name, "pad": strings.Repeat("x", length-200)}}}
}

func at(second int64) time.Time { return time.Unix(1_700_000_000+second, 0) }

func event(second int64, kind, action, id string, attributes ...string) Event {
	e := Event{Type: kind, Action: action, Actor: Actor{ID: id, Attributes: map[string]string{}}, TimeNano: at(second).UnixNano()}
	for _, a := range attributes {
		key, value, _ := strings.Cut(a, "=")
		e.Actor.Attributes[key] = value
	}
	return e
}

func ids(t *testing.T, root string, o Options) string {
	t.Helper()
	var all []string
	err := Read(t.Context(), root, o, func(e *Event) error {
		all = append(all, e.Actor.ID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestMentions(t *testing.T) {
	root := t.TempDir()
	for i, id := range []string{"one", "two", "one-and-a-half", "three", "one"} {
		Append(root, event(int64(i), Container, "start", id))
	}
	o := Options{Since: at(1), Until: at(10), Mentions: "one"}
	if got, want := ids(t, root, o), "one-and-a-half one"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	o.Mentions = "four"
	if got := ids(t, root, o); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestAppendedLine(t *testing.T) {
	root := t.TempDir()
	e := event(1, Container, "start", "abc", "image=a<b", "name=web")
	e.TimeNano += 5
	Append(root, e)
	Append(root, event(2, Volume, "create", "data", "driver=local"))
	got, err := os.ReadFile(filepath.Join(root, "events", "events.log"))
	if err != nil {
		t.Fatal(err)
	}
	want := `
{"status":"start","id":"abc","from":"a<b","Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"image":"a<b","name":"web"}},"scope":"local","time":1700000001,"timeNano":1700000001000000005}

{"Type":"volume","Action":"create","Actor":{"ID":"data","Attributes":{"driver":"local"}},"scope":"local","time":1700000002,"timeNano":1700000002000000000}
`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for path, want := range map[string]os.FileMode{"events": 0o700, "events/events.log": 0o600} {
		info, err := os.Stat(filepath.Join(root, path))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestPrint(t *testing.T) {
	zone := time.Local
	time.Local = time.FixedZone("", 3600)
	defer func() { time.Local = zone }()
	e := event(0, Container, "exec_create: sh", "abc", "name=web", "image=debian", "evil=\x1b[2J")
	e.TimeNano += 120_000_000
	e.complete(time.Now())
	plain := event(0, Network, "create", "n1")
	for _, test := range []struct {
		name, format, want string
		event              Event
	}{
		{"text", "", "2023-11-14T23:13:20.120000000+01:00 container exec_create: sh abc (evil=\\x1b[2J, image=debian, name=web)\n", e},
		{"text without attributes", "", "2023-11-14T23:13:20.000000000+01:00 network create n1\n", plain},
		{"template", "{{.Type}} {{.Actor.Attributes.name}} {{.Time}}", "container web 1700000000\n", e},
		{"json", "json", `{"Type":"network","Action":"create","Actor":{"ID":"n1","Attributes":{}},"timeNano":1700000000000000000}` + "\n", plain},
		{"json function", "{{json .Actor}}", `{"ID":"n1","Attributes":{}}` + "\n", plain},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := Print(&out, test.format, &test.event); err != nil || out.String() != test.want {
				t.Errorf("got  %q, %v\nwant %q", out.String(), err, test.want)
			}
		})
	}
	if err := Print(&bytes.Buffer{}, "{{.Nope}}", &e); err == nil {
		t.Error("a field that is not there was taken")
	}
}

func TestFilters(t *testing.T) {
	web := event(0, Container, "start", "abcdef", "name=web", "image=debian:12", "app=shop", "tier=front")
	exec := event(0, Container, "exec_create: sh", "abcdef", "name=web", "image=debian:12")
	pull := event(0, Image, "pull", "localhost:5000/debian:12", "name=localhost:5000/debian")
	volume := event(0, Volume, "create", "data", "driver=local")
	for _, e := range []*Event{&web, &exec, &pull, &volume} {
		e.complete(time.Now())
	}
	all := map[string]*Event{"web": &web, "exec": &exec, "pull": &pull, "volume": &volume}
	for _, test := range []struct{ filters, want string }{
		{"", "exec pull volume web"},
		{"container=web", "exec web"},
		{"container=abc", "exec web"},
		{"container=we", "exec web"},
		{"container=eb", ""},
		{"volume=data", "volume"},
		{"type=image", "pull"},
		{"type=image type=volume", "pull volume"},
		{"event=start", "web"},
		{"event=exec_create", "exec"},
		{"event=exec_creat", ""},
		{"event=star", ""},
		{"event=exec_create event=start", "exec web"},
		{"image=debian:12", "exec web"},
		{"image=debian", "exec web"},
		{"image=localhost:5000/debian", "pull"},
		{"image=deb", ""},
		{"label=app", "web"},
		{"label=app=shop label=tier=front", "web"},
		{"label=app=other", ""},
		{"scope=local", "exec pull volume web"},
		{"scope=swarm", ""},
		{"container=web event=start", "web"},
		{"node=x", ""},
	} {
		t.Run(test.filters, func(t *testing.T) {
			filters, err := ParseFilters(strings.Fields(test.filters))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, name := range []string{"exec", "pull", "volume", "web"} {
				if Match(filters, all[name]) {
					got = append(got, name)
				}
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %v, want %s", got, test.want)
			}
		})
	}
	if _, err := ParseFilters([]string{"foo=bar"}); err == nil || err.Error() != "invalid filter 'foo'" {
		t.Errorf("unknown key: %v", err)
	}
}

func TestReadPast(t *testing.T) {
	root := t.TempDir()
	for _, i := range []int64{1, 3, 2, 4} { // the order of the lines is not that of the times
		Append(root, event(i, Container, "start", fmt.Sprint(i)))
	}
	for _, test := range []struct {
		name         string
		since, until time.Time
		want         string
	}{
		{"all", at(0), at(9), "1 2 3 4"},
		{"since", at(2), at(9), "2 3 4"},
		{"until", at(0), at(2), "1 2"},
		{"none without since", time.Time{}, at(9), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := ids(t, root, Options{Since: test.since, Until: test.until}); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	filters := format.Filters{"container": {"3"}}
	if got := ids(t, root, Options{Since: at(0), Until: at(9), Filters: filters}); got != "3" {
		t.Errorf("filtered: %s", got)
	}
}

func TestReadWithoutJournal(t *testing.T) {
	if got := ids(t, filepath.Join(t.TempDir(), "none"), Options{Since: at(0), Until: at(1)}); got != "" {
		t.Errorf("got %s", got)
	}
}

func TestTornLine(t *testing.T) {
	root := t.TempDir()
	Append(root, event(1, Container, "start", "a"))
	path := filepath.Join(root, "events", "events.log")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, "\n{\"status\":\"sta\x00")
	f.Close()
	Append(root, event(2, Container, "start", "b"))
	if got := ids(t, root, Options{Since: at(0), Until: at(9)}); got != "a b" {
		t.Errorf("got %s", got)
	}
}

func TestLongEvent(t *testing.T) {
	e := event(1, Container, "start", "abc", "name=web", "image=debian", "exitCode=0")
	for i := range 10 {
		e.Actor.Attributes[fmt.Sprintf("label%d", i)] = strings.Repeat(`"`, 300*(i+1))
	}
	e.complete(time.Now())
	line, ok := e.encode()
	if !ok || len(line) > maxLine || bytes.Count(line, []byte{'\n'}) != 2 {
		t.Fatalf("%d bytes, %v", len(line), ok)
	}
	var got Event
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"name", "image", "exitCode", "label0"} {
		if got.Actor.Attributes[key] != e.Actor.Attributes[key] {
			t.Errorf("%s was left out", key)
		}
	}
	if len(e.Actor.Attributes) != 13 {
		t.Error("the caller's event was changed")
	}
	e.Actor.ID = strings.Repeat("x", maxLine)
	if _, ok := e.encode(); ok {
		t.Error("an event that cannot be shortened was taken")
	}
}

func TestAppendCannotFail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	Append(file, event(1, Container, "start", "a")) // below a file
	Append("/proc/none", event(1, Container, "start", "a"))
}

func TestFollow(t *testing.T) {
	root := filepath.Join(t.TempDir(), "none yet")
	Append(root, event(1, Container, "start", "past"))
	got := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- Read(ctx, root, Options{}, func(e *Event) error {
			got <- e.Actor.ID
			return nil
		})
	}()
	time.Sleep(50 * time.Millisecond)
	for i := range 3 {
		start := time.Now()
		Append(root, Event{Type: Container, Action: "start", Actor: Actor{ID: fmt.Sprint(i)}})
		select {
		case id := <-got:
			if took := time.Since(start); id != fmt.Sprint(i) || took > 300*time.Millisecond {
				t.Errorf("got %s after %v", id, took)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("nothing came")
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestUntilInTheFuture(t *testing.T) {
	root := t.TempDir()
	start := time.Now()
	go func() {
		time.Sleep(20 * time.Millisecond)
		Append(root, Event{Type: Image, Action: "pull", Actor: Actor{ID: "x"}})
	}()
	got := ids(t, root, Options{Until: start.Add(150 * time.Millisecond)})
	if took := time.Since(start); got != "x" || took < 140*time.Millisecond || took > 3*time.Second {
		t.Errorf("got %q after %v", got, took)
	}
}

func TestReaderErrorEndsReading(t *testing.T) {
	root := t.TempDir()
	Append(root, event(1, Container, "start", "a"))
	err := Read(t.Context(), root, Options{Since: at(0)}, func(*Event) error { return os.ErrClosed })
	if err != os.ErrClosed {
		t.Errorf("got %v", err)
	}
}

// TestManyWriters: processes append at once across a rotation; a reader gets
// each event once, and the files hold no torn line and stay small.
func TestManyWriters(t *testing.T) {
	const writers, each = 4, 900 // together 1.8 MB: one rotation, nothing is dropped
	root := t.TempDir()
	var mu sync.Mutex
	seen := map[string]int{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- Read(ctx, root, Options{Since: at(0)}, func(e *Event) error {
			mu.Lock()
			defer mu.Unlock()
			seen[e.Actor.ID]++
			return nil
		})
	}()
	var children []*exec.Cmd
	for i := range writers {
		child := exec.Command(os.Args[0], "-test.run=^$")
		child.Env = append(os.Environ(), "EVENTS_TEST_ROOT="+root, fmt.Sprint("EVENTS_TEST_COUNT=", each), fmt.Sprint("EVENTS_TEST_NAME=w", i))
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		children = append(children, child)
	}
	for _, c := range children {
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if past := ids(t, root, Options{Since: at(0), Until: time.Now()}); len(strings.Fields(past)) != writers*each {
		t.Errorf("%d events in the files, want %d", len(strings.Fields(past)), writers*each)
	}
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		mu.Lock()
		n := len(seen)
		mu.Unlock()
		if n == writers*each || time.Since(start) > 5*time.Second {
			break
		}
	}
	cancel()
	<-done
	if len(seen) != writers*each {
		t.Errorf("%d events followed, want %d", len(seen), writers*each)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
	for _, name := range []string{fileName, oldName} {
		info, err := os.Stat(filepath.Join(folder(root), name))
		if err != nil || info.Size() > maxSize+maxLine*writers {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestRotationKeepsTwoFiles(t *testing.T) {
	root := t.TempDir()
	last := ""
	for i := range 1000 {
		e := sized("x", i, 4000)
		Append(root, e)
		last = e.Actor.ID
	}
	entries, _ := os.ReadDir(folder(root))
	var size int64
	for _, e := range entries {
		info, _ := e.Info()
		size += info.Size()
	}
	if len(entries) != 3 || size > 2*(maxSize+maxLine) || size < maxSize {
		t.Errorf("%v with %d bytes", entries, size)
	}
	got := strings.Fields(ids(t, root, Options{Since: at(0), Until: time.Now()}))
	if len(got) < 250 || got[len(got)-1] != last {
		t.Errorf("%d events kept", len(got))
	}
}

func BenchmarkAppend(b *testing.B) {
	root := b.TempDir()
	for b.Loop() {
		Append(root, event(1, Container, "start", strings.Repeat("ab", 32), "name=web", "image=debian:12"))
	}
}

// FuzzRead: a journal may hold anything.
func FuzzRead(f *testing.F) {
	f.Add([]byte("\n{\"Type\":\"container\",\"timeNano\":1}\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		root := t.TempDir()
		os.Mkdir(folder(root), 0o700)
		os.WriteFile(filepath.Join(folder(root), fileName), content, 0o600)
		Append(root, event(1, Container, "start", "after"))
		found := false
		err := Read(t.Context(), root, Options{Since: time.Unix(-1<<62, 0), Until: at(2)}, func(e *Event) error {
			found = found || e.Actor.ID == "after"
			_ = e.String()
			return nil
		})
		if err != nil || !found {
			t.Errorf("found %v, %v", found, err)
		}
	})
}

// The line is written by hand: it must be what encoding/json writes.
func TestEventLine(t *testing.T) {
	for _, e := range []Event{
		{},
		{Type: Container, Action: "start", Actor: Actor{ID: "1", Attributes: map[string]string{}}},
		{
			Status: "die", ID: "2", From: "a<b>&\u2028", Type: Container, Action: "die", Scope: "local", Time: 1, TimeNano: 2,
			Actor: Actor{ID: "2", Attributes: map[string]string{"z": "1", "a": "\"\\\t", "exitCode": "0", "m<": ""}},
		},
	} {
		var want bytes.Buffer
		encoder := json.NewEncoder(&want)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(&e); err != nil {
			t.Fatal(err)
		}
		got, err := marshal(&e)
		if err != nil || string(got) != want.String() {
			t.Errorf("%+v is written as %q, %v; encoding/json writes %q", e, got, err, want.String())
		}
	}
}
