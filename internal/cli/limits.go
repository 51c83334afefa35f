package cli

import (
	"errors"
	"fmt"
	"math/big"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"bryo/internal/state"
)

// limitFlags are those that run, create and update share.
func limitFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "blkio-weight", Usage: "block IO weight, 10 to 1000, 0 for none"},
		&cli.StringFlag{Name: "cpu-period", Usage: "length of a CPU period in microseconds"},
		&cli.StringFlag{Name: "cpu-quota", Usage: "CPU time per period in microseconds"},
		&cli.StringFlag{Name: "cpu-shares", Aliases: []string{"c"}, Usage: "relative weight of CPU time"},
		&cli.StringFlag{Name: "cpus", Usage: "number of CPUs, for instance 1.5"},
		&cli.StringFlag{Name: "cpuset-cpus", Usage: "CPUs to run on (0-3, 0,1)"},
		&cli.StringFlag{Name: "cpuset-mems", Usage: "memory nodes to use (0-3, 0,1)"},
		&cli.StringFlag{Name: "memory", Aliases: []string{"m"}, Usage: "memory limit"},
		&cli.StringFlag{Name: "memory-reservation", Usage: "memory that is kept when it gets short"},
		&cli.StringFlag{Name: "memory-swap", Usage: "memory and swap together, -1 for no bound"},
		&cli.StringFlag{Name: "pids-limit", Usage: "most processes and threads, -1 for no bound"},
	}
}

// creationLimits are those that only run and create have.
func creationLimits() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "blkio-weight-device", Usage: "block IO weight of a device (`PATH:WEIGHT`)"},
		&cli.StringFlag{Name: "cgroup-parent", Usage: "systemd slice of the container's group"},
		&cli.StringSliceFlag{Name: "device-read-bps", Usage: "limit reads from a device (`PATH:BYTES`)"},
		&cli.StringSliceFlag{Name: "device-read-iops", Usage: "limit reads a second (`PATH:NUMBER`)"},
		&cli.StringSliceFlag{Name: "device-write-bps", Usage: "limit writes to a device (`PATH:BYTES`)"},
		&cli.StringSliceFlag{Name: "device-write-iops", Usage: "limit writes a second (`PATH:NUMBER`)"},
	}
}

// readLimits changes those that the command line gives.
func readLimits(c *cli.Context, l *state.Limits) error {
	if err := parseLimits(c, l); err != nil {
		return err
	}
	if err := l.Check(runtime.NumCPU()); err != nil {
		return usageError(err.Error())
	}
	return nil
}

// parseLimits does not look at how they go with one another.
func parseLimits(c *cli.Context, l *state.Limits) error {
	for _, f := range []struct {
		name string
		read func(string) error
	}{
		{"blkio-weight", weight(&l.BlkioWeight)},
		{"cpu-period", unsigned(&l.CPUPeriod)},
		{"cpu-quota", signed(&l.CPUQuota)},
		{"cpu-shares", unsigned(&l.CPUShares)},
		{"cpus", nanoCPUs(&l.NanoCPUs)},
		{"cpuset-cpus", ranges(&l.CpusetCPUs)},
		{"cpuset-mems", ranges(&l.CpusetMems)},
		{"memory", sizeOf(&l.Memory, false)},
		{"memory-reservation", sizeOf(&l.MemoryReservation, false)},
		{"memory-swap", sizeOf(&l.MemorySwap, true)},
		{"pids-limit", signed(&l.Pids)},
		{"cgroup-parent", slice(&l.Slice)},
	} {
		if !c.IsSet(f.name) {
			continue
		}
		if err := f.read(c.String(f.name)); err != nil {
			return usageError(fmt.Sprintf("invalid argument %q for \"%s\" flag: %v", c.String(f.name), spelled(f.name), err))
		}
	}
	if l.Pids < 0 {
		l.Pids = -1
	}
	return readDeviceLimits(c, l)
}

// spelled is a flag as docker's messages name it.
func spelled(name string) string {
	if short := map[string]string{"memory": "m", "cpu-shares": "c"}[name]; short != "" {
		return "-" + short + ", --" + name
	}
	return "--" + name
}

func weight(to *uint16) func(string) error {
	return func(text string) error {
		n, err := strconv.ParseUint(text, 10, 16)
		*to = uint16(n)
		return numeric(err)
	}
}

func unsigned(to *uint64) func(string) error {
	return func(text string) (err error) {
		*to, err = strconv.ParseUint(text, 10, 63)
		return numeric(err)
	}
}

func signed(to *int64) func(string) error {
	return func(text string) (err error) {
		*to, err = strconv.ParseInt(text, 10, 64)
		return numeric(err)
	}
}

// numeric is why a text is no number that fits, in docker's words but for the name of
// the function that said so.
func numeric(err error) error {
	if bad := new(strconv.NumError); errors.As(err, &bad) {
		return bad.Err
	}
	return err
}

func nanoCPUs(to *int64) func(string) error {
	return func(text string) error {
		n, ok := new(big.Rat).SetString(text)
		if !ok {
			return fmt.Errorf("failed to parse %s as a rational number", text)
		}
		nano := n.Mul(n, big.NewRat(1e9, 1))
		if !nano.IsInt() || !nano.Num().IsInt64() {
			return fmt.Errorf("value is too precise")
		}
		*to = nano.Num().Int64()
		return nil
	}
}

func sizeOf(to *int64, unbounded bool) func(string) error {
	return func(text string) (err error) {
		if unbounded && text == "-1" {
			*to = -1
			return nil
		}
		if *to, err = units.RAMInBytes(text); err != nil || *to < 0 {
			return fmt.Errorf("invalid size: '%s'", text)
		}
		return nil
	}
}

// ranges keeps a list of numbers from being anything else: it is written to a
// file of the kernel.
func ranges(to *string) func(string) error {
	return func(text string) error {
		for _, part := range strings.Split(text, ",") {
			first, last, span := strings.Cut(part, "-")
			a, err := strconv.ParseUint(first, 10, 16)
			b := a
			if err == nil && span {
				b, err = strconv.ParseUint(last, 10, 16)
			}
			if err != nil || b < a {
				return fmt.Errorf("not a list such as 0-3,5")
			}
		}
		*to = text
		return nil
	}
}

func slice(to *string) func(string) error {
	return func(text string) error {
		if !strings.HasSuffix(text, ".slice") || strings.ContainsAny(text, "/ \n") {
			return fmt.Errorf("not the name of a systemd slice (NAME.slice)")
		}
		*to = text
		return nil
	}
}

func readDeviceLimits(c *cli.Context, l *state.Limits) error {
	for _, f := range []struct {
		name  string
		to    *[]state.DeviceRate
		bytes bool
	}{
		{"device-read-bps", &l.ReadBps, true}, {"device-write-bps", &l.WriteBps, true},
		{"device-read-iops", &l.ReadIOps, false}, {"device-write-iops", &l.WriteIOps, false},
	} {
		for _, text := range c.StringSlice(f.name) {
			device, value, major, minor, err := blockDevice(text)
			var rate int64
			if err == nil && f.bytes {
				rate, err = units.RAMInBytes(value)
			} else if err == nil {
				rate, err = strconv.ParseInt(value, 10, 64)
			}
			if err != nil || rate < 0 {
				return badDevice(f.name, text, err)
			}
			*f.to = append(*f.to, state.DeviceRate{Path: device, Major: major, Minor: minor, Rate: uint64(rate)})
		}
	}
	for _, text := range c.StringSlice("blkio-weight-device") {
		device, value, major, minor, err := blockDevice(text)
		weight, e := strconv.ParseUint(value, 10, 16)
		if err != nil || e != nil || weight < 10 || weight > 1000 {
			return badDevice("blkio-weight-device", text, err)
		}
		l.BlkioWeightDevice = append(l.BlkioWeightDevice, state.DeviceWeight{Path: device, Major: major, Minor: minor, Weight: uint16(weight)})
	}
	return nil
}

func badDevice(flag, text string, err error) error {
	if err == nil {
		err = fmt.Errorf("not a device and a number")
	}
	return usageError(fmt.Sprintf("invalid argument %q for \"--%s\" flag: %v", text, flag, err))
}

func blockDevice(text string) (device, value string, major, minor int64, err error) {
	device, value, found := strings.Cut(text, ":")
	if !found {
		return "", "", 0, 0, fmt.Errorf("bad format: %s", text)
	}
	if !strings.HasPrefix(device, "/dev/") {
		return "", "", 0, 0, fmt.Errorf("bad format for device path: %s", text)
	}
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return "", "", 0, 0, &os.PathError{Op: "stat", Path: device, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", "", 0, 0, fmt.Errorf("%s is not a block device", device)
	}
	return device, value, int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev)), nil
}
