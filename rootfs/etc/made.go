package etc

// A setting that keeps apt from becoming its own user for downloads: with one id it
// cannot, and unlike chown, whose failure is answered by the seccomp filter, apt
// looks whether it really changed.
const (
	AptDir    = "etc/apt/apt.conf.d"
	AptFile   = "99-bryo-single-uid"
	AptConfig = `// Written by bryo: this container has one user id, which apt cannot leave.
APT::Sandbox::User "root";
`
)

// Made tells of a file that a start makes in a container's tree and that is none of
// the container's own changes: a place to mount on, while it is empty, or the
// setting for apt, while it has content.
func Made(path, content string) bool {
	switch path {
	case "/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf":
		return content == ""
	}
	return path == "/"+AptDir+"/"+AptFile && content == AptConfig
}
