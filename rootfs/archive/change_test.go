package archive

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"bryo/rootfs/image"
)

func TestChange(t *testing.T) {
	set := func(keys ...string) map[string]struct{} {
		m := map[string]struct{}{}
		for _, key := range keys {
			m[key] = struct{}{}
		}
		return m
	}
	tests := map[string]struct {
		changes string // one a line
		want    image.Config
	}{
		"CMD, exec form":       {`CMD ["a", "b c"]`, image.Config{Run: image.Run{Cmd: []string{"a", "b c"}}}},
		"CMD, shell form":      {`cmd echo "$HOME"`, image.Config{Run: image.Run{Cmd: []string{"/bin/sh", "-c", `echo "$HOME"`}}}},
		"CMD, broken JSON":     {`CMD ["a"`, image.Config{Run: image.Run{Cmd: []string{"/bin/sh", "-c", `["a"`}}}},
		"ENTRYPOINT drops CMD": {"CMD x\nENTRYPOINT [\"/e\"]", image.Config{Run: image.Run{Entrypoint: []string{"/e"}}}},
		"ENTRYPOINT emptied":   {"ENTRYPOINT []", image.Config{Run: image.Run{Entrypoint: []string{}}}},
		"ENV":                  {`ENV A=b C="d e" F=g\ h`, image.Config{Run: image.Run{Env: []string{"A=b", "C=d e", "F=g h"}}}},
		"ENV, old form":        {"ENV A b c", image.Config{Run: image.Run{Env: []string{"A=b c"}}}},
		"ENV again":            {"ENV A=1 B=2\nENV A=3", image.Config{Run: image.Run{Env: []string{"A=3", "B=2"}}}},
		"ENV empty":            {"ENV A=", image.Config{Run: image.Run{Env: []string{"A="}}}},
		"EXPOSE":               {"EXPOSE 80 53/udp 90-92/TCP", image.Config{Run: image.Run{ExposedPorts: set("80/tcp", "53/udp", "90/tcp", "91/tcp", "92/tcp")}}},
		"LABEL":                {`LABEL a=b "c d"='e f'`, image.Config{Run: image.Run{Labels: map[string]string{"a": "b", "c d": "e f"}}}},
		"ONBUILD":              {"ONBUILD RUN x", image.Config{Run: image.Run{OnBuild: []string{"RUN x"}}}},
		"STOPSIGNAL":           {"STOPSIGNAL SIGRTMIN+3", image.Config{Run: image.Run{StopSignal: "SIGRTMIN+3"}}},
		"USER":                 {"USER www:www", image.Config{Run: image.Run{User: "www:www"}}},
		"VOLUME":               {"VOLUME /a /b\nVOLUME [\"/c d\"]", image.Config{Run: image.Run{Volumes: set("/a", "/b", "/c d")}}},
		"WORKDIR":              {"WORKDIR /a\nWORKDIR b/../c", image.Config{Run: image.Run{WorkingDir: "/a/c"}}},
		"HEALTHCHECK": {"HEALTHCHECK --interval=5s --timeout=1m --start-period=2s --start-interval=1s --retries=3 CMD curl x", image.Config{Run: image.Run{Healthcheck: &image.Healthcheck{
			Test: []string{"CMD-SHELL", "curl x"}, Interval: 5 * time.Second, Timeout: time.Minute, StartPeriod: 2 * time.Second, StartInterval: time.Second, Retries: 3}}}},
		"HEALTHCHECK, exec": {`HEALTHCHECK CMD ["a","b"]`, image.Config{Run: image.Run{Healthcheck: &image.Healthcheck{Test: []string{"CMD", "a", "b"}}}}},
		"HEALTHCHECK NONE":  {"HEALTHCHECK none", image.Config{Run: image.Run{Healthcheck: &image.Healthcheck{Test: []string{"NONE"}}}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got image.Config
			for change := range strings.Lines(test.changes) {
				if err := Change(&got, change); err != nil {
					t.Fatal(err)
				}
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestChangeRefused(t *testing.T) {
	for _, change := range []string{
		"", "RUN x", "FROM x", "COPY a b", "ENV", "ENV A", "ENV =x", "ENV A=\"b", "EXPOSE 0", "EXPOSE 65536", "EXPOSE 70000", "EXPOSE 9-8", "EXPOSE x", "EXPOSE 80/icmp", "EXPOSE",
		"LABEL", "LABEL a", "ONBUILD", "ONBUILD ONBUILD RUN x", "ONBUILD FROM x", "STOPSIGNAL", "STOPSIGNAL SIGFOO", "STOPSIGNAL 70", "USER", "VOLUME", `VOLUME [""]`, "WORKDIR",
		"HEALTHCHECK", "HEALTHCHECK x", "HEALTHCHECK CMD", "HEALTHCHECK NONE x", "HEALTHCHECK --interval=1us CMD x", "HEALTHCHECK --interval=-1s CMD x",
		"HEALTHCHECK --interval=x CMD x", "HEALTHCHECK --retries=-1 CMD x", "HEALTHCHECK --nosuch=1 CMD x", "ENV A=b\x00c",
	} {
		var config image.Config
		if err := Change(&config, change); err == nil {
			t.Errorf("%q: accepted: %+v", change, config)
		}
	}
}

func FuzzChange(f *testing.F) {
	for _, seed := range []string{`CMD ["a"]`, `ENV A="b c" D=e`, "EXPOSE 1-9/udp", "HEALTHCHECK --interval=1s CMD x", `LABEL a='b`, "WORKDIR ../.."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, change string) {
		var config image.Config
		if Change(&config, change) != nil {
			return
		}
		blob, err := image.NewBlob(&config)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := image.ParseConfig(blob); err != nil {
			t.Errorf("%q made a bad configuration: %v", change, err)
		}
	})
}
