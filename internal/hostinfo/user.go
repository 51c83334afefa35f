package hostinfo

import (
	"context"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// User is who runs bryo. Name is empty when no passwd entry has the uid.
type User struct {
	Name string `json:"name"`
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
}

// owns tells whether a line of /etc/subuid with this owner is the user's:
// subuid(5) takes the login name or the uid.
func (u User) owns(owner string) bool {
	return owner != "" && (owner == u.Name || owner == strconv.Itoa(u.UID))
}

// label is the name for a command line, the uid when there is none.
func (u User) label() string {
	if u.Name == "" {
		return strconv.Itoa(u.UID)
	}
	return u.Name
}

// currentUser reads the passwd file itself: os/user believes $USER when it
// finds no entry, and a wrong name would pick another user's ranges.
func currentUser(files fs.FS) User {
	u := User{UID: os.Geteuid(), GID: os.Getegid()}
	for _, entry := range (&Host{FS: files}).passwd() {
		if entry.UID == u.UID {
			u.Name = entry.Name
			return u
		}
	}
	u.Name = nameFromService(u.UID)
	return u
}

// nameFromService asks getent(1) for a user that a directory service holds: a
// static binary cannot load glibc's modules itself.
func nameFromService(uid int) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := running{}.Run(ctx, "getent", "passwd", strconv.Itoa(uid))
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(out, ":")
	return name
}

// passwd returns name, uid and gid of each well-formed line of /etc/passwd.
func (h *Host) passwd() []User {
	var users []User
	for line := range strings.SplitSeq(h.read("etc/passwd"), "\n") {
		f := strings.Split(line, ":")
		if len(f) < 4 || f[0] == "" {
			continue
		}
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 == nil && err2 == nil {
			users = append(users, User{f[0], int(uid), int(gid)})
		}
	}
	return users
}
