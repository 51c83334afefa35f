package engine

import (
	"fmt"
	"maps"
	"slices"

	"bryo/internal/state"
	"bryo/network/port"
	"bryo/rootfs/image"
)

// exposePorts joins the image's exposed ports with the flags', and publishes
// those that -P asks for and -p has not.
func exposePorts(h *state.Host, from *image.Config) error {
	exposed := map[string]bool{}
	for name := range from.ExposedPorts {
		list, err := port.ParseExpose(name)
		if err != nil {
			return fmt.Errorf("the image exposes %q: not a port", name)
		}
		for _, one := range list {
			exposed[one] = true
		}
	}
	for _, name := range h.Exposed {
		exposed[name] = true
	}
	published := map[string]bool{}
	for _, m := range h.Publish {
		published[m.Container()] = true
	}
	h.Exposed = slices.Sorted(maps.Keys(exposed))
	for _, name := range h.Exposed {
		if !h.PublishAll || published[name] {
			continue
		}
		m, err := port.Any(name)
		if err != nil {
			return err
		}
		h.Publish = append(h.Publish, m)
	}
	return nil
}

// OpenPorts are a container's published ports; none while it does not run.
func (c *Container) OpenPorts() []port.Mapping {
	if !c.Running() {
		return nil
	}
	return c.Status.Ports
}

// inspectPorts is docker's NetworkSettings.Ports: exposed ports that are not
// published are there with null.
func inspectPorts(c *Container) map[string][]InspectPort {
	out := map[string][]InspectPort{}
	if !c.Running() {
		return out
	}
	for _, name := range c.Host.Exposed {
		out[name] = nil
	}
	for _, m := range c.Status.Ports {
		out[m.Container()] = append(out[m.Container()], InspectPort{HostIP: m.HostIP.String(), HostPort: m.HostPort()})
	}
	return out
}

// portBindings is docker's HostConfig.PortBindings: what was asked for.
func portBindings(c *Container) map[string][]InspectPort {
	out := map[string][]InspectPort{}
	for _, m := range c.Host.Publish {
		b := InspectPort{HostPort: m.HostPort()}
		if m.HostIP.IsValid() {
			b.HostIP = m.HostIP.String()
		}
		out[m.Container()] = append(out[m.Container()], b)
	}
	return out
}

// exposedPorts is docker's Config.ExposedPorts: published ones are exposed.
func exposedPorts(c *Container) map[string]struct{} {
	out := map[string]struct{}{}
	for _, name := range c.Host.Exposed {
		out[name] = struct{}{}
	}
	for _, m := range c.Host.Publish {
		out[m.Container()] = struct{}{}
	}
	return out
}
