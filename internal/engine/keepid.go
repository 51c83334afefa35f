package engine

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"bryo/internal/images"
	"bryo/internal/state"
	"bryo/rootfs/image"
	"bryo/sandbox/userns"
)

// CheckUserNS is nil for what --userns can be.
func CheckUserNS(mode string) error {
	_, err := parseUserNS(mode)
	return err
}

// parseUserNS reads --userns: host (the default map of this user) or keep-id,
// which gives the user his own id inside: keep-id[:uid=N][,gid=N].
func parseUserNS(mode string) (*state.KeepID, error) {
	name, options, _ := strings.Cut(mode, ":")
	switch name {
	case "", "host", "private":
		if options == "" && !strings.HasSuffix(mode, ":") {
			return nil, nil
		}
	case "keep-id":
		return parseKeepID(options)
	}
	return nil, fmt.Errorf("--userns: invalid USER mode %q: use host or keep-id[:uid=N,gid=N]", mode)
}

func parseKeepID(options string) (*state.KeepID, error) {
	keep := &state.KeepID{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	if options == "" {
		return keep, nil
	}
	for _, option := range strings.Split(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		n, err := strconv.ParseUint(value, 10, 32)
		switch {
		case key != "uid" && key != "gid":
			return nil, fmt.Errorf("--userns keep-id: unknown option %q: use uid and gid", key)
		case err != nil:
			return nil, fmt.Errorf("--userns keep-id: invalid %s=%q: not an id", key, value)
		case key == "uid":
			keep.UID = uint32(n)
		default:
			keep.GID = uint32(n)
		}
	}
	return keep, nil
}

// keepID completes a keep-id request: the second id map, from the container's
// ids to those of the store's namespace, in which the user is 0.
func (e *Engine) keepID(keep *state.KeepID, config *state.Config, record *image.Record) error {
	if config.Mapping.Single {
		return errors.New("--userns keep-id needs subordinate ids (bryo doctor has the cure)")
	}
	var err error
	if keep.UIDs, err = swapped(keep.UID, config.Mapping.UIDs, "uid"); err != nil {
		return err
	}
	if keep.GIDs, err = swapped(keep.GID, config.Mapping.GIDs, "gid"); err != nil {
		return err
	}
	var result images.MappedResult
	err = e.call(images.OpMapped, images.MappedArgs{Record: record, UIDs: keep.UIDs, GIDs: keep.GIDs}, &result)
	if err != nil {
		return err
	}
	config.Image.Layers = result.Layers
	config.Host.KeepID = keep
	if config.Process.User == "" {
		config.Process.User = fmt.Sprintf("%d:%d", keep.UID, keep.GID)
	}
	return nil
}

// swapped maps the container's own id to 0, the ones below it one up, the ones
// above it unchanged.
func swapped(own uint32, ranges []userns.Range, kind string) ([]userns.Range, error) {
	var count uint32
	for _, r := range ranges {
		count = max(count, r.Inside+r.Count)
	}
	if own >= count {
		return nil, fmt.Errorf("--userns keep-id: %s %d is outside of the %d ids that this user has: name a smaller one with keep-id:uid=N,gid=N", kind, own, count)
	}
	var out []userns.Range
	if own > 0 {
		out = append(out, userns.Range{Inside: 0, Outside: 1, Count: own})
	}
	out = append(out, userns.Range{Inside: own, Outside: 0, Count: 1})
	if rest := count - own - 1; rest > 0 {
		out = append(out, userns.Range{Inside: own + 1, Outside: own + 1, Count: rest})
	}
	return out, nil
}
