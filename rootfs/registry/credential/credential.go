// Package credential finds and keeps the user's registry credentials where
// docker and podman keep them: JSON auth files and credential helpers.
//
// Start with Files.Lookup; Store and Erase are the two sides of login and
// logout.
//
// Order of the files: $REGISTRY_AUTH_FILE alone when set, else podman's
// auth.json (runtime folder, then configuration folder), then docker's
// config.json. Within a file a helper of the registry (credHelpers) wins over
// an entry, an entry over the general helper (credsStore), and an entry for
// "host/namespace" over one for "host".
//
// Credentials never occur in an error of this package. It leaves out: talking
// to a registry (rootfs/registry), containers-registries.conf's
// credential-helpers list.
package credential

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// hubKey is the key under which docker keeps the credentials of docker.io.
const hubKey = "https://index.docker.io/v1/"

// Credential is what one registry wants to see. At most one of Password and
// IdentityToken is used; RegistryToken is a ready bearer token.
type Credential struct {
	Username      string
	Password      string
	IdentityToken string // an OAuth2 refresh token
	RegistryToken string
}

// IsZero reports that there are no credentials: anonymous access.
func (c Credential) IsZero() bool { return c == Credential{} }

// String keeps secrets out of logs and %v.
func (c Credential) String() string {
	if c.IsZero() {
		return "anonymous"
	}
	return fmt.Sprintf("%q (secret hidden)", c.Username)
}

// GoString keeps secrets out of %#v.
func (c Credential) GoString() string { return c.String() }

// Files names the auth files.
type Files struct {
	Search []string // where credentials are looked up, in order
	Write  string   // where a new entry goes
}

// DefaultFiles follows the environment as docker and podman do. uid is the
// user's id on the host; it names podman's runtime folder when
// XDG_RUNTIME_DIR is unset.
func DefaultFiles(uid int) Files {
	if only := absolute(os.Getenv("REGISTRY_AUTH_FILE")); only != "" {
		return Files{Search: []string{only}, Write: only}
	}
	var f Files
	runtime := absolute(os.Getenv("XDG_RUNTIME_DIR"))
	if ownDirectory(runtime) {
		f.Search = append(f.Search, filepath.Join(runtime, "containers", "auth.json"))
	} else {
		f.Search = append(f.Search, fmt.Sprintf("/run/containers/%d/auth.json", uid))
	}
	home := absolute(os.Getenv("HOME"))
	config := absolute(os.Getenv("XDG_CONFIG_HOME"))
	if config == "" && home != "" {
		config = filepath.Join(home, ".config")
	}
	if config != "" {
		f.Search = append(f.Search, filepath.Join(config, "containers", "auth.json"))
	}
	docker := absolute(os.Getenv("DOCKER_CONFIG"))
	if docker == "" && home != "" {
		docker = filepath.Join(home, ".docker")
	}
	if docker != "" {
		f.Write = filepath.Join(docker, "config.json")
		f.Search = append(f.Search, f.Write)
	}
	return f
}

// ownDirectory: a runtime folder of another user (a variable left over by su) may
// hold what he likes. In a user namespace the user's own id is the effective one.
func ownDirectory(path string) bool {
	var st unix.Stat_t
	return path != "" && unix.Stat(path, &st) == nil && int(st.Uid) == os.Geteuid()
}

func absolute(path string) string {
	if !filepath.IsAbs(path) {
		return ""
	}
	return path
}

// Key is the name under which a server's entry is kept: the host with its
// port and an optional namespace; docker.io has docker's historic URL.
func Key(server string) string {
	if name := normalize(server); name != "docker.io" {
		return name
	}
	return hubKey
}

// normalize strips what users and old files put around a host: the scheme, a
// trailing slash, an API version. A key of podman keeps its namespace.
func normalize(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	key = strings.TrimRight(key, "/")
	host, path, _ := strings.Cut(key, "/")
	switch host {
	case "index.docker.io", "registry-1.docker.io", "docker.io":
		host = "docker.io"
	}
	if path == "" || path == "v1" || path == "v2" {
		return host
	}
	return host + "/" + path
}

// Lookup returns the credentials for a repository ("host[:port]/path") or a
// bare host. None is the zero Credential and no error; origin says where it
// came from.
func (f Files) Lookup(name string) (c Credential, origin string, err error) {
	for _, path := range f.Search {
		file, err := load(path)
		if err != nil {
			return Credential{}, "", err
		}
		if file == nil {
			continue
		}
		c, origin, err := file.lookup(normalize(name))
		if err != nil || !c.IsZero() {
			return c, origin, err
		}
	}
	return Credential{}, "", nil
}

// lookup tries "host/a/b", "host/a", then "host".
func (f *authFile) lookup(name string) (Credential, string, error) {
	host, _, _ := strings.Cut(name, "/")
	if helper := f.helper(host); helper != "" {
		c, err := helperGet(helper, helperURL(host))
		return c, "helper " + helper, err
	}
	for scope := name; ; {
		if e, ok := f.entry(scope); ok {
			c, err := e.credential()
			if err != nil {
				return Credential{}, "", fmt.Errorf("read %s: entry %s: %w", f.path, scope, err)
			}
			if !c.IsZero() {
				return c, f.path, nil
			}
		}
		slash := strings.LastIndexByte(scope, '/')
		if slash < 0 {
			break
		}
		scope = scope[:slash]
	}
	if f.CredsStore != "" {
		c, err := helperGet(f.CredsStore, helperURL(host))
		return c, "helper " + f.CredsStore, err
	}
	return Credential{}, "", nil
}

// Stored says where Store put a secret.
type Stored struct {
	File   string // the auth file that was changed, or
	Helper string // the helper that has it
}

// Plain reports that the secret lies unencrypted in a file.
func (s Stored) Plain() bool { return s.Helper == "" }

// Store keeps credentials for a server, in the file that already has an entry
// for it (else an older entry would shadow the new one), or else in f.Write,
// through the credential helper if that file names one.
func (f Files) Store(server string, c Credential) (Stored, error) {
	path := f.Write
	for _, p := range f.Search {
		file, err := load(p)
		if err != nil {
			return Stored{}, err
		}
		if file != nil && file.mentions(normalize(server)) {
			path = p
			break
		}
	}
	if path == "" {
		return Stored{}, fmt.Errorf("store credentials of %s: no home folder is set: set REGISTRY_AUTH_FILE", server)
	}
	var done Stored
	err := update(path, func(file *authFile) (err error) {
		done, err = file.store(normalize(server), c)
		return err
	})
	return done, err
}

func (f *authFile) store(name string, c Credential) (Stored, error) {
	host, _, _ := strings.Cut(name, "/")
	helper := f.helper(host)
	if helper == "" && name == host {
		helper = f.CredsStore
	}
	if helper == "" {
		f.set(name, newEntry(c))
		return Stored{File: f.path}, nil
	}
	if err := helperStore(helper, helperURL(host), c); err != nil {
		return Stored{}, err
	}
	f.set(name, entry{}) // as docker: the entry says that the helper has something
	return Stored{Helper: helper}, nil
}

// Erase removes a server's entry from every auth file and helper. It reports
// whether there was one.
func (f Files) Erase(server string) (bool, error) {
	name, found := normalize(server), false
	for _, path := range f.Search {
		file, err := load(path)
		if err != nil {
			return found, err
		}
		if file == nil || !file.mentions(name) {
			continue
		}
		found = true
		if err := update(path, func(file *authFile) error { return file.erase(name) }); err != nil {
			return found, err
		}
	}
	return found, nil
}

func (f *authFile) erase(name string) error {
	host, _, _ := strings.Cut(name, "/")
	for _, helper := range []string{f.helper(host), f.CredsStore} {
		if helper == "" {
			continue
		}
		if err := helperErase(helper, helperURL(host)); err != nil {
			return err
		}
		break
	}
	f.remove(name)
	return nil
}

// mentions reports whether the file has an entry or an own helper for name.
func (f *authFile) mentions(name string) bool {
	host, _, _ := strings.Cut(name, "/")
	_, ok := f.entry(name)
	return ok || f.helper(host) != ""
}
