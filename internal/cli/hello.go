package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

// helloCommand is what the built-in image runs: it says from inside what the
// container is. Hidden: on the host it would describe the host.
func helloCommand() *cli.Command {
	return &cli.Command{
		Name:   "hello",
		Usage:  "describe the container that this runs in",
		Hidden: true,
		Action: func(c *cli.Context) error {
			return describe(stdout(c))
		},
	}
}

func describe(out io.Writer) error {
	w := bufio.NewWriter(out)
	fmt.Fprint(w, "Hello from bryo!\n\nThis program runs in a container: no root, no daemon, no helper program stays.\nWhat it sees of itself:\n\n")
	fmt.Fprintf(w, "  %-14s %s\n", "uid map", strings.Join(mapLines("/proc/self/uid_map"), ", "))
	fmt.Fprintf(w, "  %-14s %s\n", "root", rootMount())
	status := statusFields("/proc/self/status")
	fmt.Fprintf(w, "  %-14s %s\n", "seccomp", seccompText(status["Seccomp"]))
	fmt.Fprintf(w, "  %-14s %s\n", "capabilities", status["CapEff"]+" effective, "+status["CapBnd"]+" bounding")
	fmt.Fprintf(w, "  %-14s %s\n", "no_new_privs", status["NoNewPrivs"])
	fmt.Fprintf(w, "  %-14s %d\n", "pid", os.Getpid())
	if name, err := os.Hostname(); err == nil {
		fmt.Fprintf(w, "  %-14s %s\n", "host name", name)
	}
	fmt.Fprint(w, "\nNext: bryo run --rm -it debian bash, bryo doctor, bryo --help\n")
	return w.Flush()
}

// mapLines turns "0 1000 1" into "0 is 1000 outside, 1 id".
func mapLines(path string) (lines []string) {
	data, err := os.ReadFile(path)
	if err != nil {
		return []string{err.Error()}
	}
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if f := strings.Fields(line); len(f) == 3 {
			lines = append(lines, fmt.Sprintf("%s->%s (%s)", f[0], f[1], f[2]))
		}
	}
	return lines
}

func rootMount() string {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err.Error()
	}
	for _, line := range strings.Split(string(data), "\n") {
		if f := strings.Fields(line); len(f) > 3 && f[1] == "/" {
			return f[2]
		}
	}
	return "unknown"
}

func statusFields(path string) map[string]string {
	fields := map[string]string{}
	data, _ := os.ReadFile(path)
	for _, line := range strings.Split(string(data), "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}

func seccompText(mode string) string {
	switch mode {
	case "0":
		return "off"
	case "2":
		return "filter"
	}
	return mode
}
