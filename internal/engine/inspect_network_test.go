package engine

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"bryo/internal/linux"
	"bryo/internal/state"
)

// networked is a container on networks, running in this very process or not at all.
func networked(running bool, networks ...state.Network) *Container {
	c := &Container{Config: &state.Config{ID: strings.Repeat("c", 64), Name: "web"}, Status: &state.Status{Phase: state.Exited}}
	c.Host.Network, c.Host.Networks = networks[0].Name, networks
	if running {
		self := linux.RefProcess(os.Getpid())
		c.Status = &state.Status{Phase: state.Running, Supervisor: self, Init: self}
		for _, n := range networks {
			c.Status.Networks = append(c.Status.Networks, state.Endpoint{Name: n.Name})
		}
	}
	return c
}

func TestEndpointsOfContainer(t *testing.T) {
	front := state.Network{Name: "front", ID: strings.Repeat("f", 64)}
	got := inspectNetworks(networked(true, state.Network{Name: state.NetworkDefault}, front))
	ids := map[string]bool{}
	for _, id := range []string{got.SandboxID, got.EndpointID, got.Networks["bridge"].NetworkID, got.Networks["front"].EndpointID} {
		if !state.IsID(id) || ids[id] {
			t.Errorf("%q: not an id of its own", id)
		}
		ids[id] = true
	}
	if id := got.Networks["bridge"].NetworkID; id != state.DefaultNetworkID || id != builtin()[0].ID {
		t.Errorf("%s: events have another id of the default network", id)
	}
	if got.EndpointID != got.Networks["bridge"].EndpointID || got.Networks["front"].NetworkID != front.ID {
		t.Errorf("%+v", got)
	}
	if again := inspectNetworks(networked(true, state.Network{Name: state.NetworkDefault}, front)); again.SandboxID != got.SandboxID {
		t.Error("another id each time")
	}
	if text, _ := json.Marshal(got.Networks["front"]); !strings.Contains(string(text), `"Links":null`) {
		t.Errorf("%s", text)
	}
}

func TestNoEndpointWhenStopped(t *testing.T) {
	got := inspectNetworks(networked(false, state.Network{Name: "front", ID: "f"}))
	if got.SandboxID+got.SandboxKey+got.EndpointID+got.Networks["front"].EndpointID != "" || got.Networks["front"].NetworkID != "f" {
		t.Errorf("%+v", got)
	}
}

func TestNoNetworkInAnothersNamespace(t *testing.T) {
	got := inspectNetworks(networked(true, state.Network{Name: state.NetworkContainer + "abc"}))
	if got.SandboxID+got.SandboxKey != "" || len(got.Networks) != 0 {
		t.Errorf("%+v", got)
	}
}
