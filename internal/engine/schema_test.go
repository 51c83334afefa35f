package engine

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	dockerimage "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"
	dockervolume "github.com/moby/moby/api/types/volume"

	"bryo/rootfs/image"
	"bryo/rootfs/volume"
)

// absent are docker's keys that bryo's objects do not have, with the reason.
var absent = map[string]string{
	"Storage":                 "the containerd image store's twin of GraphDriver",
	"ImageManifestDescriptor": "of docker's containerd image store",
	"Descriptor":              "of docker's containerd image store",
	"Manifests":               "of docker's containerd image store",
	"Identity":                "of docker's containerd image store",
	"ClusterVolume":           "Swarm",
	"Peers":                   "Swarm",
	"Services":                "Swarm",
	"Status":                  "of volume plugins",
	"UsageData":               "docker fills it in for system df only",
	"SystemStatus":            "Swarm",
	"ProductLicense":          "a product's",
	"DefaultAddressPools":     "networks are made per name, without pools",
	"FirewallBackend":         "no firewall is touched",
	"Containerd":              "there is none",
	"NRI":                     "of containerd",
	"DiscoveredDevices":       "of CDI",
}

// beyond are keys that bryo has and docker's newest version has not: older ones
// of docker, which templates still use.
var beyond = []string{
	"NetworkSettings.Gateway", "NetworkSettings.IPAddress", "NetworkSettings.IPPrefixLen", "NetworkSettings.MacAddress",
	"NetworkSettings.GlobalIPv6Address", "NetworkSettings.GlobalIPv6PrefixLen", "NetworkSettings.IPv6Gateway",
	"NetworkSettings.EndpointID", "NetworkSettings.Bridge", "NetworkSettings.HairpinMode", "NetworkSettings.LinkLocalIPv6Address",
	"NetworkSettings.LinkLocalIPv6PrefixLen", "NetworkSettings.SecondaryIPAddresses", "NetworkSettings.SecondaryIPv6Addresses",
	"Parent", "DockerVersion", "VirtualSize", "HostConfig.KernelMemory", "HostConfig.KernelMemoryTCP", "Config.MacAddress",
	"BridgeNfIptables", "BridgeNfIp6tables",
}

// opaque are compared by name only: what is below is another test's, or free text.
var opaque = []string{"Config.Healthcheck", "RegistryConfig", "Swarm", "Runtimes.*", "GenericResources", "Plugins"}

func TestSchemaIsDockers(t *testing.T) {
	for _, c := range []struct {
		name           string
		docker, bryo   reflect.Type
		alsoOpaque     []string
		notInThisState []string
	}{
		{"container", reflect.TypeFor[container.InspectResponse](), reflect.TypeFor[Inspect](), nil,
			[]string{"HostConfig.DeviceRequests", "HostConfig.Mounts"}},
		{"image", reflect.TypeFor[dockerimage.InspectResponse](), reflect.TypeFor[image.Inspect](), []string{"Config"}, nil},
		{"volume", reflect.TypeFor[dockervolume.Volume](), reflect.TypeFor[volume.Inspect](), nil, nil},
		{"network", reflect.TypeFor[network.Inspect](), reflect.TypeFor[InspectNetworkObject](), nil, nil},
		{"info", reflect.TypeFor[system.Info](), reflect.TypeFor[Info](), nil, nil},
	} {
		hidden := slices.Concat(opaque, c.alsoOpaque, c.notInThisState)
		want, got := keysOf(c.docker, slices.AppendSeq(hidden, maps.Keys(absent))), keysOf(c.bryo, hidden)
		for _, key := range slices.Sorted(maps.Keys(want)) {
			if got[key].kind == "" && absent[key] == "" {
				t.Errorf("%s: docker's %s is missing", c.name, key)
			}
			if got[key].kind != "" && !got[key].like(want[key]) {
				t.Errorf("%s: %s is %v, docker's is %v", c.name, key, got[key], want[key])
			}
		}
		for _, key := range slices.Sorted(maps.Keys(got)) {
			if want[key].kind == "" && !slices.Contains(beyond, key) {
				t.Errorf("%s: %s is not docker's", c.name, key)
			}
		}
	}
}

// unknown is the kind of what writes its JSON itself, or may hold anything.
const unknown = "unknown"

// field is the kind of a value, and the name that templates know it by.
type field struct{ kind, name string }

func (f field) like(other field) bool {
	return f.name == other.name && (f.kind == other.kind || f.kind == unknown || other.kind == unknown)
}

// keysOf lists the keys of a type's JSON form, as paths with * for a map's keys, and the
// kind of each value.
func keysOf(t reflect.Type, hidden []string) map[string]field {
	keys := map[string]field{}
	collect(t, "", hidden, keys)
	return keys
}

func collect(t reflect.Type, prefix string, hidden []string, keys map[string]field) {
	if slices.Contains(hidden, strings.TrimSuffix(prefix, ".")) {
		return
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		collect(t.Elem(), prefix, hidden, keys)
	case reflect.Map:
		collect(t.Elem(), prefix+"*.", hidden, keys)
	case reflect.Struct:
		if t.Implements(reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()) {
			return
		}
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case name == "-" || !f.IsExported() && !f.Anonymous:
			case f.Anonymous && name == "":
				collect(f.Type, prefix, hidden, keys)
			default:
				if name == "" {
					name = f.Name
				}
				keys[prefix+name] = field{kindOf(f.Type), f.Name}
				collect(f.Type, prefix+name+".", hidden, keys)
			}
		}
	}
}

// kindOf is what the JSON of a type is: string, number, bool, list or object.
func kindOf(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	for _, p := range []reflect.Type{t, reflect.PointerTo(t)} {
		switch {
		case p.Implements(reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()):
			return "string"
		case p.Implements(reflect.TypeFor[interface{ MarshalJSON() ([]byte, error) }]()):
			return unknown
		}
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Slice, reflect.Array:
		return "list"
	case reflect.Map, reflect.Struct:
		return "object"
	case reflect.Interface:
		return unknown
	}
	return "number"
}
