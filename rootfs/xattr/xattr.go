// Package xattr says which extended attributes of a file travel between a tree
// and a tar stream, and how the stream names them. Reading and setting them is
// left to callers: what they forgive differs.
package xattr

import (
	"iter"
	"strings"
)

// Prefix stands before an attribute's name in PAX records.
const Prefix = "SCHILY.xattr."

// Travels lets through what a program in a container can set or needs: its own
// attributes, file capabilities, ACLs. Not those by which overlayfs and the
// tools around it keep books in the same directory: an archive could redirect
// or hide what is in other layers.
func Travels(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	if !strings.HasPrefix(name, "user.") {
		return false
	}
	for _, own := range []string{"user.overlay.", "user.containers.", "user.fuseoverlayfs."} {
		if strings.HasPrefix(name, own) {
			return false
		}
	}
	return true
}

// In gives name and value of the attributes in an entry's PAX records that travel.
func In(records map[string]string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for key, value := range records {
			name, found := strings.CutPrefix(key, Prefix)
			if found && Travels(name) && !yield(name, value) {
				return
			}
		}
	}
}
