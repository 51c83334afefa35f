package engine

import (
	"strings"
	"testing"

	"bryo/internal/linux"
)

// A process is a container's of this data root if it has mounted a file at this
// root's place on this root's device: two roots on two devices may look alike.
func TestLocation(t *testing.T) {
	id := strings.Repeat("0a", 32)
	home := location{"/mnt/x/root", "0:42", "/root"}
	for name, test := range map[string]struct{ line, want string }{
		"bind mount":         {"900 800 0:42 /root/containers/" + id + "/hosts /etc/hosts rw - tmpfs tmpfs rw", id},
		"other device":       {"900 800 0:43 /root/containers/" + id + "/hosts /etc/hosts rw - tmpfs tmpfs rw", ""},
		"other directory":    {"900 800 0:42 /more/root/containers/" + id + "/hosts /etc/hosts rw - tmpfs tmpfs rw", ""},
		"overlay":            {"900 800 0:99 / / rw - overlay overlay rw,upperdir=/mnt/x/root/containers/" + id + "/upper,workdir=y", id},
		"overlay of other":   {"900 800 0:99 / / rw - overlay overlay rw,upperdir=/mnt/y/root/containers/" + id + "/upper,workdir=y", ""},
		"overlay, odd signs": {`900 800 0:99 / / rw - overlay overlay rw,upperdir=/mnt/x\057root/containers/` + id + "/upper,workdir=y", id},
		"no container":       {"900 800 0:42 /root/containers/x/hosts /etc/hosts rw - tmpfs tmpfs rw", ""},
	} {
		mounts, err := linux.ParseMounts(test.line)
		if err != nil {
			t.Fatal(err)
		}
		if got := home.container(mounts[0]); got != test.want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if p := locationOf("/proc/self"); p.path != "/self" || p.device == "" {
		t.Errorf("place of /proc/self: %+v", p)
	}
}
