package state

import (
	"fmt"
	"reflect"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Limits are what a container may use, as docker's flags say it; the zero value
// of each is "not given".
type Limits struct {
	Memory            int64          `json:"memory,omitempty"`     // bytes
	MemorySwap        int64          `json:"memorySwap,omitempty"` // memory and swap together; -1: no bound
	MemoryReservation int64          `json:"memoryReservation,omitempty"`
	CPUShares         uint64         `json:"cpuShares,omitempty"`
	CPUPeriod         uint64         `json:"cpuPeriod,omitempty"` // microseconds
	CPUQuota          int64          `json:"cpuQuota,omitempty"`  // microseconds of each period
	NanoCPUs          int64          `json:"nanoCPUs,omitempty"`
	CpusetCPUs        string         `json:"cpusetCPUs,omitempty"`
	CpusetMems        string         `json:"cpusetMems,omitempty"`
	Pids              int64          `json:"pids,omitempty"` // -1: no bound
	BlkioWeight       uint16         `json:"blkioWeight,omitempty"`
	BlkioWeightDevice []DeviceWeight `json:"blkioWeightDevice,omitempty"`
	ReadBps           []DeviceRate   `json:"readBps,omitempty"`
	WriteBps          []DeviceRate   `json:"writeBps,omitempty"`
	ReadIOps          []DeviceRate   `json:"readIOps,omitempty"`
	WriteIOps         []DeviceRate   `json:"writeIOps,omitempty"`
	// Slice is --cgroup-parent: the systemd slice in which the scope is made.
	Slice string `json:"slice,omitempty"`
}

// IsZero says that nothing is limited.
func (l Limits) IsZero() bool { return reflect.ValueOf(l).IsZero() }

// DeviceWeight and DeviceRate are limits of one block device.
type (
	DeviceWeight struct {
		Path         string
		Major, Minor int64 `json:",omitempty"`
		Weight       uint16
	}
	DeviceRate struct {
		Path         string
		Major, Minor int64 `json:",omitempty"`
		Rate         uint64
	}
)

// DefaultPids bounds the processes of a container that says nothing, where a
// bound can be enforced: a fork bomb stays in its container.
const DefaultPids = 2048

// Need is a flag and the controller that it cannot do without.
type Need struct{ Flag, Controller string }

// Needs lists what was asked for.
func (l *Limits) Needs() (needs []Need) {
	for _, n := range []struct {
		given            bool
		flag, controller string
	}{
		{l.Memory != 0, "memory", "memory"},
		{l.MemorySwap != 0, "memory-swap", "memory"},
		{l.MemoryReservation != 0, "memory-reservation", "memory"},
		{l.CPUShares != 0, "cpu-shares", "cpu"},
		{l.CPUPeriod != 0, "cpu-period", "cpu"},
		{l.CPUQuota != 0, "cpu-quota", "cpu"},
		{l.NanoCPUs != 0, "cpus", "cpu"},
		{l.CpusetCPUs != "", "cpuset-cpus", "cpuset"},
		{l.CpusetMems != "", "cpuset-mems", "cpuset"},
		{l.Pids > 0, "pids-limit", "pids"},
		{l.BlkioWeight != 0, "blkio-weight", "io"},
		{len(l.BlkioWeightDevice) > 0, "blkio-weight-device", "io"},
		{len(l.ReadBps) > 0, "device-read-bps", "io"},
		{len(l.WriteBps) > 0, "device-write-bps", "io"},
		{len(l.ReadIOps) > 0, "device-read-iops", "io"},
		{len(l.WriteIOps) > 0, "device-write-iops", "io"},
	} {
		if n.given {
			needs = append(needs, Need{n.flag, n.controller})
		}
	}
	return needs
}

// cpuPeriod is the kernel's and docker's default, in microseconds.
const cpuPeriod = 100000

// Swap is the bound of memory and swap together: as much swap as memory when
// only the memory was given, as docker has it.
func (l *Limits) Swap() int64 {
	if l.MemorySwap == 0 && l.Memory > 0 {
		return 2 * l.Memory
	}
	return l.MemorySwap
}

// Resources are the limits as the OCI runtime spec writes them. has says which
// controllers the container's group has: the default bound of processes is left
// out where it cannot be enforced.
func (l *Limits) Resources(has func(controller string) bool) *specs.LinuxResources {
	r := &specs.LinuxResources{}
	if l.Memory != 0 || l.MemorySwap != 0 || l.MemoryReservation != 0 {
		r.Memory = &specs.LinuxMemory{Limit: given(l.Memory), Swap: given(l.Swap()), Reservation: given(l.MemoryReservation)}
	}
	r.CPU = l.cpu()
	if pids := l.PidsLimit(); has("pids") || l.Pids > 0 {
		r.Pids = &specs.LinuxPids{Limit: &pids}
	}
	r.BlockIO = l.blockIO()
	return r
}

// PidsLimit is the bound with its default; -1 is none.
func (l *Limits) PidsLimit() int64 {
	if l.Pids == 0 {
		return DefaultPids
	}
	return l.Pids
}

func (l *Limits) cpu() *specs.LinuxCPU {
	c := specs.LinuxCPU{Cpus: l.CpusetCPUs, Mems: l.CpusetMems}
	if l.CPUShares != 0 {
		c.Shares = &l.CPUShares
	}
	period, quota := l.CPUPeriod, l.CPUQuota
	if l.NanoCPUs > 0 {
		period, quota = cpuPeriod, l.NanoCPUs*cpuPeriod/1e9
	}
	if period != 0 {
		c.Period = &period
	}
	if quota != 0 {
		c.Quota = &quota
	}
	if c == (specs.LinuxCPU{}) {
		return nil
	}
	return &c
}

func (l *Limits) blockIO() *specs.LinuxBlockIO {
	b := specs.LinuxBlockIO{
		ThrottleReadBpsDevice: throttle(l.ReadBps), ThrottleWriteBpsDevice: throttle(l.WriteBps),
		ThrottleReadIOPSDevice: throttle(l.ReadIOps), ThrottleWriteIOPSDevice: throttle(l.WriteIOps),
	}
	if l.BlkioWeight != 0 {
		b.Weight = &l.BlkioWeight
	}
	for _, d := range l.BlkioWeightDevice {
		entry := specs.LinuxWeightDevice{Weight: &d.Weight}
		entry.Major, entry.Minor = d.Major, d.Minor
		b.WeightDevice = append(b.WeightDevice, entry)
	}
	return &b
}

func throttle(list []DeviceRate) (out []specs.LinuxThrottleDevice) {
	for _, d := range list {
		entry := specs.LinuxThrottleDevice{Rate: d.Rate}
		entry.Major, entry.Minor = d.Major, d.Minor
		out = append(out, entry)
	}
	return out
}

func given(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}

// minimum that a program can start in, docker's.
const minMemory = 6 << 20

// Check refuses what contradicts itself, in docker's words. cpus is how many
// processors the host has.
func (l *Limits) Check(cpus int) error {
	switch {
	case l.Memory != 0 && l.Memory < minMemory:
		return fmt.Errorf("Minimum memory limit allowed is 6MB")
	case l.Memory > 0 && l.MemorySwap > 0 && l.MemorySwap < l.Memory:
		return fmt.Errorf("Minimum memoryswap limit should be larger than memory limit, see usage")
	case l.Memory == 0 && l.MemorySwap > 0:
		return fmt.Errorf("You should always set the Memory limit when using Memoryswap limit, see usage")
	case l.MemoryReservation != 0 && l.MemoryReservation < minMemory:
		return fmt.Errorf("Minimum memory reservation allowed is 6MB")
	case l.Memory > 0 && l.MemoryReservation > l.Memory:
		return fmt.Errorf("Minimum memory limit can not be less than memory reservation limit, see usage")
	case l.NanoCPUs > 0 && l.CPUPeriod > 0:
		return fmt.Errorf("conflicting options: --cpus and --cpu-period cannot both be set")
	case l.NanoCPUs > 0 && l.CPUQuota > 0:
		return fmt.Errorf("conflicting options: --cpus and --cpu-quota cannot both be set")
	case l.NanoCPUs < 0 || l.NanoCPUs > int64(cpus)*1e9:
		return fmt.Errorf("range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", cpus, cpus)
	case l.CPUPeriod != 0 && (l.CPUPeriod < 1000 || l.CPUPeriod > 1000000):
		return fmt.Errorf("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case l.CPUQuota > 0 && l.CPUQuota < 1000:
		return fmt.Errorf("CPU cfs quota can not be less than 1ms (i.e. 1000)")
	case l.BlkioWeight != 0 && (l.BlkioWeight < 10 || l.BlkioWeight > 1000):
		return fmt.Errorf("Range of blkio weight is from 10 to 1000")
	}
	return nil
}
