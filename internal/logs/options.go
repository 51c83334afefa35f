package logs

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/docker/go-units"
)

// Errors of docker that callers tell apart.
var (
	// ErrUnreadable: the driver keeps nothing that could be shown.
	ErrUnreadable = errors.New("configured logging driver does not support reading")
	// ErrNoJournal: the driver journald on a host without its socket.
	ErrNoJournal = errors.New("journald is not enabled on this host")
)

// Defaults of docker's local driver, and of the copy kept beside a journal.
const (
	localMaxSize = 20 << 20
	localMaxFile = 5
)

// defaultBuffer is docker's for mode=non-blocking.
const defaultBuffer = 1 << 20

// foreign are docker's other drivers: known names that bryo does not serve.
var foreign = []string{"awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "splunk", "syslog"}

// Parse reads --log-driver and --log-opt, with docker's error texts. The empty
// driver is json-file.
func Parse(driver string, options map[string]string) (Config, error) {
	if driver == "" {
		driver = JSONFile
	}
	c := Config{Driver: driver, Options: options, MaxFile: 1}
	switch {
	case driver == None && len(options) > 0:
		return c, errors.New("invalid logging opts for driver none")
	case driver == None:
		return c, nil
	case driver == Local, driver == Journald:
		c.MaxSize, c.MaxFile, c.Compress = localMaxSize, localMaxFile, true
	case slices.Contains(foreign, driver):
		return c, fmt.Errorf("log driver %q: not supported: use json-file, local, journald or none", driver)
	case driver != JSONFile:
		return c, fmt.Errorf("logger: no log driver named '%s' is registered", driver)
	}
	if err := c.checkKeys(); err != nil {
		return c, err
	}
	if err := c.mode(); err != nil {
		return c, err
	}
	if driver == Journald {
		return c, c.cache()
	}
	return c, c.rotation("")
}

// mode reads the options that docker has for every driver.
func (c *Config) mode() error {
	switch mode := c.Options["mode"]; mode {
	case "", "blocking":
	case "non-blocking":
		c.NonBlocking, c.Buffer = true, defaultBuffer
	default:
		return fmt.Errorf("logger: logging mode not supported: %s", mode)
	}
	size, given := c.Options["max-buffer-size"]
	if !given {
		return nil
	}
	if !c.NonBlocking {
		return errors.New("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
	}
	buffer, err := units.RAMInBytes(size)
	if err != nil {
		return fmt.Errorf("error parsing option max-buffer-size: %w", err)
	}
	if buffer <= 0 {
		return fmt.Errorf("error parsing option max-buffer-size: invalid size: '%s'", size)
	}
	c.Buffer = buffer
	return nil
}

// cache reads the options of the copy that docker keeps for drivers whose
// entries it cannot read back.
func (c *Config) cache() error {
	if value, given := c.Options["cache-disabled"]; given {
		off, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("error parsing option cache-disabled: %w", err)
		}
		c.NoCache = off
	}
	return c.rotation("cache-")
}

// rotation reads max-size, max-file and compress, with a prefix before each.
func (c *Config) rotation(prefix string) error {
	if err := c.maxSize(prefix); err != nil {
		return err
	}
	if value, given := c.Options[prefix+"max-file"]; given {
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("invalid value for %smax-file: %w", prefix, err)
		}
		if n < 1 {
			return fmt.Errorf("%smax-file cannot be less than 1", prefix)
		}
		c.MaxFile = n
	}
	value, given := c.Options[prefix+"compress"]
	if !given {
		c.Compress = c.Compress && c.MaxFile > 1
		return nil
	}
	compress, err := strconv.ParseBool(value)
	if err != nil {
		return fmt.Errorf("invalid value for %scompress: %w", prefix, err)
	}
	if compress && (c.MaxFile == 1 || c.MaxSize == 0) {
		return fmt.Errorf("%scompress cannot be true when max-file is less than 2 or max-size is not set", prefix)
	}
	c.Compress = compress
	return nil
}

func (c *Config) maxSize(prefix string) error {
	value, given := c.Options[prefix+"max-size"]
	if !given {
		return nil
	}
	size, err := units.FromHumanSize(value)
	if err != nil {
		return fmt.Errorf("invalid value for %smax-size: %w", prefix, err)
	}
	if size <= 0 {
		return fmt.Errorf("%smax-size must be a positive number", prefix)
	}
	c.MaxSize = size
	return nil
}

func (c *Config) checkKeys() error {
	known := []string{"labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"}
	if c.Driver == Journald {
		known = append(known, "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress")
	} else {
		known = append(known, "max-size", "max-file", "compress")
	}
	for _, key := range sorted(c.Options) {
		if slices.Contains(known, key) {
			continue
		}
		if c.Driver == Local {
			return fmt.Errorf("unknown log opt '%s' for log driver %s", key, c.Driver)
		}
		return fmt.Errorf("unknown log opt '%s' for %s log driver", key, c.Driver)
	}
	return nil
}
