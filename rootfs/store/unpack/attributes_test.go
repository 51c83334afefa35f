package unpack

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/rootfs/store/nstest"
)

// A new file has the archive's owner and mode, whatever the directory's
// set-group-id bit and the umask made of it.
func TestNewFile(t *testing.T) {
	nstest.NeedIDs(t)
	for _, umask := range []int{0, 0o077} {
		b := newBench(t)
		shared := dir("shared")
		shared.Gid, shared.Mode = 50, 0o2775
		items := []item{shared}
		for _, name := range []string{"shared/root", "shared/users", "root", "none"} {
			items = append(items, file(name, "x"))
		}
		items[2].Gid, items[2].Mode, items[4].Mode = 50, 0o664, 0
		old := unix.Umask(umask)
		_, err := b.unpack(archive(t, items...))
		unix.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range items {
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(b.layer, i.Name), &st); err != nil {
				t.Fatal(err)
			}
			if st.Uid != 0 || int(st.Gid) != i.Gid || int64(st.Mode&0o7777) != i.Mode {
				t.Errorf("umask %o, %s: %d:%d %o, want 0:%d %o", umask, i.Name, st.Uid, st.Gid, st.Mode&0o7777, i.Gid, i.Mode)
			}
		}
	}
}
