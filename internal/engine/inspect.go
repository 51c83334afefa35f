package engine

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bryo/internal/logs"
	"bryo/internal/state"
	"bryo/internal/supervisor"
	"bryo/rootfs/image"
	"bryo/rootfs/mount"
)

// Inspect is docker's JSON of one container. Fields that a rootless runtime has
// no value for are there with docker's empty value, so that templates work.
type Inspect struct {
	ID              string `json:"Id"`
	Created         string
	Path            string
	Args            []string
	State           InspectState
	Image           string
	ResolvConfPath  string
	HostnamePath    string
	HostsPath       string
	LogPath         string
	Name            string
	RestartCount    int
	Driver          string
	Platform        string
	MountLabel      string
	ProcessLabel    string
	AppArmorProfile string
	ExecIDs         []string
	HostConfig      InspectHost
	GraphDriver     InspectDriver
	SizeRw          *int64 `json:",omitempty"`
	SizeRootFs      *int64 `json:",omitempty"`
	Mounts          []InspectMount
	Config          InspectConfig
	NetworkSettings InspectNetwork
}

// InspectState is docker's State.
type InspectState struct {
	Status     string
	Running    bool
	Paused     bool
	Restarting bool
	OOMKilled  bool
	Dead       bool
	Pid        int
	ExitCode   int
	Error      string
	StartedAt  string
	FinishedAt string
	Health     *state.Health `json:",omitempty"`
}

// InspectHost is docker's HostConfig.
type InspectHost struct {
	Binds           []string
	LogConfig       InspectLog
	NetworkMode     string
	PortBindings    map[string][]InspectPort
	RestartPolicy   InspectRestart
	AutoRemove      bool
	CapAdd          []string
	CapDrop         []string
	CgroupnsMode    string
	DNS             []string `json:"Dns"`
	DNSOptions      []string `json:"DnsOptions"`
	DNSSearch       []string `json:"DnsSearch"`
	ExtraHosts      []string
	GroupAdd        []string
	IpcMode         string //nolint:revive
	OomScoreAdj     int
	PidMode         string
	Privileged      bool
	PublishAllPorts bool
	ReadonlyRootfs  bool
	SecurityOpt     []string
	UTSMode         string
	UsernsMode      string
	ShmSize         int64
	Sysctls         map[string]string `json:",omitempty"`
	Runtime         string
	Init            *bool             `json:",omitempty"`
	Tmpfs           map[string]string `json:",omitempty"`
	MaskedPaths     []string
	ReadonlyPaths   []string
	ContainerIDFile string
	VolumeDriver    string
	VolumesFrom     []string
	ConsoleSize     [2]uint
	Annotations     map[string]string `json:",omitempty"`
	Cgroup          string
	Links           []string
	StorageOpt      map[string]string `json:",omitempty"`
	Isolation       string
	Mounts          []InspectMountSpec `json:",omitempty"`
	InspectResources
}

// InspectLog, InspectPort, InspectRestart, InspectUlimit and InspectDriver are
// docker's smaller objects.
type (
	InspectLog struct {
		Type   string
		Config map[string]string
	}
	InspectPort struct {
		HostIP   string `json:"HostIp"`
		HostPort string
	}
	InspectRestart struct {
		Name              string
		MaximumRetryCount int
	}
	InspectUlimit struct {
		Name string
		Hard int64
		Soft int64
	}
	InspectDriver struct {
		Name string
		Data map[string]string
	}
)

// InspectMount is one entry of docker's Mounts.
type InspectMount struct {
	Type        string
	Name        string `json:",omitempty"`
	Source      string
	Destination string
	Driver      string `json:",omitempty"`
	Mode        string
	RW          bool
	Propagation string
}

// InspectConfig is docker's Config.
type InspectConfig struct {
	Hostname        string
	Domainname      string
	User            string
	AttachStdin     bool
	AttachStdout    bool
	AttachStderr    bool
	ExposedPorts    map[string]struct{} `json:",omitempty"`
	Tty             bool
	OpenStdin       bool
	StdinOnce       bool
	Env             []string
	Cmd             []string
	Healthcheck     *image.Healthcheck `json:",omitempty"`
	Image           string
	Volumes         map[string]struct{}
	WorkingDir      string
	Entrypoint      []string
	Labels          map[string]string
	OnBuild         []string
	MacAddress      string   `json:",omitempty"`
	NetworkDisabled bool     `json:",omitempty"`
	ArgsEscaped     bool     `json:",omitempty"`
	Shell           []string `json:",omitempty"`
	StopSignal      string   `json:",omitempty"`
	StopTimeout     *int     `json:",omitempty"`
}

// Inspect describes a container in docker's terms.
func (e *Engine) Inspect(c *Container, sizes bool) *Inspect {
	dir := e.containers().Path(c.ID)
	out := &Inspect{
		ID: c.ID, Created: stamp(c.Created), State: inspectState(c), Image: "sha256:" + c.Image.ID,
		ResolvConfPath: filepath.Join(dir, "resolv.conf"), HostnamePath: filepath.Join(dir, "hostname"),
		HostsPath: filepath.Join(dir, "hosts"), Name: "/" + c.Name, RestartCount: c.Status.Restarts,
		Driver: "overlay", Platform: c.Image.Config.OS, HostConfig: inspectHost(c), Mounts: e.inspectMounts(c),
		GraphDriver: InspectDriver{Name: "overlay", Data: map[string]string{
			"LowerDir": strings.Join(c.Image.Layers, ":"), "UpperDir": filepath.Join(dir, "upper"),
			"WorkDir": filepath.Join(dir, "work"), "MergedDir": filepath.Join(e.containers().Run(), "root"),
		}},
		Config:          inspectConfig(c),
		NetworkSettings: inspectNetworks(c),
	}
	if c.Host.Log.InFiles() {
		out.LogPath = logs.Path(e.LogDir(c))
	}
	if len(c.Process.Args) > 0 {
		out.Path, out.Args = c.Process.Args[0], c.Process.Args[1:]
	}
	if sizes {
		out.SizeRw, out.SizeRootFs = e.inspectSizes(c)
	}
	return out
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "0001-01-01T00:00:00Z"
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func inspectState(c *Container) InspectState {
	s := c.Status
	state := InspectState{
		Status: s.Phase, Running: c.Running(), Paused: s.Phase == "paused", Restarting: s.Phase == "restarting",
		OOMKilled: s.OOMKilled, Dead: s.Phase == "dead", ExitCode: s.ExitCode, Error: s.Error,
		StartedAt: stamp(s.Started), FinishedAt: stamp(s.Finished), Health: s.Health,
	}
	if c.Running() {
		state.Pid = s.Init.PID
		for _, n := range s.Networks {
			if n.Error != "" {
				state.Error = "network " + n.Name + ": " + n.Error
			}
		}
	}
	return state
}

func inspectHost(c *Container) InspectHost {
	h := c.Host
	out := InspectHost{
		LogConfig: InspectLog{Type: h.Log.Driver, Config: orEmpty(h.Log.Options)}, NetworkMode: state.ShownNetwork(h.Network),
		PortBindings: portBindings(c), PublishAllPorts: h.PublishAll, RestartPolicy: InspectRestart{Name: h.Restart.Name, MaximumRetryCount: h.Restart.Max},
		AutoRemove: h.Remove, CapAdd: h.CapAdd, CapDrop: h.CapDrop, CgroupnsMode: orPrivate(h.CgroupNS),
		DNS: orNone(h.DNS), DNSOptions: orNone(h.DNSOptions), DNSSearch: orNone(h.DNSSearch), ExtraHosts: h.AddHosts, GroupAdd: c.Process.Groups,
		IpcMode: orPrivate(h.IPC), PidMode: h.PID, Privileged: h.Privileged, ReadonlyRootfs: h.ReadOnly, UTSMode: h.UTS,
		UsernsMode: h.UserNS, ShmSize: h.ShmSize, Sysctls: h.Sysctls, Runtime: "bryo",
		SecurityOpt: securityOptions(h.Security), ContainerIDFile: h.CIDFile, VolumesFrom: h.VolumesFrom, Annotations: h.Annotations,
		Mounts: inspectMountSpecs(h.Mounts), InspectResources: inspectResources(&h),
	}
	out.MaskedPaths, out.ReadonlyPaths = supervisor.Hidden(c.Config)
	if h.Init {
		out.Init = &h.Init
	}
	if out.ShmSize == 0 {
		out.ShmSize = 64 << 20
	}
	if out.RestartPolicy.Name == "" {
		out.RestartPolicy.Name = state.RestartNo
	}
	if h.OOMScore != nil {
		out.OomScoreAdj = *h.OOMScore
	}
	for _, m := range h.Mounts {
		switch {
		case m.Spec: // in Mounts
		case m.Type == mount.Tmpfs:
			if out.Tmpfs == nil {
				out.Tmpfs = map[string]string{}
			}
			out.Tmpfs[m.Target] = strings.Join(m.Tmpfs, ",")
		default:
			if m.From != "" || anonymous(m) {
				continue
			}
			bind := m.Source + ":" + m.Target
			if m.Mode != "" {
				bind += ":" + m.Mode
			}
			out.Binds = append(out.Binds, bind)
		}
	}
	return out
}

// anonymous: nobody named the volume, so that docker shows it among Config.Volumes.
func anonymous(m mount.Mount) bool { return m.Type == mount.Volume && state.IsID(m.Source) }

// orNone: docker writes nothing as [] here, not as null.
func orNone(list []string) []string { return append([]string{}, list...) }

func orPrivate(mode string) string {
	if mode == "" {
		return "private"
	}
	return mode
}

func securityOptions(s state.Security) (options []string) {
	if s.NoNewPrivileges {
		options = append(options, "no-new-privileges")
	}
	if s.Seccomp == "unconfined" {
		options = append(options, "seccomp=unconfined")
	} else if s.Seccomp != "" {
		options = append(options, "seccomp="+s.Seccomp)
	}
	if s.UnmaskAll {
		options = append(options, "systempaths=unconfined")
	}
	for _, label := range s.Label {
		options = append(options, "label="+label)
	}
	return options
}

func (e *Engine) inspectMounts(c *Container) []InspectMount {
	mounts := []InspectMount{}
	for _, m := range c.Host.Mounts {
		if m.Type == mount.Tmpfs && !m.Spec {
			continue // docker has those of --tmpfs in HostConfig.Tmpfs alone
		}
		entry := InspectMount{
			Type: string(m.Type), Source: m.Source, Destination: m.Target, Mode: m.Mode, RW: !m.ReadOnly, Propagation: string(m.Propagation),
		}
		if m.Type == mount.Volume {
			entry.Name, entry.Driver = m.Source, "local"
			entry.Source = filepath.Join(e.Root, "volumes", m.Source, "_data")
		}
		if m.Type == mount.Bind && entry.Propagation == "" {
			entry.Propagation = "rprivate"
		}
		mounts = append(mounts, entry)
	}
	return mounts
}

func inspectConfig(c *Container) InspectConfig {
	hostname := c.Host.Hostname
	if hostname == "" {
		hostname = c.ID[:12]
	}
	attached := func(name string) bool {
		return !c.Host.Detached && (len(c.Host.Attach) == 0 || slices.Contains(c.Host.Attach, name))
	}
	return InspectConfig{
		Hostname: hostname, Domainname: c.Host.Domainname, User: c.Process.User,
		AttachStdin: attached("stdin") && c.Process.Stdin, AttachStdout: attached("stdout"), AttachStderr: attached("stderr"),
		ExposedPorts: exposedPorts(c), Tty: c.Process.Tty, OpenStdin: c.Process.Stdin, StdinOnce: attached("stdin") && c.Process.Stdin,
		Env: c.Process.Env, Cmd: c.Process.Cmd, Healthcheck: c.Host.Health, Image: c.Image.Reference,
		Volumes: shownVolumes(c), WorkingDir: c.Process.WorkDir, Entrypoint: c.Process.Entrypoint,
		Labels: orEmpty(c.Host.Labels), StopSignal: c.Host.StopSignal, StopTimeout: c.Host.StopTimeout,
	}
}

// shownVolumes are those that have no name of the user's: the image's and -v /path.
func shownVolumes(c *Container) map[string]struct{} {
	volumes := maps.Clone(c.Image.Config.Volumes)
	for _, m := range c.Host.Mounts {
		if !m.Spec && !m.FromImage && m.From == "" && anonymous(m) {
			if volumes == nil {
				volumes = map[string]struct{}{}
			}
			volumes[m.Target] = struct{}{}
		}
	}
	return volumes
}
