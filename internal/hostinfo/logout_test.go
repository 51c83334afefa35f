package hostinfo

import (
	"testing"
	"testing/fstest"
)

func TestLogout(t *testing.T) {
	const session = "0::/user.slice/user-1000.slice/session-3.scope\n"
	const manager = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n"
	for name, test := range map[string]struct {
		files map[string]string
		ends  bool
	}{
		"no systemd":              {map[string]string{"proc/self/cgroup": session}, false},
		"default of the shipped":  {map[string]string{"run/systemd/system/x": "", "proc/self/cgroup": session, "etc/systemd/logind.conf": "[Login]\n#KillUserProcesses=no\n"}, false},
		"switched on":             {map[string]string{"run/systemd/system/x": "", "proc/self/cgroup": session, "etc/systemd/logind.conf": "[Login]\nKillUserProcesses=yes\n"}, true},
		"no file":                 {map[string]string{"run/systemd/system/x": "", "proc/self/cgroup": session}, true},
		"drop-in wins":            {map[string]string{"run/systemd/system/x": "", "proc/self/cgroup": session, "etc/systemd/logind.conf": "KillUserProcesses=yes\n", "etc/systemd/logind.conf.d/a.conf": "KillUserProcesses=no\n"}, false},
		"another user only":       {map[string]string{"run/systemd/system/x": "", "proc/self/cgroup": session, "etc/systemd/logind.conf": "KillUserProcesses=yes\nKillOnlyUsers=eve\n"}, false},
		"excluded":                {map[string]string{"run/systemd/system/x": "", "proc/self/cgroup": session, "etc/systemd/logind.conf": "KillUserProcesses=yes\nKillExcludeUsers=root ann\n"}, false},
		"manager, no linger":      {map[string]string{"run/systemd/system/x": "", "proc/self/cgroup": manager}, true},
		"manager, linger":         {map[string]string{"run/systemd/system/x": "", "proc/self/cgroup": manager, "var/lib/systemd/linger/ann": ""}, false},
		"system service, no user": {map[string]string{"run/systemd/system/x": "", "proc/self/cgroup": "0::/system.slice/ci.service\n"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{}
			for path, text := range test.files {
				root[path] = &fstest.MapFile{Data: []byte(text)}
			}
			why, cure := Logout(root, "ann", 1000)
			if (why != "") != test.ends || (cure != "") != test.ends {
				t.Errorf("got %q, %q", why, cure)
			}
		})
	}
}
