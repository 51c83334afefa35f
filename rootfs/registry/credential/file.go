package credential

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFile bounds an auth file; real ones have a few kB.
const maxFile = 1 << 20

// authFile is docker's config.json or podman's auth.json. Keys that bryo does
// not know survive in rest.
type authFile struct {
	path        string
	Auths       map[string]entry
	CredHelpers map[string]string
	CredsStore  string
	rest        map[string]json.RawMessage
}

// entry is one value of "auths".
type entry struct {
	Auth          string `json:"auth,omitempty"`
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	IdentityToken string `json:"identitytoken,omitempty"`
	RegistryToken string `json:"registrytoken,omitempty"`
}

// load reads an auth file; one that does not exist is nil. Podman's runtime
// file of another user is not ours to read: that is nil too.
func load(path string) (*authFile, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && strings.HasPrefix(path, "/run/containers/") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read %s: larger than %d bytes", path, maxFile)
	}
	file, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	file.path = path
	return file, nil
}

// parse decodes an auth file; an empty one is valid. The cause of a syntax
// error is given without the text around it, which may be a secret.
func parse(data []byte) (*authFile, error) {
	f := &authFile{rest: map[string]json.RawMessage{}}
	if len(bytes.TrimSpace(data)) > 0 {
		if err := json.Unmarshal(data, &f.rest); err != nil {
			return nil, jsonError(err)
		}
	}
	if f.rest == nil {
		return nil, errors.New("not a JSON object")
	}
	for key, to := range map[string]any{"auths": &f.Auths, "credHelpers": &f.CredHelpers, "credsStore": &f.CredsStore} {
		if raw, ok := f.rest[key]; ok {
			if err := json.Unmarshal(raw, to); err != nil {
				return nil, fmt.Errorf("%s: %w", key, jsonError(err))
			}
		}
	}
	return f, nil
}

func jsonError(err error) error {
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		return fmt.Errorf("invalid JSON at byte %d", syntax.Offset)
	}
	if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) {
		return fmt.Errorf("JSON %s where %s is expected, at byte %d", strings.SplitN(kind.Value, " ", 2)[0], kind.Type.Kind(), kind.Offset)
	}
	return errors.New("invalid JSON")
}

// entry finds the entry of a normalized name: spelt exactly so, or as an old
// URL-shaped key.
func (f *authFile) entry(name string) (entry, bool) {
	if e, ok := f.Auths[name]; ok {
		return e, true
	}
	if e, ok := f.Auths[Key(name)]; ok {
		return e, true
	}
	for key, e := range f.Auths {
		if normalize(key) == name {
			return e, true
		}
	}
	return entry{}, false
}

// helper is the credential helper that is set for this very host.
func (f *authFile) helper(host string) string {
	for key, program := range f.CredHelpers {
		if normalize(key) == host {
			return program
		}
	}
	return ""
}

// set replaces every spelling of name by one entry.
func (f *authFile) set(name string, e entry) {
	f.remove(name)
	if f.Auths == nil {
		f.Auths = map[string]entry{}
	}
	f.Auths[Key(name)] = e
}

func (f *authFile) remove(name string) {
	for key := range f.Auths {
		if normalize(key) == name {
			delete(f.Auths, key)
		}
	}
}

func newEntry(c Credential) entry {
	e := entry{IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken}
	if c.Username != "" || c.Password != "" {
		e.Auth = base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password))
	}
	return e
}

// credential decodes an entry. docker pads "auth" with NUL in old versions,
// and other tools leave the base64 padding away.
func (e entry) credential() (Credential, error) {
	c := Credential{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
	if e.Auth == "" {
		return c, nil
	}
	plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(e.Auth), "="))
	if err != nil {
		return Credential{}, errors.New("auth is not base64")
	}
	user, password, ok := strings.Cut(string(plain), ":")
	if !ok {
		return Credential{}, errors.New("auth is not base64 of user:password")
	}
	c.Username, c.Password = user, strings.TrimRight(password, "\x00")
	if c.IdentityToken != "" {
		c.Password = ""
	}
	return c, nil
}

// update changes an auth file under a lock of its folder, so that two logins
// at once keep both entries, and replaces it in one step with mode 0600.
func update(path string, change func(*authFile) error) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // dotfiles are often links: keep the link
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer lock.Close() // releases the lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	file, err := load(path)
	if err != nil {
		return err
	}
	if file == nil {
		file = &authFile{path: path, rest: map[string]json.RawMessage{}}
	}
	if err := change(file); err != nil {
		return err
	}
	return file.write(path)
}

func (f *authFile) write(path string) error {
	auths := f.Auths
	if auths == nil {
		auths = map[string]entry{}
	}
	raw, err := json.Marshal(auths)
	if err != nil {
		return err
	}
	f.rest["auths"] = raw
	data, err := json.MarshalIndent(f.rest, "", "\t")
	if err != nil {
		return err
	}
	// One name for all, as there is one writer at a time: what a killed one left,
	// which may hold a password, does not stay.
	temporary := filepath.Join(filepath.Dir(path), ".bryo-"+filepath.Base(path))
	os.Remove(temporary)
	temp, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(append(data, '\n'))
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(temp.Name(), path)
}
