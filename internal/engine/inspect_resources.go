package engine

import (
	"strings"

	"bryo/internal/state"
	"bryo/rootfs/mount"
)

// InspectResources is the part of docker's HostConfig that limits a container.
// Pointers are null where docker says "not given".
type InspectResources struct {
	CPUShares            int64 `json:"CpuShares"`
	Memory               int64
	NanoCPUs             int64 `json:"NanoCpus"`
	CgroupParent         string
	BlkioWeight          uint16
	BlkioWeightDevice    []InspectWeight
	BlkioDeviceReadBps   []InspectRate
	BlkioDeviceWriteBps  []InspectRate
	BlkioDeviceReadIOps  []InspectRate
	BlkioDeviceWriteIOps []InspectRate
	CPUPeriod            int64 `json:"CpuPeriod"`
	CPUQuota             int64 `json:"CpuQuota"`
	CPURealtimePeriod    int64 `json:"CpuRealtimePeriod"`
	CPURealtimeRuntime   int64 `json:"CpuRealtimeRuntime"`
	CpusetCpus           string
	CpusetMems           string
	Devices              []InspectDevice
	DeviceCgroupRules    []string
	DeviceRequests       []string
	MemoryReservation    int64
	MemorySwap           int64
	MemorySwappiness     *int64
	OomKillDisable       *bool
	PidsLimit            *int64
	Ulimits              []InspectUlimit
	CPUCount             int64 `json:"CpuCount"`
	CPUPercent           int64 `json:"CpuPercent"`
	IOMaximumIOps        uint64
	IOMaximumBandwidth   uint64
	KernelMemory         int64 `json:",omitempty"`
	KernelMemoryTCP      int64 `json:",omitempty"`
}

// InspectWeight, InspectRate and InspectDevice are docker's limits and nodes of
// one device.
type (
	InspectWeight struct {
		Path   string
		Weight uint16
	}
	InspectRate struct {
		Path string
		Rate uint64
	}
	InspectDevice struct {
		PathOnHost        string
		PathInContainer   string
		CgroupPermissions string
	}
)

// InspectMountSpec is one --mount as it was asked for.
type InspectMountSpec struct {
	Type     string
	Source   string `json:",omitempty"`
	Target   string
	ReadOnly bool `json:",omitempty"`
}

func inspectResources(h *state.Host) InspectResources {
	l := &h.Limits
	out := InspectResources{
		CPUShares: int64(l.CPUShares), Memory: l.Memory, NanoCPUs: l.NanoCPUs, CgroupParent: l.Slice, BlkioWeight: l.BlkioWeight,
		BlkioDeviceReadBps: inspectRates(l.ReadBps), BlkioDeviceWriteBps: inspectRates(l.WriteBps),
		BlkioDeviceReadIOps: inspectRates(l.ReadIOps), BlkioDeviceWriteIOps: inspectRates(l.WriteIOps),
		CPUPeriod: int64(l.CPUPeriod), CPUQuota: l.CPUQuota, CpusetCpus: l.CpusetCPUs, CpusetMems: l.CpusetMems,
		MemoryReservation: l.MemoryReservation, MemorySwap: l.Swap(), Devices: []InspectDevice{}, Ulimits: []InspectUlimit{},
		BlkioWeightDevice: []InspectWeight{},
	}
	if l.Pids != 0 {
		out.PidsLimit = &l.Pids
	}
	for _, d := range l.BlkioWeightDevice {
		out.BlkioWeightDevice = append(out.BlkioWeightDevice, InspectWeight{d.Path, d.Weight})
	}
	for _, d := range h.Devices {
		out.Devices = append(out.Devices, InspectDevice{d.Host, d.Container, d.Access})
	}
	for _, u := range h.Ulimits {
		out.Ulimits = append(out.Ulimits, InspectUlimit{Name: strings.ToLower(strings.TrimPrefix(u.Type, "RLIMIT_")), Hard: int64(u.Hard), Soft: int64(u.Soft)})
	}
	return out
}

func inspectRates(list []state.DeviceRate) []InspectRate {
	out := []InspectRate{}
	for _, d := range list {
		out = append(out, InspectRate{d.Path, d.Rate})
	}
	return out
}

// inspectMountSpecs are what --mount asked for, in docker's terms.
func inspectMountSpecs(plan []mount.Mount) (out []InspectMountSpec) {
	for _, m := range plan {
		if m.Spec {
			out = append(out, InspectMountSpec{Type: string(m.Type), Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
		}
	}
	return out
}

// inspectSizes is what the container wrote, and that with its image, in bytes.
func (e *Engine) inspectSizes(c *Container) (written, whole *int64) {
	size, err := e.UpperSize(c)
	if err != nil {
		return nil, nil
	}
	total := size + e.ImageSize(c.Image.ID)
	return &size, &total
}
