package credential

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func auth(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func files(t *testing.T, contents ...string) Files {
	t.Helper()
	var f Files
	dir := t.TempDir()
	for i, c := range contents {
		path := filepath.Join(dir, fmt.Sprint(i), "auth.json")
		f.Search = append(f.Search, path)
		f.Write = path
		if c == "" {
			continue
		}
		_ = os.MkdirAll(filepath.Dir(path), 0o700)
		if err := os.WriteFile(path, []byte(c), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestLookup(t *testing.T) {
	f := files(t, `{"auths":{
		"h.x":{"auth":"`+auth("host:p")+`"},
		"h.x/team":{"auth":"`+auth("team:p")+`"},
		"h.x/team/app":{"auth":"`+auth("app:p")+`"},
		"https://index.docker.io/v1/":{"auth":"`+auth("hub:p")+`"},
		"https://old.x/v2/":{"auth":"`+strings.TrimRight(auth("old:p:q"), "=")+`"},
		"plain.x:5000":{"username":"plain","password":"p"},
		"nul.x":{"auth":"`+auth("nul:p\x00\x00")+`"},
		"id.x":{"auth":"`+auth("id:")+`","identitytoken":"tok"},
		"reg.x":{"registrytoken":"bearer"},
		"empty.x":{}
	}}`, `{"auths":{"h.x":{"auth":"`+auth("second:p")+`"},"empty.x":{"auth":"`+auth("second:p")+`"}}}`)
	for name, want := range map[string]Credential{
		"h.x/a":                    {Username: "host", Password: "p"},
		"h.x":                      {Username: "host", Password: "p"},
		"h.x/team":                 {Username: "team", Password: "p"},
		"h.x/team/b":               {Username: "team", Password: "p"},
		"h.x/team/app":             {Username: "app", Password: "p"},
		"h.x/teamster":             {Username: "host", Password: "p"},
		"docker.io/library/debian": {Username: "hub", Password: "p"},
		"old.x/a":                  {Username: "old", Password: "p:q"},
		"plain.x:5000/a":           {Username: "plain", Password: "p"},
		"nul.x/a":                  {Username: "nul", Password: "p"},
		"id.x/a":                   {Username: "id", IdentityToken: "tok"},
		"reg.x/a":                  {RegistryToken: "bearer"},
		"empty.x/a":                {Username: "second", Password: "p"},
		"other.x/a":                {},
		"h.xy/a":                   {},
		"sub.h.x/a":                {},
		"plain.x/a":                {},
	} {
		got, _, err := f.Lookup(name)
		if err != nil || got != want {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
}

func TestBadFiles(t *testing.T) {
	const secret = "aHVudGVyMg"
	for _, text := range []string{`{"auths":{"h.x":{"auth":"` + secret + `"`, `{"auths":{"h.x":{"auth":"` + secret + `!"}}}`, `{"auths":{"h.x":{"auth":"` + auth("nocolon") + `"}}}`,
		`{"auths":"` + secret + `"}`, `[]`, `{"auths":{"h.x":"` + secret + `"}}`, `{"credsStore":{"x":"` + secret + `"}}`} {
		_, _, err := files(t, text).Lookup("h.x/a")
		if err == nil || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if c, _, err := files(t, " \n").Lookup("h.x"); err != nil || !c.IsZero() {
		t.Errorf("empty file: %v %v", c, err)
	}
}

// Store keeps everything else, writes 0600, follows a link, and goes where an
// older entry would shadow the new one.
func TestStore(t *testing.T) {
	f := files(t, `{"auths":{"shadow.x":{"auth":"`+auth("old:p")+`"}}}`, `{"HttpHeaders":{"X":"1"},"auths":{"keep.x":{"auth":"`+auth("keep:p")+`"},"http://h.x/v1/":{"auth":"`+auth("old:p")+`"}},"psFormat":"x"}`)
	_ = os.Chmod(f.Search[1], 0o644)
	if s, err := f.Store("h.x", Credential{Username: "new", Password: "p"}); err != nil || s.File != f.Search[1] || !s.Plain() {
		t.Fatalf("%+v %v", s, err)
	}
	if s, err := f.Store("shadow.x", Credential{Username: "new", Password: "p"}); err != nil || s.File != f.Search[0] {
		t.Fatalf("%+v %v", s, err)
	}
	var got struct {
		Auths       map[string]entry
		HttpHeaders map[string]string
		PsFormat    string
	}
	data, _ := os.ReadFile(f.Search[1])
	if err := json.Unmarshal(data, &got); err != nil || len(got.Auths) != 2 || got.HttpHeaders["X"] != "1" || got.PsFormat != "x" {
		t.Errorf("%s %v", data, err)
	}
	if info, _ := os.Stat(f.Search[1]); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	for _, name := range []string{"h.x", "shadow.x"} {
		if c, _, _ := f.Lookup(name); c.Username != "new" {
			t.Errorf("%s: %v", name, c)
		}
	}
	if c, _, _ := f.Lookup("keep.x"); c.Username != "keep" {
		t.Error("another entry is gone")
	}
	link := filepath.Join(t.TempDir(), "config.json")
	_ = os.Symlink(f.Search[1], link)
	if _, err := (Files{Search: []string{link}, Write: link}).Store("l.x", Credential{Username: "l", Password: "p"}); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Lstat(link); info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
	if c, _, _ := f.Lookup("l.x"); c.Username != "l" {
		t.Error("not stored behind the link")
	}
}

func TestStoreNew(t *testing.T) {
	f := files(t, "")
	// What a killed login left is not kept.
	_ = os.MkdirAll(filepath.Dir(f.Write), 0o700)
	_ = os.WriteFile(filepath.Join(filepath.Dir(f.Write), ".bryo-"+filepath.Base(f.Write)), []byte("secret"), 0o644)
	if _, err := f.Store("docker.io", Credential{Username: "u", Password: "p"}); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(f.Write)
	if !strings.Contains(string(data), hubKey) {
		t.Errorf("%s", data)
	}
	for path, want := range map[string]os.FileMode{f.Write: 0o600, filepath.Dir(f.Write): 0o700} {
		if info, _ := os.Stat(path); info.Mode().Perm() != want {
			t.Errorf("%s is %v", path, info.Mode())
		}
	}
	if left, _ := filepath.Glob(filepath.Dir(f.Write) + "/.*"); len(left) > 0 {
		t.Error(left)
	}
	if _, err := (Files{}).Store("h.x", Credential{}); err == nil {
		t.Error("stored nowhere")
	}
}

// Two logins at once keep both entries.
func TestStoreAtOnce(t *testing.T) {
	f := files(t, "")
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			if _, err := f.Store(fmt.Sprintf("h%d.x", i), Credential{Username: "u", Password: "p"}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for i := range 20 {
		if c, _, err := f.Lookup(fmt.Sprintf("h%d.x", i)); c.IsZero() || err != nil {
			t.Errorf("h%d.x: %v %v", i, c, err)
		}
	}
}

func TestErase(t *testing.T) {
	f := files(t, `{"auths":{"h.x":{"auth":"`+auth("a:p")+`"},"h.x/team":{"auth":"`+auth("t:p")+`"}}}`, `{"auths":{"https://h.x/v1/":{"auth":"`+auth("b:p")+`"}}}`)
	if found, err := f.Erase("h.x"); !found || err != nil {
		t.Errorf("%v %v", found, err)
	}
	if c, _, _ := f.Lookup("h.x"); !c.IsZero() {
		t.Errorf("still %v", c)
	}
	if c, _, _ := f.Lookup("h.x/team"); c.Username != "t" {
		t.Errorf("namespace: %v", c)
	}
	if found, err := f.Erase("h.x"); found || err != nil {
		t.Errorf("%v %v", found, err)
	}
}

// helper installs docker-credential-test, a program that keeps secrets in a
// folder and remembers how it was called.
func helper(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	script := `#!/bin/sh
dir=` + dir + `
input=$(cat)
echo "$* $input" >>$dir/log
case $1 in
get) name=$(printf %s "$input" | tr / _); [ -f $dir/$name ] && cat $dir/$name || { echo "credentials not found in native keychain"; exit 1; } ;;
store) name=$(printf %s "$input" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/' | tr / _); printf %s "$input" >$dir/$name ;;
erase) name=$(printf %s "$input" | tr / _); rm $dir/$name ;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-test"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

func TestHelper(t *testing.T) {
	dir := helper(t)
	for _, text := range []string{`{"credsStore":"test"}`, `{"credHelpers":{"h.x":"test","docker.io":"test"}}`} {
		f := files(t, text)
		for _, c := range []Credential{{Username: "u", Password: "p"}, {IdentityToken: "tok"}} {
			s, err := f.Store("h.x", c)
			if err != nil || s.Plain() || s.Helper != "test" {
				t.Fatalf("%+v %v", s, err)
			}
			if data, _ := os.ReadFile(f.Write); strings.Contains(string(data), auth("u:p")) || strings.Contains(string(data), "tok") {
				t.Errorf("the secret is in the file: %s", data)
			}
			if got, _, err := f.Lookup("h.x/a/b"); err != nil || got != c {
				t.Errorf("%+v %v", got, err)
			}
		}
		if found, err := f.Erase("h.x"); !found || err != nil {
			t.Errorf("%v %v", found, err)
		}
		if got, _, err := f.Lookup("h.x"); err != nil || !got.IsZero() {
			t.Errorf("%+v %v", got, err)
		}
		if _, err := f.Store("docker.io", Credential{Username: "u", Password: "p"}); err != nil {
			t.Fatal(err)
		}
	}
	log, _ := os.ReadFile(filepath.Join(dir, "log"))
	if !strings.Contains(string(log), `"ServerURL":"https://index.docker.io/v1/"`) {
		t.Errorf("%s", log)
	}
	for _, line := range strings.Split(string(log), "\n") {
		if words := strings.Fields(line); len(words) > 0 && words[0] != "get" && words[0] != "store" && words[0] != "erase" {
			t.Errorf("a secret in the arguments? %q", line)
		}
	}
}

func TestBadHelper(t *testing.T) {
	dir := t.TempDir()
	_ = os.WriteFile(filepath.Join(dir, "docker-credential-leak"), []byte("#!/bin/sh\ncat; echo hunter2; exit 3\n"), 0o755)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for helper, want := range map[string]string{"../evil": "invalid name", "a b": "invalid name", "missing": "not found in $PATH", "leak": "docker-credential-leak"} {
		raw, _ := json.Marshal(map[string]any{"credsStore": helper})
		f := files(t, string(raw))
		_, _, err := f.Lookup("h.x")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", helper, err)
		}
		_, err2 := f.Store("h.x", Credential{Username: "u", Password: "hunter2"})
		if text := fmt.Sprint(err, err2); strings.Contains(text, "hunter2") {
			t.Errorf("%s: %s", helper, text)
		}
	}
}

func TestDefaultFiles(t *testing.T) {
	for _, name := range []string{"REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", "/home/u")
	if got := DefaultFiles(7); fmt.Sprint(got) != "{[/run/containers/7/auth.json /home/u/.config/containers/auth.json /home/u/.docker/config.json] /home/u/.docker/config.json}" {
		t.Error(got)
	}
	runtime := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	t.Setenv("XDG_CONFIG_HOME", "relative")
	t.Setenv("DOCKER_CONFIG", "/d")
	if got := DefaultFiles(7); fmt.Sprint(got) != "{["+runtime+"/containers/auth.json /home/u/.config/containers/auth.json /d/config.json] /d/config.json}" {
		t.Error(got)
	}
	// A runtime folder of another user, or none: podman's other place.
	for _, foreign := range []string{"/nonexistent", foreignDir(t)} {
		t.Setenv("XDG_RUNTIME_DIR", foreign)
		if got := DefaultFiles(7).Search[0]; got != "/run/containers/7/auth.json" {
			t.Errorf("%s: %s", foreign, got)
		}
	}
	t.Setenv("REGISTRY_AUTH_FILE", "/only")
	if got := DefaultFiles(7); fmt.Sprint(got) != "{[/only] /only}" {
		t.Error(got)
	}
}

// foreignDir belongs to somebody else.
func foreignDir(t *testing.T) string {
	if os.Geteuid() != 0 {
		return "/"
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 1, 1); err != nil {
		t.Fatal(err)
	}
	return dir
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"auths":{"h.x":{"auth":"YTpi"}},"credHelpers":{"a":"b"},"credsStore":"c"}`), "h.x/a")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		file, err := parse(data)
		if err != nil {
			return
		}
		file.CredsStore, file.CredHelpers = "", nil // start no programs
		_, _, _ = file.lookup(normalize(name))
		file.set(normalize(name), newEntry(Credential{Username: "u", Password: "p"}))
		if c, _, err := file.lookup(normalize(name)); err != nil || c.Username != "u" {
			t.Errorf("%q: %v %v", name, c, err)
		}
		file.remove(normalize(name))
		if _, ok := file.entry(normalize(name)); ok {
			t.Errorf("%q is still there", name)
		}
	})
}
