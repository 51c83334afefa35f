package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"bryo/internal/engine"
	"bryo/internal/logs"
	"bryo/internal/state"
	"bryo/internal/trace"
	"bryo/rootfs/image"
	"bryo/rootfs/mount"
	"bryo/sandbox"
	"bryo/seccomp"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "create and run a new container from an image",
		ArgsUsage: "IMAGE [COMMAND] [ARG...]",
		Flags: append(containerFlags(),
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "run in the background and print the container ID"},
			&cli.StringFlag{Name: "detach-keys", Usage: "key sequence that detaches"},
			&cli.BoolFlag{Name: "sig-proxy", Value: true, Usage: "pass received signals on to the process"},
		),
		Action: run,
	}
}

func run(c *cli.Context) error {
	request, err := runRequest(c)
	trace.Mark("command line read")
	if err != nil {
		return creation(err)
	}
	if err := checkDetachKeys(c); err != nil {
		return creation(err)
	}
	e, err := engineOf(c)
	if err != nil {
		return creation(err)
	}
	request.Host.Detached = c.Bool("detach")
	if request.Host.Detached && len(request.Host.Attach) > 0 {
		return clientError("conflicting options: cannot specify both --attach and --detach")
	}
	e.Prepare()
	config, err := e.Create(c.Context, *request)
	if err != nil {
		return creation(err)
	}
	if c.Bool("detach") {
		if err := e.Background(config); err != nil {
			return started(err)
		}
		warnOfLogout(config)
		_, err = fmt.Fprintln(stdout(c), config.ID)
		return err
	}
	options := attachments(request.Host.Attach)
	options.SignalProxy, options.DetachKeys = c.Bool("sig-proxy"), c.String("detach-keys")
	if !options.Stdout && !options.Stderr {
		fmt.Fprintln(stdout(c), config.ID) // docker: nothing else tells which one it is
	}
	code, err := e.Foreground(config, options)
	return exited(code, err)
}

// attachments: all three, unless the user names some.
func attachments(names []string) engine.ForegroundOptions {
	all := len(names) == 0
	return engine.ForegroundOptions{
		Stdin: all || contains(names, "stdin"), Stdout: all || contains(names, "stdout"), Stderr: all || contains(names, "stderr"),
	}
}

func attachOf(c *cli.Context, r *engine.RunRequest) error {
	for _, name := range c.StringSlice("attach") {
		name = strings.ToLower(name)
		if !contains([]string{"stdin", "stdout", "stderr"}, name) {
			return usageError(fmt.Sprintf("invalid argument %q for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR", name))
		}
		r.Host.Attach = append(r.Host.Attach, name)
	}
	return nil
}

// containerFlags are those that run and create share, in docker's spelling.
func containerFlags() []cli.Flag {
	flags := []cli.Flag{
		&cli.StringSliceFlag{Name: "add-host", Usage: "add a `HOST:IP` line to /etc/hosts"},
		&cli.StringSliceFlag{Name: "annotation", Usage: "add an annotation (`KEY=VALUE`)"},
		&cli.StringSliceFlag{Name: "cap-add", Usage: "add a capability"},
		&cli.StringSliceFlag{Name: "cap-drop", Usage: "drop a capability"},
		&cli.StringFlag{Name: "cgroupns", Usage: "cgroup namespace: host or private"},
		&cli.StringFlag{Name: "cidfile", Usage: "write the container ID to `FILE`"},
		&cli.StringSliceFlag{Name: "device", Usage: "add a device of the host"},
		&cli.StringSliceFlag{Name: "dns", Usage: "use this DNS server"},
		&cli.StringSliceFlag{Name: "dns-option", Aliases: []string{"dns-opt"}, Usage: "use this resolver option"},
		&cli.StringSliceFlag{Name: "dns-search", Usage: "use this search domain"},
		&cli.StringFlag{Name: "domainname", Usage: "NIS domain name"},
		&cli.StringFlag{Name: "entrypoint", Usage: "replace the image's ENTRYPOINT"},
		&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "set `NAME=VALUE`, or take NAME from here"},
		&cli.StringSliceFlag{Name: "env-file", Usage: "read variables from `FILE`"},
		&cli.StringSliceFlag{Name: "group-add", Usage: "add a supplementary group"},
		&cli.BoolFlag{Name: "help", Usage: "print usage"},
		&cli.StringFlag{Name: "hostname", Aliases: []string{"h"}, Usage: "host name inside"},
		&cli.BoolFlag{Name: "init", Usage: "run an init inside that reaps and forwards signals"},
		&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "keep standard input open"},
		&cli.StringFlag{Name: "ipc", Usage: "IPC namespace: private or host"},
		&cli.StringSliceFlag{Name: "label", Aliases: []string{"l"}, Usage: "set a label"},
		&cli.StringSliceFlag{Name: "label-file", Usage: "read labels from `FILE`"},
		&cli.StringFlag{Name: "log-driver", Usage: "json-file, local, journald or none"},
		&cli.StringSliceFlag{Name: "log-opt", Usage: "option of the log driver (`KEY=VALUE`)"},
		&cli.StringSliceFlag{Name: "mount", Usage: "attach a mount (type=bind|volume|tmpfs,...)"},
		&cli.StringFlag{Name: "ip", Usage: "IPv4 address on the first network"},
		&cli.StringFlag{Name: "ip6", Usage: "IPv6 address on the first network"},
		&cli.StringFlag{Name: "mac-address", Usage: "hardware address on the first network"},
		&cli.StringFlag{Name: "name", Usage: "name the container"},
		&cli.StringSliceFlag{Name: "network-alias", Aliases: []string{"net-alias"}, Usage: "another name on the first network"},
		&cli.StringSliceFlag{Name: "network", Aliases: []string{"net"}, Usage: "network: its name (name=...,alias=...,ip=...), default[:host-loopback,metadata,mtu=N], bypass[:...], none, host, container:`NAME`"},
		&cli.IntFlag{Name: "oom-score-adj", Usage: "adjust the host's OOM preference (-1000 to 1000)"},
		&cli.StringFlag{Name: "pid", Usage: "PID namespace: private or host"},
		&cli.StringFlag{Name: "platform", Usage: "platform of the image (`OS/ARCH[/VARIANT]`)"},
		&cli.BoolFlag{Name: "privileged", Usage: "all capabilities of the user namespace, no seccomp, no masks"},
		&cli.StringFlag{Name: "pull", Value: "missing", Usage: "pull policy: always, missing, never"},
		&cli.StringSliceFlag{Name: "expose", Usage: "expose a port or a range of ports"},
		&cli.StringSliceFlag{Name: "publish", Aliases: []string{"p"}, Usage: "publish a port: `[ADDRESS:][HOST:]CONTAINER[/PROTOCOL]`"},
		&cli.BoolFlag{Name: "publish-all", Aliases: []string{"P"}, Usage: "publish all exposed ports on any ports of the host"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress while pulling"},
		&cli.BoolFlag{Name: "read-only", Usage: "mount the root read-only"},
		&cli.StringFlag{Name: "restart", Usage: "restart policy: no, on-failure[:N], always, unless-stopped"},
		&cli.BoolFlag{Name: "rm", Usage: "remove the container and its anonymous volumes when it ends"},
		&cli.StringSliceFlag{Name: "security-opt", Usage: "security options"},
		&cli.StringFlag{Name: "shm-size", Usage: "size of /dev/shm"},
		&cli.StringFlag{Name: "stop-signal", Usage: "signal that stops the container"},
		&cli.IntFlag{Name: "stop-timeout", Usage: "seconds until a stop kills"},
		&cli.StringSliceFlag{Name: "sysctl", Usage: "set a namespaced kernel parameter"},
		&cli.StringSliceFlag{Name: "tmpfs", Usage: "mount a tmpfs"},
		&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "allocate a terminal"},
		&cli.StringSliceFlag{Name: "ulimit", Usage: "set a limit (`NAME=SOFT[:HARD]`)"},
		&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "user and group (`NAME|UID[:GROUP|GID]`)"},
		&cli.StringFlag{Name: "userns", Usage: "user namespace: host or keep-id[:uid=N,gid=N]"},
		&cli.StringFlag{Name: "uts", Usage: "UTS namespace: private or host"},
		&cli.StringSliceFlag{Name: "volume", Aliases: []string{"v"}, Usage: "mount a directory or a volume (`SOURCE:TARGET[:OPTIONS]`)"},
		&cli.StringSliceFlag{Name: "attach", Aliases: []string{"a"}, Usage: "attach only this of stdin, stdout and stderr"},
		&cli.StringSliceFlag{Name: "volumes-from", Usage: "mount what another container mounts (`CONTAINER[:ro]`)"},
		&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "working directory inside"},
	}
	flags = append(flags, healthFlags()...)
	flags = append(append(flags, limitFlags()...), creationLimits()...)
	return append(flags, refusedFlags("run")...)
}

func runRequest(c *cli.Context) (*engine.RunRequest, error) {
	if err := refuse(c); err != nil {
		return nil, err
	}
	if err := atLeast(c, 1); err != nil {
		return nil, err
	}
	words := c.Args().Slice()
	platform, err := platformOf(c)
	if err != nil && c.Command.Name == "create" {
		return nil, clientError("error parsing specified platform: " + err.Error()) // docker's is 1 here
	}
	if err != nil {
		return nil, fmt.Errorf("error parsing specified platform: %w", err)
	}
	r := &engine.RunRequest{
		Image: words[0], Command: words[1:], Platform: platform, Pull: c.String("pull"),
		Quiet: c.Bool("quiet"), Name: c.String("name"), Words: words,
	}
	switch r.Pull {
	case "always", "missing", "never":
	default:
		return nil, usageError(fmt.Sprintf("invalid pull option: '%s': must be one of \"always\", \"missing\" or \"never\"", r.Pull))
	}
	if r.Name != "" {
		r.Name = strings.TrimPrefix(r.Name, "/")
		if !state.ValidName(r.Name) {
			return nil, usageError(fmt.Sprintf("Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", printable(r.Name)))
		}
	}
	if c.IsSet("entrypoint") {
		r.EntrypointSet = true
		if entry := c.String("entrypoint"); entry != "" {
			r.Entrypoint = []string{entry}
		}
	}
	for _, fill := range []func(*cli.Context, *engine.RunRequest) error{
		processOf, identityOf, healthOf, mountsOf, securityOf, limitsOf, isolationOf, attachOf, networkOf, portsOf,
	} {
		if err := fill(c, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func processOf(c *cli.Context, r *engine.RunRequest) error {
	p := &r.Process
	p.Tty, p.Stdin = c.Bool("tty"), c.Bool("interactive")
	p.User, p.WorkDir, p.Groups = c.String("user"), c.String("workdir"), c.StringSlice("group-add")
	var err error
	if p.Env, err = environmentOf(c); err != nil {
		return err
	}
	if p.WorkDir != "" && !filepath.IsAbs(p.WorkDir) {
		return usageError(fmt.Sprintf("the working directory '%s' is invalid, it needs to be an absolute path", p.WorkDir))
	}
	return nil
}

// environmentOf reads --env-file and then --env.
func environmentOf(c *cli.Context) (env []string, err error) {
	for _, file := range c.StringSlice("env-file") {
		entries, err := readEnvFile(file)
		if err != nil {
			return nil, err
		}
		env = append(env, entries...)
	}
	for _, entry := range c.StringSlice("env") {
		entry, err := envEntry(entry)
		if err != nil {
			return nil, err
		}
		env = append(env, entry)
	}
	return env, nil
}

// envEntry completes a bare NAME from the caller's environment; when it is not
// set there either, the bare name takes an image's variable away, as docker.
func envEntry(entry string) (string, error) {
	name, _, hasValue := strings.Cut(entry, "=")
	if name == "" || strings.ContainsRune(entry, 0) {
		return "", usageError(fmt.Sprintf("invalid argument %q for \"-e, --env\" flag: invalid environment variable: %s", entry, entry))
	}
	if hasValue {
		return entry, nil
	}
	if value, ok := os.LookupEnv(name); ok {
		return name + "=" + value, nil
	}
	return name, nil
}

// platformOf reads --platform in the names that images are stored with.
func platformOf(c *cli.Context) (string, error) { return image.CanonicalPlatform(c.String("platform")) }

// readEnvFile reads docker's format: NAME=VALUE or NAME a line, # comments.
func readEnvFile(path string) ([]string, error) {
	lines, err := readLines(path)
	if err != nil {
		return nil, err
	}
	var entries []string
	for _, line := range lines {
		name, _, _ := strings.Cut(line, "=")
		if strings.ContainsAny(name, " \t") {
			return nil, fmt.Errorf("invalid env file (%s): variable '%s' contains whitespaces", path, name)
		}
		if name == "" {
			return nil, fmt.Errorf("invalid env file (%s): no variable name on line '%s'", path, line)
		}
		entry, err := envEntry(line)
		if err != nil {
			return nil, fmt.Errorf("invalid env file (%s): %w", path, err)
		}
		if strings.Contains(entry, "=") {
			entries = append(entries, entry)
		}
	}
	return entries, nil
}

func readLines(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20) // an environment of a megabyte is docker's limit too
	for n := 1; scanner.Scan(); n++ {
		if !utf8.Valid(scanner.Bytes()) {
			return nil, fmt.Errorf("invalid env file (%s): invalid utf8 bytes at line %d", path, n)
		}
		line := strings.TrimLeft(scanner.Text(), " \t\ufeff")
		if line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	if err := scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("invalid env file (%s): a line is longer than 1 MiB", path)
	} else if err != nil {
		return nil, fmt.Errorf("invalid env file (%s): %w", path, err)
	}
	return lines, nil
}

func identityOf(c *cli.Context, r *engine.RunRequest) error {
	h := &r.Host
	h.Remove, h.Init, h.CIDFile = c.Bool("rm"), c.Bool("init"), c.String("cidfile")
	h.Hostname, h.Domainname = c.String("hostname"), c.String("domainname")
	h.StopSignal = c.String("stop-signal")
	if h.StopSignal != "" {
		if _, err := parseSignal(h.StopSignal); err != nil {
			return err
		}
	}
	var err error
	if h.Restart, err = restartPolicy(c.String("restart")); err != nil {
		return err
	}
	if h.Remove && h.Restart.Name != "" {
		return usageError("conflicting options: cannot specify both --restart and --rm")
	}
	options, err := keyValues(c, "log-opt", c.StringSlice("log-opt"))
	if err != nil {
		return err
	}
	if h.Log, err = logs.Parse(c.String("log-driver"), options); err != nil {
		return usageError(err.Error())
	}
	if c.IsSet("stop-timeout") {
		seconds := c.Int("stop-timeout")
		h.StopTimeout = &seconds
	}
	if len(h.Hostname) > 63 {
		return usageError(fmt.Sprintf("invalid hostname: %s is longer than 63 characters", h.Hostname))
	}
	labels := c.StringSlice("label")
	for _, file := range c.StringSlice("label-file") {
		lines, err := readLines(file)
		if err != nil {
			return err
		}
		labels = append(lines, labels...)
	}
	if h.Labels, err = keyValues(c, "label", labels); err != nil {
		return err
	}
	h.Annotations, err = keyValues(c, "annotation", c.StringSlice("annotation"))
	return err
}

// restartPolicy reads docker's --restart.
func restartPolicy(text string) (state.Restart, error) {
	name, max, counted := strings.Cut(text, ":")
	if name == "" && counted {
		return state.Restart{}, usageError("invalid restart policy format: no policy provided before colon")
	}
	switch name {
	case "", state.RestartNo:
		if !counted {
			return state.Restart{}, nil
		}
	case state.RestartAlways, state.RestartUnlessStopped:
		if !counted {
			return state.Restart{Name: name}, nil
		}
		return state.Restart{}, usageError("invalid restart policy: maximum retry count can only be used with 'on-failure'")
	case state.RestartOnFailure:
		n := 0
		if counted {
			var err error
			if n, err = strconv.Atoi(max); err != nil {
				return state.Restart{}, usageError("invalid restart policy format: maximum retry count must be an integer")
			}
			if n < 0 {
				return state.Restart{}, usageError("invalid restart policy: maximum retry count must be a positive integer")
			}
		}
		return state.Restart{Name: name, Max: n}, nil
	}
	return state.Restart{}, usageError(fmt.Sprintf("invalid restart policy: unknown policy '%s'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'", text))
}

// keyValues reads the values KEY=VALUE of a flag.
func keyValues(c *cli.Context, flag string, list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, entry := range list {
		key, value, _ := strings.Cut(entry, "=")
		if key == "" {
			return nil, badValue(entry, spelling(c.Command.Flags, flag), fmt.Errorf("invalid %s '%s': empty name", flag, entry))
		}
		out[key] = value
	}
	return out, nil
}

func mountsOf(c *cli.Context, r *engine.RunRequest) error {
	dir, err := os.Getwd()
	if err != nil {
		dir = "" // it was deleted: that matters to relative sources only
	}
	r.Mounts = mount.Flags{
		Volumes: c.StringSlice("volume"), Mounts: c.StringSlice("mount"), Tmpfs: c.StringSlice("tmpfs"), Dir: dir,
	}
	// Refused before anything is pulled; the image's own volumes come later.
	if _, err := mount.NewPlan(r.Mounts); err != nil {
		return usageError(err.Error())
	}
	for _, spec := range c.StringSlice("volumes-from") {
		if _, _, err := mount.ParseVolumesFrom(spec); err != nil {
			return usageError(err.Error())
		}
		r.Host.VolumesFrom = append(r.Host.VolumesFrom, spec)
	}
	r.Host.ReadOnly = c.Bool("read-only")
	for _, spec := range c.StringSlice("device") {
		device, err := mount.ParseDevice(spec)
		if err != nil {
			return usageError(err.Error())
		}
		r.Host.Devices = append(r.Host.Devices, device)
	}
	if c.IsSet("shm-size") {
		size := c.String("shm-size")
		if r.Host.ShmSize, err = units.RAMInBytes(size); err != nil || r.Host.ShmSize < 0 {
			return usageError(fmt.Sprintf("invalid argument %[1]q for \"--shm-size\" flag: invalid size: '%[1]s'", size))
		}
	}
	return nil
}

func limitsOf(c *cli.Context, r *engine.RunRequest) error {
	for _, text := range c.StringSlice("ulimit") {
		limit, err := units.ParseUlimit(text)
		if err == nil && (limit.Soft < -1 || limit.Hard < -1) {
			err = errors.New("a limit is a number, or -1 for none")
		}
		if err != nil {
			return usageError(fmt.Sprintf("invalid argument %q for \"--ulimit\" flag: %v", text, err))
		}
		r.Host.Ulimits = append(r.Host.Ulimits, state.Ulimit{
			Type: "RLIMIT_" + strings.ToUpper(limit.Name), Soft: uint64(limit.Soft), Hard: uint64(limit.Hard),
		})
	}
	if c.IsSet("oom-score-adj") {
		score := c.Int("oom-score-adj")
		if score < -1000 || score > 1000 {
			return usageError(fmt.Sprintf("invalid value %d, range for oom score adj is [-1000, 1000]", score))
		}
		r.Host.OOMScore = &score
	}
	for _, text := range c.StringSlice("sysctl") {
		key, value, found := strings.Cut(text, "=")
		if !found || !namespaced(key) {
			return usageError(fmt.Sprintf("invalid argument %[1]q for \"--sysctl\" flag: sysctl '%[1]s' is not allowed", text))
		}
		if r.Host.Sysctls == nil {
			r.Host.Sysctls = map[string]string{}
		}
		r.Host.Sysctls[key] = value
	}
	return readLimits(c, &r.Host.Limits)
}

// namespaced: the parameter belongs to a namespace that a container has of its own.
// The list is docker's.
func namespaced(sysctl string) bool {
	name := strings.ReplaceAll(sysctl, "/", ".")
	switch name {
	case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced":
		return true
	}
	return !strings.Contains(name, "..") && (strings.HasPrefix(name, "net.") || strings.HasPrefix(name, "fs.mqueue."))
}

func isolationOf(c *cli.Context, r *engine.RunRequest) error {
	h := &r.Host
	for _, ns := range []struct {
		flag, mode string
		to         *string
		ok         []string
	}{
		{"pid", "PID", &h.PID, []string{"", "private", "host"}},
		{"ipc", "IPC", &h.IPC, []string{"", "private", "none", "shareable", "host"}},
		{"uts", "UTS", &h.UTS, []string{"", "private", "host"}},
		{"cgroupns", "CGROUP", &h.CgroupNS, []string{"", "private", "host"}},
	} {
		*ns.to = c.String(ns.flag)
		if contains(ns.ok, *ns.to) {
			continue
		}
		if name, found := strings.CutPrefix(*ns.to, "container:"); found && name != "" {
			return usageError(fmt.Sprintf("--%s container:NAME is not supported: a container's namespaces belong to its own user namespace: use %s", ns.flag, strings.Join(ns.ok[1:], ", ")))
		}
		return usageError(fmt.Sprintf("--%s: invalid %s mode %q: use %s", ns.flag, ns.mode, *ns.to, strings.Join(ns.ok[1:], ", ")))
	}
	if h.UTS == "host" && (h.Hostname != "" || h.Domainname != "") {
		return usageError("conflicting options: hostname and the UTS mode")
	}
	if h.UserNS = c.String("userns"); engine.CheckUserNS(h.UserNS) != nil {
		return usageError(engine.CheckUserNS(h.UserNS).Error())
	}
	h.Privileged, h.CapAdd, h.CapDrop = c.Bool("privileged"), c.StringSlice("cap-add"), c.StringSlice("cap-drop")
	if _, err := sandbox.Capabilities(nil, h.CapAdd, h.CapDrop); err != nil {
		return usageError(err.Error())
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// securityOf reads docker's --security-opt: no-new-privileges, seccomp=FILE,
// label=…, apparmor=…, systempaths=unconfined and podman's mask= and unmask=.
func securityOf(c *cli.Context, r *engine.RunRequest) error {
	s := &r.Host.Security
	for _, option := range c.StringSlice("security-opt") {
		key, value, found := strings.Cut(option, "=")
		if !found {
			key, value, found = strings.Cut(option, ":")
		}
		if err := securityOption(s, key, value, found); err != nil {
			return err
		}
	}
	return nil
}

// readProfile reads no more than a profile may have: the file may have no end.
func readProfile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, seccomp.MaxProfile+1))
}

func securityOption(s *state.Security, key, value string, hasValue bool) error {
	switch {
	case key == "no-new-privileges":
		on, err := strconv.ParseBool(value)
		if hasValue && err != nil {
			return usageError(fmt.Sprintf("invalid --security-opt: no-new-privileges=%s is not true or false", printable(value)))
		}
		s.NoNewPrivileges = !hasValue || on
	case key == "seccomp" && (value == "unconfined" || value == "builtin"):
		s.Seccomp = strings.TrimPrefix(value, "builtin")
	case key == "seccomp" && hasValue:
		profile, err := readProfile(value)
		if err != nil {
			return fmt.Errorf("opening seccomp profile (%s) failed: %w", value, errors.Unwrap(err))
		}
		if _, err := seccomp.Parse(profile); err != nil {
			return fmt.Errorf("seccomp profile %s: %w", value, err)
		}
		s.Seccomp = string(profile)
	case key == "label" && hasValue:
		s.Label = append(s.Label, value)
	case key == "apparmor" && hasValue:
		s.AppArmor = value
	case key == "systempaths" && value == "unconfined", key == "unmask" && value == "ALL":
		s.UnmaskAll = true
	case key == "unmask" && hasValue:
		s.Unmask = append(s.Unmask, strings.Split(value, ":")...)
	case key == "mask" && hasValue:
		s.Mask = append(s.Mask, strings.Split(value, ":")...)
	default:
		return usageError(fmt.Sprintf("invalid --security-opt: %q", key))
	}
	return nil
}
