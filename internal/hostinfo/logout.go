package hostinfo

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Logout says why processes of this user end when he logs out, and what keeps
// them; empty when they stay. root is the host's file tree.
func Logout(root fs.FS, user string, uid int) (why, cure string) {
	if _, err := fs.Stat(root, "run/systemd/system"); err != nil {
		return "", ""
	}
	own, _ := fs.ReadFile(root, "proc/self/cgroup")
	switch manager := "user@" + strconv.Itoa(uid) + ".service"; {
	case strings.Contains(string(own), "/"+manager):
		if !Lingers(root, user) {
			return "no lingering for this user", "loginctl enable-linger"
		}
	case strings.Contains(string(own), "/session-") && killsSessions(root, user):
		return "KillUserProcesses=yes of systemd-logind", "loginctl enable-linger, then systemd-run --user --scope bryo run -d ..."
	}
	return "", ""
}

// killsSessions reads logind.conf(5). The shipped file has the built-in default
// as a comment.
func killsSessions(root fs.FS, user string) bool {
	kill := true // systemd's own default
	exclude, only := []string{"root"}, []string(nil)
	for _, file := range logindFiles(root) {
		text, err := fs.ReadFile(root, file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch key {
			case "KillUserProcesses", "#KillUserProcesses":
				kill = slices.Contains([]string{"yes", "true", "on", "1", "y", "t"}, strings.ToLower(strings.TrimSpace(value)))
			case "KillExcludeUsers":
				exclude = strings.Fields(value)
			case "KillOnlyUsers":
				only = strings.Fields(value)
			}
		}
	}
	return kill && !slices.Contains(exclude, user) && (len(only) == 0 || slices.Contains(only, user))
}

// logindFiles in the order in which later ones win.
func logindFiles(root fs.FS) []string {
	files := []string{"usr/lib/systemd/logind.conf", "etc/systemd/logind.conf"}
	byName := map[string]string{}
	for _, dir := range []string{"usr/lib", "run", "etc"} {
		found, _ := fs.Glob(root, dir+"/systemd/logind.conf.d/*.conf")
		for _, file := range found {
			byName[path.Base(file)] = file
		}
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		files = append(files, byName[name])
	}
	return files
}
