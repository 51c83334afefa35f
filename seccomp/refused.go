package seccomp

// refused are the calls that exist, that someone may well try, and that are
// answered with EPERM unless a capability or an argument rule above let them
// through. A test holds that each name of the tables is allowed somewhere,
// refused here, or listed as unjudged there.
var refused = [...]string{
	// Namespaces and mounts.
	"clone", "unshare", "setns", "mount", "umount", "umount2", "pivot_root", "chroot",
	"fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "open_tree_attr", "move_mount", "mount_setattr", "listns",
	// Keyrings are not namespaced as far as possession goes.
	"add_key", "request_key", "keyctl",
	// Large or young kernel surface.
	"bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "fanotify_init",
	"lookup_dcookie", "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr",
	// Files by handle leave any root directory (CVE-2014-9357 and kin).
	"open_by_handle_at",
	// Other processes.
	"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp",
	"get_mempolicy", "set_mempolicy", "set_mempolicy_home_node", "mbind", "migrate_pages", "move_pages",
	// The machine.
	"acct", "clock_settime", "clock_settime64", "settimeofday", "stime", "swapon", "swapoff", "reboot", "kexec_load",
	"kexec_file_load", "init_module", "finit_module", "delete_module", "iopl", "ioperm", "vm86", "vm86old", "syslog",
	"quotactl", "quotactl_fd", "sethostname", "setdomainname", "vhangup", "nfsservctl", "personality", "uselib",
	"sysfs", "ustat", "_sysctl",
}
