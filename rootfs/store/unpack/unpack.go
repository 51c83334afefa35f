package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Options say how Unpack writes.
type Options struct {
	// SingleUID gives every file to uid 0: the only one that exists in a user
	// namespace of one id. The archive's owners are not kept anywhere.
	SingleUID bool
	// UIDs and GIDs are the ids that exist here; see OwnIDs. An owner outside is
	// an error. Ignored with SingleUID.
	UIDs, GIDs IDs
	// Whiteouts is how deletions are recorded.
	Whiteouts Whiteouts
	Limits    Limits
	// Compressed tells how much of the source has been read, for Limits.Ratio;
	// nil for a plain stream.
	Compressed func() int64
	// TarSplit receives the notes for Replay, as JSON lines; nil for none.
	TarSplit io.Writer
}

// Result describes an unpacked layer.
type Result struct {
	Entries  int64
	Bytes    int64        // of file contents
	UIDs     []uint32     // owners that occur, sorted
	GIDs     []uint32     // likewise
	RootMode *os.FileMode // of the layer's "/" when the archive has an entry for it
	// Replayable is false if the archive overwrites its own files: Replay would
	// not find the first contents, so the notes are of no use.
	Replayable bool
}

// Unpack writes the layer that the tar stream holds into the existing, empty
// directory dir, and reads the stream to its end. On an error dir holds a part
// of the layer: the caller removes it. Errors name the entry; those that say
// what the layer does wrong are of the stream, ErrLimit those of a limit.
func Unpack(ctx context.Context, stream io.Reader, dir string, options Options) (*Result, error) {
	top, err := openRoot(dir)
	if err != nil {
		return nil, err
	}
	defer top.close()
	times, err := newDirTimes(dir)
	if err != nil {
		return nil, err
	}
	defer times.close()
	u := &unpacker{
		Options: options, root: top, times: times,
		meter:  meter{Limits: options.Limits.withDefaults(), compressed: options.Compressed},
		tape:   newTape(stream, options.TarSplit),
		owners: NewOwners(options.UIDs, options.GIDs), replayable: true,
	}
	top.made = u.meter.entry
	u.archive = tar.NewReader(u.tape)
	u.filler = newFiller(&u.Options)
	err = u.run(ctx)
	if failed := u.filler.close(); failed != nil {
		err = failed // whatever Unpack made of it
	}
	if err != nil {
		return nil, err
	}
	return u.result(), nil
}

type unpacker struct {
	Options
	meter
	root       *root
	times      *dirTimes
	tape       *tape
	archive    *tar.Reader
	owners     *Owners
	rootMode   *os.FileMode
	replayable bool
	filler     *filler
}

func (u *unpacker) run(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		header, err := u.archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if err := u.entry(header); err != nil {
			return err
		}
	}
	if err := u.tape.drain(trailing); err != nil {
		return err
	}
	if err := u.tape.close(); err != nil {
		return err
	}
	return u.times.apply(u.root)
}

// entry writes one entry of the archive.
func (u *unpacker) entry(header *tar.Header) error {
	if err := u.meter.entry(); err != nil {
		return err
	}
	if err := u.ratio(u.tape.read); err != nil {
		return err
	}
	if header.Typeflag == tar.TypeXGlobalHeader {
		return u.tape.skip(header, u.archive, &u.meter)
	}
	dir, base, err := split(header.Name)
	if err != nil {
		return err
	}
	e := entry{Header: header, dir: dir, base: base}
	if e.uid, e.gid, err = u.owner(header); err != nil {
		return err
	}
	if err := u.place(&e); err != nil {
		return fmt.Errorf("entry %.200q: %w", header.Name, err)
	}
	return nil
}

// entry is a header whose name and owner have been checked.
type entry struct {
	*tar.Header
	dir, base string // base below dir, both relative to the root
	uid, gid  int
}

func (u *unpacker) place(e *entry) error {
	if e.base == "." {
		return u.placeRoot(e)
	}
	if strings.HasPrefix(e.base, whiteoutPrefix) {
		if err := u.tape.skip(e.Header, u.archive, &u.meter); err != nil {
			return err
		}
		return u.whiteout(e)
	}
	u.owners.note(e.uid, e.gid)
	switch e.Typeflag {
	case tar.TypeDir:
		return u.placeDir(e)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont: // the reader gives the first for the old NUL, too
		return u.placeFile(e)
	case tar.TypeSymlink:
		return u.placeSymlink(e)
	case tar.TypeLink:
		return u.placeLink(e)
	case tar.TypeFifo:
		return u.placeFIFO(e)
	case tar.TypeChar, tar.TypeBlock:
		// No user namespace may make one, and none is wanted: a device in a layer
		// would be a device of the host. /dev is filled at start instead.
		return nil
	}
	return fmt.Errorf("type %q is unknown", e.Typeflag)
}

func (u *unpacker) result() *Result {
	result := &Result{Entries: u.entries, Bytes: u.bytes, RootMode: u.rootMode, Replayable: u.replayable}
	result.UIDs, result.GIDs = u.owners.Sorted()
	return result
}

// Owners collects the ids of a layer; the storage format keeps them.
type Owners struct {
	uids, gids   map[uint32]struct{}
	users, teams IDs // that exist
}

// NewOwners starts a collection; uids and gids are the ids that exist here.
func NewOwners(uids, gids IDs) *Owners {
	return &Owners{uids: map[uint32]struct{}{}, gids: map[uint32]struct{}{}, users: uids, teams: gids}
}

func (o *Owners) note(uid, gid int) {
	o.uids[uint32(uid)] = struct{}{}
	o.gids[uint32(gid)] = struct{}{}
}

// Keep notes an owner that stays as it is, or refuses one that does not exist.
func (o *Owners) Keep(uid, gid uint32) (uint32, uint32, error) {
	if !o.users.has(int(uid)) || !o.teams.has(int(gid)) {
		return 0, 0, fmt.Errorf("owner %d:%d does not exist in this user namespace", uid, gid)
	}
	o.note(int(uid), int(gid))
	return uid, gid, nil
}

// Sorted gives what was collected.
func (o *Owners) Sorted() (uids, gids []uint32) {
	return slices.Sorted(maps.Keys(o.uids)), slices.Sorted(maps.Keys(o.gids))
}

// create calls make, which is to make e's name in the directory fd, and again
// after removing what stood there: the later entry of an archive wins.
func (u *unpacker) create(fd int, e *entry, make func() error) error {
	err := make()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := u.replace(fd, e.base); err != nil {
		return err
	}
	return make()
}

func (u *unpacker) replace(fd int, base string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		u.replayable = false
	}
	return u.root.remove(fd, base)
}
