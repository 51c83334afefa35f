package format

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

var images = List{
	Headers: map[string]string{"Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "Created": "CREATED", "Size": "SIZE", "Labels": "LABELS"},
	Table:   "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.Created}}\t{{.Size}}",
}

func rows() []Row {
	return []Row{
		{"Repository": "debian", "Tag": "latest", "ID": "0123456789ab", "Created": "3 weeks ago", "Size": "124MB",
			"Labels": Labels{"org.example.build-name": "x<y", "a": "b"}},
		{"Repository": "localhost:5000/team/a-longer-name", "Tag": "1", "ID": "ffffffffffff", "Created": "N/A", "Size": "0B", "Labels": Labels(nil)},
		{"Repository": "evil\x1b[2Jname", "Tag": "a\tb\nc", "ID": "eeeeeeeeeeee", "Created": "\u202eago", "Size": "\xff", "Labels": Labels{"k": "\a"}},
	}
}

func TestListGolden(t *testing.T) {
	for _, c := range []struct {
		name, format string
		quiet        bool
	}{
		{"default", "", false},
		{"table", "table", false},
		{"quiet", "", true},
		{"quiet-table", "table", true},
		{"json", "json", false},
		{"own-table", `table {{.ID}}\t{{upper .Tag}}\t{{.Label "org.example.build-name"}}`, false},
		{"table-functions", `table {{truncate .ID 3}}\t{{json .Tag}}\t{{pad .Size 1 2}}|`, false},
		{"template", `{{.Repository}}:{{.Tag}}\t{{.Labels}}`, false},
		{"template-json", "{{json .}}", false},
		{"template-with-quiet", "{{.Size}}", true},
		{"println", "{{println .ID .Tag}}", false},
		{"functions", `{{lower "ABC"}} {{title "a bc d"}} {{join (split .Size "") "-"}} {{padlen .ID 14}}|{{pad "" 2 2}}|{{truncate "äöü" 2}}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := images.Write(&out, c.format, c.quiet, rows()); err != nil {
				t.Fatal(err)
			}
			golden(t, c.name, out.Bytes())
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	// What is no text: one JSON package writes the sign, the other its number.
	got = bytes.ReplaceAll(got, []byte("\":\"\ufffd\""), []byte(`":"\ufffd"`))
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestListEmpty(t *testing.T) {
	for _, c := range []struct {
		name, format, want string
		quiet              bool
	}{
		{"table", "", "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n", false},
		{"quiet", "", "", true},
		{"json", "json", "", false},
		{"template", "{{.ID}}", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			if err := images.Write(&out, c.format, c.quiet, nil); err != nil || out.String() != c.want {
				t.Errorf("got %q, %v", out.String(), err)
			}
		})
	}
}

func TestListErrors(t *testing.T) {
	for _, c := range []struct{ name, format, want string }{
		{"unclosed", "{{.ID", "failed to parse template"},
		{"unknown column", "{{.Nope}}", `map has no entry for key "Nope"`},
		{"unknown column in a table", "table {{.Nope}}", `map has no entry for key "Nope"`},
		{"unknown function", "{{nope .ID}}", `function "nope" not defined`},
		{"join of a string", `{{join .ID ","}}`, "is not a list"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			err := images.Write(&out, c.format, false, rows())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v", err)
			}
			if out.Len() > 0 {
				t.Errorf("wrote %q before the error", out.String())
			}
		})
	}
}

type item struct {
	ID     string `json:"Id"`
	Size   int64
	Config struct {
		Labels map[string]string
		Cmd    []string
	}
}

func items() []any {
	var a item
	a.ID, a.Size = "sha256:aa", 1<<53+1
	a.Config.Labels = map[string]string{"k": "<v>"}
	a.Config.Cmd = []string{"sh", "-c", "a && b"}
	return []any{a, map[string]any{"Id": "x", "Size": 3}}
}

func TestInspect(t *testing.T) {
	one := items()[:1]
	for _, c := range []struct {
		name, format string
		items        []any
		want         string
	}{
		{"array", "", items()[1:], "[\n    {\n        \"Id\": \"x\",\n        \"Size\": 3\n    }\n]\n"},
		{"nothing", "", nil, "[]\n"},
		{"json", "json", items()[1:], "[{\"Id\":\"x\",\"Size\":3}]\n"},
		{"go name", "{{.ID}}", one, "sha256:aa\n"},
		{"json name", "{{.Id}}", one, "sha256:aa\n"},
		{"json name keeps digits", "{{.Id}} {{.Size}}", one, "sha256:aa 9007199254740993\n"},
		{"two items", "{{.Size}}", items(), "9007199254740993\n3\n"},
		{"json of a part", "{{json .Config.Cmd}}", one, "[\"sh\",\"-c\",\"a && b\"]\n"},
		{"missing label", "{{.Config.Labels.none}}", one, "<no value>\n"},
		{"index", `{{index .Config.Labels "k"}}`, one, "<v>\n"},
		{"join of decoded", `{{.Id}}{{join .Config.Cmd " "}}`, one, "sha256:aash -c a && b\n"},
		{"missing key of a map", "{{.None}}", items()[1:], "<no value>\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			if err := Inspect(&out, c.format, c.items); err != nil || out.String() != c.want {
				t.Errorf("got %q, %v; want %q", out.String(), err, c.want)
			}
		})
	}
	var out strings.Builder
	if err := Inspect(&out, "{{.Nope}}", one); err == nil || out.Len() > 0 {
		t.Errorf("unknown field: %v, wrote %q", err, out.String())
	}
	if err := Inspect(failing{}, "", one); err == nil {
		t.Error("a write error was lost")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestCell(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "web-1 ünïcode 🎉", "web-1 ünïcode 🎉"},
		{"joined emoji", "👩\u200d💻", "👩\u200d💻"},
		{"escape", "a\x1b]0;title\x07b", `a\x1b]0;title\ab`},
		{"c1", "a\u009b2Jb", `a\u009b2Jb`},
		{"invalid utf-8", "a\x9b2J\xff", `a\x9b2J\xff`},
		{"right to left", "a\u202egpj.exe", `a\u202egpj.exe`},
		{"line break", "a\nb\r\tc", `a\nb\r\tc`},
		{"line separator", "a\u2028b", `a\u2028b`},
		{"delete", "a\x7f", `a\x7f`},
		{"zero width", "a\u200bb", `a\u200bb`},
		{"empty", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Cell(c.in); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func FuzzCell(f *testing.F) {
	f.Add("a\x1b[31m\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range Cell(s) {
			if hostile(r) {
				t.Fatalf("%q -> %q", s, Cell(s))
			}
		}
	})
}

func TestHumanForms(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ name, got, want string }{
		{"bytes", Size(0), "0B"},
		{"kilo", Size(4_200), "4.2kB"},
		{"three digits", Size(72_893_000), "72.9MB"},
		{"giga", Size(1_234_000_000), "1.23GB"},
		{"now", Ago(now, now), "Less than a second ago"},
		{"clock behind", Ago(now.Add(time.Minute), now), "Less than a second ago"},
		{"seconds", Ago(now.Add(-5*time.Second), now), "5 seconds ago"},
		{"a minute", Ago(now.Add(-70*time.Second), now), "About a minute ago"},
		{"weeks", Ago(now.Add(-22*24*time.Hour), now), "3 weeks ago"},
		{"no date", Ago(time.Time{}, now), "N/A"},
		{"the epoch", Ago(time.Unix(0, 0), now), "N/A"},
		{"id", ShortID("sha256:0123456789abcdef"), "0123456789ab"},
		{"bare id", ShortID("0123456789abcdef"), "0123456789ab"},
		{"short id", ShortID("0123"), "0123"},
		{"command", Ellipsis("\"sleep infinity and more\"", 20), "\"sleep infinity and…"},
		{"short command", Ellipsis("ls", 20), "ls"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, c.got, c.want)
		}
	}
}
