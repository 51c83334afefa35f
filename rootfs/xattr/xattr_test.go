package xattr

import (
	"maps"
	"testing"
)

func TestIn(t *testing.T) {
	got := maps.Collect(In(map[string]string{
		"path": "a", "user.bare": "no prefix",
		Prefix + "user.note": "n", Prefix + "security.capability": "c", Prefix + "system.posix_acl_access": "a", Prefix + "system.posix_acl_default": "d",
		Prefix + "user.overlay.opaque": "y", Prefix + "user.overlay.redirect": "/etc", Prefix + "user.containers.override_stat": "0:0",
		Prefix + "user.fuseoverlayfs.opaque": "y", Prefix + "trusted.overlay.opaque": "y", Prefix + "security.selinux": "x", Prefix + "system.nfs4_acl": "x",
	}))
	want := map[string]string{"user.note": "n", "security.capability": "c", "system.posix_acl_access": "a", "system.posix_acl_default": "d"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
