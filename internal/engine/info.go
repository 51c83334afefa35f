package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bryo/internal/hostinfo"
	"bryo/internal/processes"
	"bryo/internal/state"
	"bryo/rootfs/image"
)

// Info is docker's JSON of `info`. Keys of a daemon, of Swarm and of Windows are
// there with their empty values, so that templates work.
type Info struct {
	ID                 string
	Containers         int
	ContainersRunning  int
	ContainersPaused   int
	ContainersStopped  int
	Images             int
	Driver             string
	DriverStatus       [][2]string
	Plugins            InfoPlugins
	MemoryLimit        bool
	SwapLimit          bool
	CPUCfsPeriod       bool `json:"CpuCfsPeriod"`
	CPUCfsQuota        bool `json:"CpuCfsQuota"`
	CPUShares          bool
	CPUSet             bool
	PidsLimit          bool
	IPv4Forwarding     bool
	Debug              bool
	NFd                int
	OomKillDisable     bool
	NGoroutines        int
	SystemTime         string
	LoggingDriver      string
	CgroupDriver       string
	CgroupVersion      string `json:",omitempty"`
	NEventsListener    int
	KernelVersion      string
	OperatingSystem    string
	OSVersion          string
	OSType             string
	Architecture       string
	IndexServerAddress string
	RegistryConfig     *struct{}
	NCPU               int
	MemTotal           int64
	GenericResources   []struct{}
	DockerRootDir      string
	HTTPProxy          string `json:"HttpProxy"`
	HTTPSProxy         string `json:"HttpsProxy"`
	NoProxy            string
	Name               string
	Labels             []string
	ExperimentalBuild  bool
	ServerVersion      string
	Runtimes           map[string]InfoRuntime
	DefaultRuntime     string
	Swarm              InfoSwarm
	LiveRestoreEnabled bool
	Isolation          string
	InitBinary         string
	ContainerdCommit   InfoCommit
	RuncCommit         InfoCommit
	InitCommit         InfoCommit
	SecurityOptions    []string
	CDISpecDirs        []string
	Warnings           []string
}

// InfoPlugins, InfoRuntime, InfoSwarm and InfoCommit are docker's smaller objects.
type (
	InfoPlugins struct {
		Volume        []string
		Network       []string
		Authorization []string
		Log           []string
	}
	InfoRuntime struct {
		Path string `json:"path"`
	}
	InfoSwarm  struct{ LocalNodeState string }
	InfoCommit struct{ ID string }
)

// Info describes the host and the data root. It works where neither can be used:
// what cannot be read is a warning.
func (e *Engine) Info(version string) *Info {
	host := hostinfo.System()
	i := &Info{
		ID: rootID(e.Root), Driver: "overlay", ServerVersion: version, SystemTime: time.Now().Format(time.RFC3339Nano),
		LoggingDriver: "json-file", NCPU: runtime.NumCPU(), MemTotal: int64(processes.HostMemory()), DockerRootDir: e.Root,
		OSType: runtime.GOOS, IndexServerAddress: "https://index.docker.io/v1/", Debug: e.debug, IPv4Forwarding: forwards(),
		Plugins:  InfoPlugins{Volume: []string{"local"}, Network: []string{"bridge", "host", "null"}, Log: []string{"json-file", "local", "journald", "none"}},
		Runtimes: map[string]InfoRuntime{"bryo": {"bryo"}}, DefaultRuntime: "bryo", Swarm: InfoSwarm{"inactive"}, InitBinary: "bryo",
		SecurityOptions: []string{"name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"},
		HTTPProxy:       environment("http_proxy"), HTTPSProxy: environment("https_proxy"), NoProxy: environment("no_proxy"),
		CgroupVersion: CgroupVersion(), CgroupDriver: CgroupDriver(), Labels: []string{}, Warnings: []string{},
	}
	i.OperatingSystem, i.OSVersion = host.Distribution()
	i.Name, _ = os.Hostname()
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		i.KernelVersion, i.Architecture = unix.ByteSliceToString(name.Release[:]), unix.ByteSliceToString(name.Machine[:])
	}
	i.limits(LimitNames())
	e.count(i)
	return i
}

func environment(name string) string {
	if value := os.Getenv(strings.ToUpper(name)); value != "" {
		return value
	}
	return os.Getenv(name)
}

func (i *Info) limits(controllers []string) {
	has := func(name string) bool { return slices.Contains(controllers, name) }
	i.MemoryLimit, i.SwapLimit, i.PidsLimit, i.CPUSet = has("memory"), has("memory"), has("pids"), has("cpuset")
	i.CPUShares, i.CPUCfsPeriod, i.CPUCfsQuota = has("cpu"), has("cpu"), has("cpu")
	for _, w := range []struct{ controller, what string }{
		{"memory", "memory limit"}, {"memory", "swap limit"}, {"cpu", "cpu cfs quota"}, {"cpu", "cpu shares"}, {"cpuset", "cpuset"}, {"pids", "pids limit"}, {"io", "blkio"},
	} {
		if !has(w.controller) {
			i.Warnings = append(i.Warnings, "WARNING: No "+w.what+" support")
		}
	}
}

// count looks at the data root.
func (e *Engine) count(i *Info) {
	list, err := e.Containers()
	if err != nil {
		i.Warnings = append(i.Warnings, "WARNING: "+err.Error())
	}
	for _, c := range list {
		i.Containers++
		switch c.Status.Phase {
		case state.Running:
			i.ContainersRunning++
		case state.Paused:
			i.ContainersPaused++
		default:
			i.ContainersStopped++
		}
	}
	stored, err := image.List(e.Root)
	if err != nil {
		i.Warnings = append(i.Warnings, "WARNING: "+err.Error())
	}
	i.Images = len(stored)
	var fs unix.Statfs_t
	if unix.Statfs(e.Root, &fs) == nil {
		i.DriverStatus = [][2]string{
			{"Backing Filesystem", hostinfo.FileSystemName(fs.Type)},
			{"Free Space", strconv.FormatUint(fs.Bavail*uint64(fs.Bsize), 10)},
		}
	}
}

func forwards() bool {
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	return err == nil && strings.TrimSpace(string(data)) == "1"
}

// rootID tells data roots apart; it says nothing of the host.
func rootID(root string) string {
	sum := sha256.Sum256([]byte(root))
	return hex.EncodeToString(sum[:16])
}
