package image

import (
	"errors"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseConfig(t *testing.T) {
	blob := `{"architecture":"arm64","variant":"v8","os":"linux","author":"me","created":"2024-01-02T03:04:05Z","config":{
		"User":"www","ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin","EMPTY="],"Entrypoint":["/e"],"Cmd":["c"],"Volumes":{"/v":{}},
		"WorkingDir":"w","Labels":{"k":"v"},"StopSignal":"SIGINT","StopTimeout":3,"Shell":["/bin/bash"],"OnBuild":["RUN x"],"ArgsEscaped":true,
		"Healthcheck":{"Test":["CMD","x"],"Interval":1000000000,"StartInterval":5,"Retries":3}},
		"rootfs":{"type":"layers","diff_ids":["sha256:` + strings.Repeat("a", 64) + `"]},"history":[{"created_by":"x","empty_layer":true}]}`
	got, err := ParseConfig([]byte(blob))
	if err != nil {
		t.Fatal(err)
	}
	three := 3
	want := &Config{Run: Run{
		User: "www", ExposedPorts: map[string]struct{}{"80/tcp": {}}, Env: []string{"PATH=/bin", "EMPTY="}, Entrypoint: []string{"/e"}, Cmd: []string{"c"},
		Volumes: map[string]struct{}{"/v": {}}, WorkingDir: "w", Labels: map[string]string{"k": "v"}, StopSignal: "SIGINT", StopTimeout: &three,
		Shell: []string{"/bin/bash"}, OnBuild: []string{"RUN x"}, ArgsEscaped: true,
		Healthcheck: &Healthcheck{Test: []string{"CMD", "x"}, Interval: time.Second, StartInterval: 5, Retries: 3},
	},
		Architecture: "arm64", Variant: "v8", OS: "linux", Author: "me", Created: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC),
		DiffIDs: []string{"sha256:" + strings.Repeat("a", 64)}, History: []History{{CreatedBy: "x", EmptyLayer: true}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.Platform() != "linux/arm64/v8" {
		t.Error(got.Platform())
	}
	again, err := NewBlob(got)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParseConfig(again); err != nil || !reflect.DeepEqual(back, want) {
		t.Errorf("through NewBlob: %+v %v", back, err)
	}
}

func TestParseConfigRefused(t *testing.T) {
	tests := map[string]string{
		"A27 bare variable":   `{"config":{"Env":["AWS_SECRET_ACCESS_KEY"]}}`,
		"A27 star":            `{"config":{"Env":["*"]}}`,
		"A27 NUL":             `{"config":{"Env":["A=b\u0000C=d"]}}`,
		"A27 no name":         `{"config":{"Env":["=x"]}}`,
		"NUL in command":      `{"config":{"Cmd":["a\u0000b"]}}`,
		"NUL in user":         `{"config":{"User":"root\u0000"}}`,
		"A32 digest is path":  `{"rootfs":{"diff_ids":["sha256:../../x"]}}`,
		"A32 short digest":    `{"rootfs":{"diff_ids":["sha256:abc"]}}`,
		"A32 other algorithm": `{"rootfs":{"diff_ids":["md5:` + strings.Repeat("a", 64) + `"]}}`,
		"no JSON":             `{`,
		"wrong type":          `{"config":{"Env":"A=b"}}`,
		"A30 deep":            strings.Repeat("[", 1<<20),
		"A30 large":           `{"author":"` + strings.Repeat("x", MaxJSON) + `"}`,
	}
	for name, blob := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseConfig([]byte(blob)); !errors.Is(err, ErrConfig) {
				t.Errorf("error %v", err)
			} else if strings.Contains(err.Error(), "\x00") {
				t.Errorf("raw NUL in the message %q", err)
			}
		})
	}
}

func TestParseSignal(t *testing.T) {
	good := map[string]syscall.Signal{
		"SIGTERM": 15, "term": 15, "15": 15, "SigKill": 9, "RTMIN": 34, "SIGRTMIN+3": 37, "RTMAX-14": 50, "RTMAX": 64, "64": 64, "IOT": 6, "SYS": 31,
	}
	for text, want := range good {
		if got, err := ParseSignal(text); err != nil || got != want {
			t.Errorf("%s: %d %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "65", "9999999999", "SIGFOO", "SIG", "RTMIN+31", "RTMIN+-1", "RTMINx", "RTMAX+1", "TERM ", "SIGSIGTERM"} {
		var bad *SignalError
		if got, err := ParseSignal(text); !errors.As(err, &bad) {
			t.Errorf("%q: %d %v", text, got, err)
		}
	}
	if signal, err := (&Config{}).StopSignalNumber(); err != nil || signal != syscall.SIGTERM {
		t.Error(signal, err)
	}
}

func TestDir(t *testing.T) {
	for text, want := range map[string]string{"": "/", "/": "/", "app": "/app", "/a/../../b": "/b", "/proc/self/fd/7": "/proc/self/fd/7"} {
		if got, err := (&Config{Run: Run{WorkingDir: text}}).Dir(); err != nil || got != want {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
	var bad *DirError
	if _, err := (&Config{Run: Run{WorkingDir: strings.Repeat("x", 5000)}}).Dir(); !errors.As(err, &bad) {
		t.Error(err)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"config":{"Env":["A=b"],"StopSignal":"RTMIN+1"},"rootfs":{"diff_ids":[]}}`))
	f.Fuzz(func(t *testing.T, blob []byte) {
		config, err := ParseConfig(blob)
		if err != nil {
			return
		}
		for _, entry := range config.Env {
			if !strings.Contains(entry, "=") || strings.Contains(entry, "\x00") {
				t.Errorf("environment entry %q", entry)
			}
		}
		config.StopSignalNumber()
		config.Dir()
	})
}
