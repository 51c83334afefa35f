package state

import (
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"bryo/internal/linux"
	"bryo/internal/logs"
	"bryo/network/port"
	"bryo/rootfs/image"
	"bryo/rootfs/mount"
	"bryo/sandbox/userns"
)

// Config is one container as it was asked for, resolved against its image: all
// that a start needs, now or after a restart. It is written once, at creation,
// to config.json in the container's directory.
//
//easyjson:json
type Config struct {
	ID   string `json:"id"` // 64 hex digits
	Name string `json:"name"`
	// Renaming is a second name that may be its: a rename is at work, or was cut.
	Renaming string    `json:"renaming,omitempty"`
	Created  time.Time `json:"created"`
	// Creator is the process that made the container; until a supervisor is
	// there, the container is being started only while it lives.
	Creator linux.ProcessRef `json:"creator"`

	Image   Image          `json:"image"`
	Process Process        `json:"process"`
	Host    Host           `json:"host"`
	Mapping userns.Mapping `json:"mapping"`
	Command []string       `json:"command,omitempty"` // the command line's own words, for inspect
}

// Image is what the container's root is made of.
type Image struct {
	ID        string       `json:"id"`
	Reference string       `json:"reference"` // as the user typed it
	Digest    string       `json:"digest,omitempty"`
	Layers    []string     `json:"layers"` // lower directories, topmost first
	Config    image.Config `json:"config"`
}

// Process is the container's program.
type Process struct {
	Args       []string `json:"args"`
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
	Env        []string `json:"env,omitempty"`
	WorkDir    string   `json:"workdir,omitempty"`
	User       string   `json:"user,omitempty"` // as given: name, uid, user:group
	Groups     []string `json:"groups,omitempty"`
	Tty        bool     `json:"tty,omitempty"`
	Stdin      bool     `json:"stdin,omitempty"` // -i
}

// Host is everything else: isolation, mounts, limits, lifetime.
type Host struct {
	Remove      bool              `json:"remove,omitempty"` // --rm
	Detached    bool              `json:"detached,omitempty"`
	Hostname    string            `json:"hostname,omitempty"`
	Domainname  string            `json:"domainname,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	StopSignal  string            `json:"stopSignal,omitempty"`
	StopTimeout *int              `json:"stopTimeout,omitempty"` // seconds
	Restart     Restart           `json:"restart,omitzero"`
	Log         logs.Config       `json:"log,omitzero"`
	// Health is the image's check with what the command line changed; nil: none.
	Health *image.Healthcheck `json:"health,omitempty"`

	Mounts   []mount.Mount  `json:"mounts,omitempty"`
	ReadOnly bool           `json:"readOnly,omitempty"`
	ShmSize  int64          `json:"shmSize,omitempty"` // bytes
	Devices  []mount.Device `json:"devices,omitempty"`

	Privileged bool              `json:"privileged,omitempty"`
	CapAdd     []string          `json:"capAdd,omitempty"`
	CapDrop    []string          `json:"capDrop,omitempty"`
	Security   Security          `json:"security"`
	Sysctls    map[string]string `json:"sysctls,omitempty"`
	Ulimits    []Ulimit          `json:"ulimits,omitempty"`
	Limits     Limits            `json:"limits,omitzero"`
	// CIDFile, VolumesFrom and Attach are kept for inspect: they have been obeyed.
	CIDFile     string   `json:"cidFile,omitempty"`
	VolumesFrom []string `json:"volumesFrom,omitempty"`
	Attach      []string `json:"attach,omitempty"` // stdin, stdout, stderr
	OOMScore    *int     `json:"oomScoreAdj,omitempty"`
	Init        bool     `json:"init,omitempty"`

	// Network is the mode: none, host, default, or the first network's name.
	Network  string    `json:"network"`
	Networks []Network `json:"networks,omitempty"`
	// Publish are the ports as asked for, those of PublishAll among them; Exposed
	// are the image's and the flags' ("80/tcp").
	Publish    []port.Mapping `json:"publish,omitempty"`
	PublishAll bool           `json:"publishAll,omitempty"`
	Exposed    []string       `json:"exposed,omitempty"`
	PID        string         `json:"pid,omitempty"`
	IPC        string         `json:"ipc,omitempty"`
	UTS        string         `json:"uts,omitempty"`
	UserNS     string         `json:"userns,omitempty"`
	KeepID     *KeepID        `json:"keepID,omitempty"`
	CgroupNS   string         `json:"cgroupns,omitempty"`
	AddHosts   []string       `json:"addHosts,omitempty"`
	DNS        []string       `json:"dns,omitempty"`
	DNSSearch  []string       `json:"dnsSearch,omitempty"`
	DNSOptions []string       `json:"dnsOptions,omitempty"`
}

// KeepID is --userns keep-id: a second user namespace inside the supervisor's, in
// which the invoking user has an id of his choice. The maps lead from the
// container's ids to those of the supervisor's namespace.
type KeepID struct {
	UID  uint32         `json:"uid"`
	GID  uint32         `json:"gid"`
	UIDs []userns.Range `json:"uids"`
	GIDs []userns.Range `json:"gids"`
}

// Maps are the second maps of users and groups; none without keep-id.
func (k *KeepID) Maps() (users, groups []userns.Range) {
	if k == nil {
		return nil, nil
	}
	return k.UIDs, k.GIDs
}

// Restart is a restart policy; the zero value is "no".
type Restart struct {
	Name string `json:"name,omitempty"`
	Max  int    `json:"max,omitempty"` // of on-failure; 0: no bound
}

// Restart policies, docker's words.
const (
	RestartNo            = "no"
	RestartAlways        = "always"
	RestartOnFailure     = "on-failure"
	RestartUnlessStopped = "unless-stopped"
)

// Security holds the parsed --security-opt values.
type Security struct {
	NoNewPrivileges bool `json:"noNewPrivileges,omitempty"`
	// Seccomp: empty for the default profile, "unconfined", or the profile's JSON.
	Seccomp string `json:"seccomp,omitempty"`
	// UnmaskAll leaves out the masked and read-only paths; Unmask names some.
	UnmaskAll bool     `json:"unmaskAll,omitempty"`
	Unmask    []string `json:"unmask,omitempty"`
	Mask      []string `json:"mask,omitempty"`
	Label     []string `json:"label,omitempty"`
	AppArmor  string   `json:"apparmor,omitempty"`
}

// Ulimit is one --ulimit.
type Ulimit = specs.POSIXRlimit
