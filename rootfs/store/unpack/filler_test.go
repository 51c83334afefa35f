package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bryo/rootfs/store/nstest"
)

// Contents of all sizes, around the bounds of a batch too, with names that are
// linked, replaced and removed while they may still be on their way.
func TestFiller(t *testing.T) {
	nstest.NeedIDs(t)
	b := newBench(t)
	var items []item
	want := map[string]item{}
	sizes := []int{0, 1, 511, 4096, batchBytes - 1, batchBytes, batchBytes + 1, 2*batchBytes + 7, 3000}
	for i := range 3 * batchJobs {
		f := file(fmt.Sprintf("d/f%03d", i), strings.Repeat(fmt.Sprintf("%03d\n", i), sizes[i%len(sizes)]/4+1)[:sizes[i%len(sizes)]])
		f.Uid, f.Gid, f.Mode, f.ModTime = i%3, i%5, 0o600+int64(i%8), time.Unix(1e9+int64(i), 0)
		items = append(items, f)
		switch i % 4 {
		case 1: // the link's attributes count
			link := hardlink(f.Name+".link", f.Name)
			link.Uid, link.Mode = 7, 0o4755
			items = append(items, link)
			f.Uid, f.Gid, f.Mode, f.ModTime = 7, 0, 0o4755, link.ModTime
			want[link.Name] = f
		case 2: // the later file counts, for its name alone
			kept := hardlink(f.Name+".kept", f.Name)
			items = append(items, kept)
			before := f
			before.Uid, before.Gid, before.Mode, before.ModTime = kept.Uid, kept.Gid, kept.Mode, kept.ModTime
			want[kept.Name] = before
			f = file(f.Name, "later")
			items = append(items, f)
		case 3: // a directory in its place
			items = append(items, dir(f.Name))
			continue
		}
		want[f.Name] = f
	}
	if _, err := b.unpack(archive(t, items...)); err != nil {
		t.Fatal(err)
	}
	for name, i := range want {
		text, err := os.ReadFile(filepath.Join(b.layer, name))
		if err != nil || string(text) != i.body {
			t.Errorf("%s: %d bytes of %d, %v", name, len(text), len(i.body), err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(b.layer, name), &st); err != nil {
			t.Fatal(err)
		}
		if int(st.Uid) != i.Uid || int(st.Gid) != i.Gid || int64(st.Mode&0o7777) != i.Mode || st.Mtim.Sec != i.ModTime.Unix() {
			t.Errorf("%s: %d:%d %o %d, want %d:%d %o %d", name, st.Uid, st.Gid, st.Mode&0o7777, st.Mtim.Sec, i.Uid, i.Gid, i.Mode, i.ModTime.Unix())
		}
	}
	b.intact()
}

// What goes wrong with a file stops the layer and is said with its name, and no
// descriptor stays open.
func TestFillerFailure(t *testing.T) {
	nstest.Need(t)
	f := newFiller(&Options{})
	readOnly, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	open := []int{readOnly}
	for i := 0; err == nil; i++ {
		if i == 1000 {
			t.Fatal("the failure is not told of")
		}
		header := &tar.Header{Name: fmt.Sprint("file-", i), Size: 1}
		if i > 0 {
			var pipe [2]int
			if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			unix.Close(pipe[0])
			open = append(open, pipe[1])
		}
		if err = f.begin(1); err == nil {
			f.space()[0] = 'x'
			err = f.add(job{fd: open[i], then: made, header: header}, 1)
		}
	}
	if e := f.close(); !errors.Is(err, unix.EBADF) || !errors.Is(e, unix.EBADF) || !strings.Contains(e.Error(), `"file-0"`) {
		t.Errorf("%v, then %v", err, e)
	}
	for i, fd := range open {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
			t.Errorf("descriptor %d of %d is open", i, len(open))
		}
	}
}

// A layer that is cut off in the middle of a file, or whose contents cannot be
// read, leaves no descriptor and no goroutine.
func TestFillerAbandoned(t *testing.T) {
	b := newBench(t)
	before := openFiles(t)
	whole := archive(t, file("small", "x"), file("large", strings.Repeat("x", 3*batchBytes)))
	for _, length := range []int{1500, 2000, 3000, len(whole) / 2, len(whole) - 2000} {
		if _, err := b.unpack(whole[:length]); err == nil {
			t.Errorf("%d bytes: accepted", length)
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func openFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
