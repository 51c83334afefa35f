package sandbox

import (
	"errors"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestTranslate(t *testing.T) {
	const init = "unable to start container process: error during container init: "
	for text, want := range map[string]string{
		init + `error mounting "/run/stage/0" to rootfs at "/etc/hosts": mount src=/run/stage/0, dst=/etc/hosts, dstFd=/proc/thread-self/fd/18, flags=MS_BIND|MS_REC: not a directory`: "mount on /etc/hosts: not a directory",
		init + `error mounting "tmpfs" to rootfs at "/x": mount src=tmpfs, dst=/x, dstFd=/proc/thread-self/fd/15, flags=MS_NOSUID, data=mode=abc: invalid argument`:                    "mount on /x with mode=abc: invalid argument",
		init + `open sysctl net.bogus file: unsafe procfs detected: openat2 fsmount:fscontext:proc/./sys/net/bogus: no such file or directory`:                                         "sysctl net.bogus: no such file or directory",
		init + `failed to write sysctl net.ipv4.ip_forward = "x": write fsmount:fscontext:proc/./sys/net/ipv4/ip_forward: invalid argument`:                                            `sysctl net.ipv4.ip_forward = "x": invalid argument`,
		init + `open rootfs handle: open /run/jail: too many open files`:                                                                                                               "too few open files are allowed for a container to start",
		init + `error mounting "/run/stage/0" to rootfs at "/vol": "/data/run/jail/proc" cannot be mounted because it is not of type proc`:                                             `mount on /vol: "/proc" cannot be mounted because it is not of type proc`,
		init + `mkdir /bin/busybox: not a directory`: "start container: mkdir /bin/busybox: not a directory",
		"can't get final child's PID from pipe: EOF; runc init error(s): nsexec-1[5]: unable to spawn stage-2: Resource temporarily unavailable; nsexec-0[4]: failed to sync with stage-1: next state (got 0 of 4 bytes)": "too few processes are allowed (ulimit -u, or a control group's pids.max) for a container to start",
		"something else": "start container: something else",
	} {
		if got := translate(errors.New(text), &specs.Root{Path: "/data/run/jail"}).Error(); got != want {
			t.Errorf("%s\n becomes %s\n want    %s", text, got, want)
		}
	}
}
