package mount

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/docker/go-units"
)

// ParseMount reads one --mount value: comma-separated key=value fields, quoted as
// in CSV. A source that is "." or starts with "./" or "../" is taken from dir.
// Keys and messages are docker's.
func ParseMount(spec, dir string) (Mount, error) {
	if strings.TrimSpace(spec) == "" {
		return Mount{}, badMount(spec, errors.New("value is empty"))
	}
	table := csv.NewReader(strings.NewReader(spec))
	fields, err := table.Read()
	if err != nil {
		return Mount{}, badMount(spec, err)
	}
	if _, err := table.Read(); err != io.EOF {
		return Mount{}, badMount(spec, errors.New("more than one line"))
	}
	p := mountFields{Mount: Mount{Type: Volume}, dir: dir}
	for _, field := range fields {
		if err := p.field(field); err != nil {
			return Mount{}, badMount(spec, err)
		}
	}
	if err := p.finish(); err != nil {
		return Mount{}, badMount(spec, err)
	}
	if err := p.check(); err != nil {
		return Mount{}, err
	}
	p.Target = path.Clean(p.Target)
	if p.Type == Bind {
		p.Source = path.Clean(p.Source)
	}
	return p.Mount, nil
}

// badMount is said of what docker's client does not understand; what is understood
// and wrong has the messages of docker's daemon.
func badMount(spec string, err error) error {
	return fmt.Errorf("invalid argument %q for \"--mount\" flag: %w", spec, err)
}

// mountFields gathers the fields of one --mount. Which groups of options were
// used is known only when the type is, at the end.
type mountFields struct {
	Mount
	dir                   string
	bind, volume, tmpfs   bool // an option of that type was given
	tmpfsSize, tmpfsPerms string
}

func (p *mountFields) field(field string) error {
	key, value, hasValue := strings.Cut(field, "=")
	if !hasValue {
		switch key {
		case "readonly", "ro", "volume-nocopy", "bind-nonrecursive":
			value = "true"
		default:
			return fmt.Errorf("invalid field '%s' must be a key=value pair", field)
		}
	}
	err := p.set(key, value)
	if errors.Is(err, errKey) {
		return fmt.Errorf("unexpected key '%s' in '%s'", key, field)
	}
	if errors.Is(err, errValue) {
		return fmt.Errorf("invalid value for %s: %s", key, value)
	}
	return err
}

var (
	errKey   = errors.New("unexpected key")
	errValue = errors.New("invalid value")
)

func (p *mountFields) set(key, value string) error {
	switch key {
	case "type":
		p.Type = Type(strings.ToLower(value))
	case "source", "src":
		p.Source = value
		if value == "." || strings.HasPrefix(value, "./") || value == ".." || strings.HasPrefix(value, "../") {
			var err error
			p.Source, err = relativeTo(p.dir, value)
			return err
		}
	case "target", "dst", "destination":
		p.Target = value
	case "readonly", "ro":
		return parseBool(value, &p.ReadOnly)
	case "consistency": // for Docker Desktop; means nothing on Linux
		switch value {
		case "consistent", "cached", "delegated", "default":
		default:
			return errValue
		}
	default:
		return p.setTyped(key, value)
	}
	return nil
}

// setTyped sets the options that belong to one type.
func (p *mountFields) setTyped(key, value string) error {
	switch {
	case strings.HasPrefix(key, "bind-"):
		p.bind = true
		return p.setBind(key, value)
	case strings.HasPrefix(key, "volume-"):
		p.volume = true
		return p.setVolume(key, value)
	case strings.HasPrefix(key, "tmpfs-"):
		p.tmpfs = true
		return p.setTmpfs(key, value)
	}
	return errKey
}

func (p *mountFields) setBind(key, value string) error {
	switch key {
	case "bind-propagation":
		p.Propagation = Propagation(strings.ToLower(value))
	case "bind-nonrecursive":
		return parseBool(value, &p.Bind.NonRecursive)
	case "bind-recursive":
		switch value {
		case "enabled":
		case "disabled":
			p.Bind.NonRecursive = true
		case "writable":
			p.Bind.WritableBelow = true
		case "readonly":
			p.Bind.ReadOnlyForced = true
		default:
			return fmt.Errorf(`invalid value for %s: %s (must be "enabled", "disabled", "writable", or "readonly")`, key, value)
		}
	default:
		return errKey
	}
	return nil
}

func (p *mountFields) setVolume(key, value string) error {
	switch key {
	case "volume-nocopy":
		return parseBool(value, &p.Volume.NoCopy)
	case "volume-subpath":
		p.Volume.Subpath = value
	case "volume-driver":
		p.Volume.Driver = value
	case "volume-label":
		setPair(&p.Volume.Labels, value)
	case "volume-opt":
		setPair(&p.Volume.Options, value)
	default:
		return errKey
	}
	return nil
}

func (p *mountFields) setTmpfs(key, value string) error {
	switch key {
	case "tmpfs-size":
		size, err := units.RAMInBytes(value)
		if err != nil || size < 0 {
			return errValue
		}
		p.tmpfsSize = "size=" + strconv.FormatInt(size, 10)
	case "tmpfs-mode":
		mode, err := strconv.ParseUint(value, 8, 32)
		if err != nil || mode > 0o7777 {
			return errValue
		}
		p.tmpfsPerms = "mode=" + strconv.FormatUint(mode, 8)
	default:
		return errKey
	}
	return nil
}

// finish checks what depends on more than one field.
func (p *mountFields) finish() error {
	if p.Type == "" {
		return errors.New("type is required")
	}
	if p.Type == "image" {
		return errors.New(`mount type "image" is not supported`)
	}
	if p.Target == "" {
		return errors.New("target is required")
	}
	for _, group := range []struct {
		used bool
		of   Type
	}{{p.volume, Volume}, {p.bind, Bind}, {p.tmpfs, Tmpfs}} {
		if group.used && p.Type != group.of {
			return fmt.Errorf("cannot mix '%s-*' options with mount type '%s'", group.of, p.Type)
		}
	}
	for _, option := range []string{p.tmpfsSize, p.tmpfsPerms} {
		if option != "" && option != "size=0" {
			p.Tmpfs = append(p.Tmpfs, option)
		}
	}
	return p.finishBind()
}

func (p *mountFields) finishBind() error {
	mode := "writable"
	if p.Bind.ReadOnlyForced {
		mode = "readonly"
	}
	if (p.Bind.ReadOnlyForced || p.Bind.WritableBelow) && !p.ReadOnly {
		return fmt.Errorf("option 'bind-recursive=%s' requires 'readonly' to be specified in conjunction", mode)
	}
	if p.Bind.ReadOnlyForced && p.Propagation != "rprivate" {
		return errors.New("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction")
	}
	return nil
}

func parseBool(value string, to *bool) error {
	b, err := strconv.ParseBool(value)
	if err != nil {
		return errValue
	}
	*to = b
	return nil
}

func setPair(to *map[string]string, pair string) {
	key, value, _ := strings.Cut(pair, "=")
	if key == "" {
		return
	}
	if *to == nil {
		*to = map[string]string{}
	}
	(*to)[key] = value
}
