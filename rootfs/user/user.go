// Package user turns a USER or -u value into numbers, with the image's own passwd
// and group files.
//
// Those files are the image's, so they may be anything: a FIFO, a link to the
// host, five gigabytes. They are opened inside the image's root, judged by
// descriptor and read up to a bound (read.go). Only digits are ever a number,
// and nothing that is malformed turns into 0 (CVE-2024-40635 and
// CVE-2026-46680 were that).
//
// Start with Resolve. Left out: shadow files, NSS, and the lines' passwords,
// comments and shells.
package user

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxID is the highest uid or gid that docker accepts.
const maxID = 1<<31 - 1

// Request is what to resolve and where.
type Request struct {
	Rootfs string   // the container's root, mounted; its files are read
	User   string   // NAME or UID, with or without :GROUP or :GID; "" is root
	Groups []string // --group-add: names or numbers
	// UIDs and GIDs count the ids that the user namespace maps from 0 up; 0 means
	// no bound. In single-uid mode both are 1.
	UIDs, GIDs uint32
}

// User is who the container's program runs as.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary, without doubles, in the order found
	Name     string   // "" for a number without passwd entry
	Home     string   // for $HOME; "/" without passwd entry
	// Unmapped are supplementary groups of the image's group file that the user
	// namespace does not have. They are left out of Groups.
	Unmapped []uint32
}

// OutsideMapError: an id that the user namespace has no place for.
type OutsideMapError struct {
	Kind  string // "uid" or "gid"
	ID    uint32
	Count uint32 // ids that are mapped, from 0
}

func (e *OutsideMapError) Error() string {
	if e.Count == 1 {
		return fmt.Sprintf("%s %d is outside of the user namespace, which has id 0 only", e.Kind, e.ID)
	}
	return fmt.Sprintf("%s %d is outside of the user namespace, which has %d ids", e.Kind, e.ID, e.Count)
}

// Resolve applies docker's rules: a name is looked up; digits are a uid, with or
// without a passwd entry; the group is the named one, else the passwd entry's,
// else 0; supplementary groups are those that list the user, unless a group was
// named, plus r.Groups.
func Resolve(r Request) (User, error) {
	userPart, groupPart, err := split(r.User)
	if err != nil {
		return User{}, err
	}
	files, err := readFiles(r.Rootfs)
	if err != nil {
		return User{}, err
	}
	u, err := lookUser(files.passwd, userPart)
	if err != nil {
		return User{}, err
	}
	if groupPart != "" {
		if u.GID, err = lookGroup(files.group, groupPart); err != nil {
			return User{}, err
		}
	} else if u.Name != "" {
		u.addGroups(memberships(files.group, u.Name), r.GIDs)
	}
	if err := u.addNamed(files.group, r); err != nil {
		return User{}, err
	}
	return u, u.checkMap(r)
}

// split parts NAME[:GROUP]. ":GROUP" and "NAME:" are what a template leaves of a
// variable that was empty; docker fills the gap with root, here they are refused.
func split(spec string) (userPart, groupPart string, err error) {
	userPart, groupPart, colon := strings.Cut(spec, ":")
	if colon && (userPart == "" || groupPart == "") || strings.Contains(groupPart, ":") || strings.ContainsAny(spec, "\x00\n") {
		return "", "", fmt.Errorf("invalid user %q: want NAME|UID[:GROUP|GID]", spec)
	}
	return userPart, groupPart, nil
}

// lookUser finds the user; "" is uid 0.
func lookUser(passwd []byte, want string) (User, error) {
	if want == "" {
		want = "0"
	}
	uid, numeric, err := number(want)
	if err != nil {
		return User{}, err
	}
	var broken error
	for line, fields := range lines(passwd) {
		if len(fields) < 4 || !numeric && fields[0] != want {
			continue
		}
		entry, err := passwdEntry(fields)
		switch {
		case err != nil && !numeric:
			broken = fmt.Errorf("passwd line %d: %w", line, err)
		case err == nil && (!numeric || entry.UID == uid):
			return entry, nil
		}
	}
	if numeric {
		return User{UID: uid, Home: "/"}, nil
	}
	if broken != nil {
		return User{}, fmt.Errorf("unable to find user %s: %w", want, broken)
	}
	return User{}, fmt.Errorf("unable to find user %s: no matching entries in passwd file", want)
}

// number reads digits as an id. Anything with another character is a name, and
// digits never are one: an image's line "99999999999:x:0:0" is not looked up.
func number(s string) (id uint32, numeric bool, err error) {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > maxID {
		return 0, true, fmt.Errorf("uids and gids must be in range 0-%d: %s", maxID, s)
	}
	return uint32(n), true, nil
}

func passwdEntry(fields []string) (User, error) {
	uid, uidOK, err1 := number(fields[2])
	gid, gidOK, err2 := number(fields[3])
	if err1 != nil || err2 != nil || !uidOK || !gidOK {
		return User{}, fmt.Errorf("%q:%q are no uid and gid", fields[2], fields[3])
	}
	u := User{UID: uid, GID: gid, Name: fields[0], Home: "/"}
	if len(fields) > 5 && fields[5] != "" {
		u.Home = fields[5]
	}
	return u, nil
}

// lookGroup finds one group by name or number; a number needs no entry.
func lookGroup(group []byte, want string) (uint32, error) {
	gid, numeric, err := number(want)
	if err != nil || numeric {
		return gid, err
	}
	for _, fields := range lines(group) {
		if len(fields) < 3 || fields[0] != want {
			continue
		}
		if gid, numeric, err := number(fields[2]); err == nil && numeric {
			return gid, nil
		}
	}
	return 0, fmt.Errorf("unable to find group %s: no matching entries in group file", want)
}

// memberships are the groups whose line lists name.
func memberships(group []byte, name string) (gids []uint32) {
	for _, fields := range lines(group) {
		if len(fields) < 4 || !slices.Contains(strings.Split(fields[3], ","), name) {
			continue
		}
		if gid, numeric, err := number(fields[2]); err == nil && numeric {
			gids = append(gids, gid)
		}
	}
	return gids
}

// addGroups adds what the image says. It may list groups that this namespace has
// no id for; the user then has a group less, as nobody asked for that one.
func (u *User) addGroups(gids []uint32, count uint32) {
	for _, gid := range gids {
		list := &u.Groups
		if count > 0 && gid >= count {
			list = &u.Unmapped
		}
		if !slices.Contains(*list, gid) {
			*list = append(*list, gid)
		}
	}
}

// addNamed adds the groups of --group-add, each of which must be possible.
func (u *User) addNamed(group []byte, r Request) error {
	for _, name := range r.Groups {
		gid, err := lookGroup(group, name)
		if err != nil {
			return err
		}
		if r.GIDs > 0 && gid >= r.GIDs {
			return fmt.Errorf("group %s: %w", name, &OutsideMapError{"gid", gid, r.GIDs})
		}
		if !slices.Contains(u.Groups, gid) {
			u.Groups = append(u.Groups, gid)
		}
	}
	return nil
}

func (u *User) checkMap(r Request) error {
	if r.UIDs > 0 && u.UID >= r.UIDs {
		return fmt.Errorf("user %s: %w", r.User, &OutsideMapError{"uid", u.UID, r.UIDs})
	}
	if r.GIDs > 0 && u.GID >= r.GIDs {
		return fmt.Errorf("user %s: %w", r.User, &OutsideMapError{"gid", u.GID, r.GIDs})
	}
	return nil
}
