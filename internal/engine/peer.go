package engine

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"bryo/internal/state"
)

// peer is the running container whose network another one shares: its network
// namespace, and the user namespace that owns it. Who wants to be in the one must
// be in the other (setns(2)), so containers that share a network share the ids and
// the rights over them too.
type peer struct{ user, network *os.File }

func (p peer) close() {
	for _, f := range []*os.File{p.user, p.network} {
		if f != nil {
			f.Close()
		}
	}
}

func (p peer) files() []*os.File {
	if p.network == nil {
		return nil
	}
	return []*os.File{p.network}
}

// openPeer opens the namespaces of the container that config's network is; empty
// when it has its own. The map of ids becomes the other one's.
func (e *Engine) openPeer(config *state.Config) (p peer, err error) {
	id := config.Host.Peer()
	if id == "" {
		return p, nil
	}
	c, err := e.Container(id)
	switch {
	case err != nil:
		return p, err
	case c.ID == config.ID:
		return p, errors.New("cannot join own network")
	case !c.Running():
		return p, fmt.Errorf("cannot join network of a non running container: %s", c.ID)
	case c.Host.KeepID != nil:
		return p, fmt.Errorf("cannot join network of container %s: it has a user namespace of its own (--userns keep-id)", c.Name)
	}
	config.Mapping = c.Mapping
	dir := "/proc/" + strconv.Itoa(c.Status.Init.PID) + "/ns/"
	if p.user, err = os.Open(dir + "user"); err == nil {
		p.network, err = os.Open(dir + "net")
	}
	// Looked at after the open: these are of no other process with that pid.
	if err == nil && !c.Status.Init.Alive() {
		err = fmt.Errorf("cannot join network of a non running container: %s", c.ID)
	}
	if err != nil {
		p.close()
		return peer{}, fmt.Errorf("join network of container %s: %w", c.Name, err)
	}
	return p, nil
}
