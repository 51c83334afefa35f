package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// measureStart compares whole runs of the real binary (BRYO_BIN) with and without
// the default network, interleaved, and the memory of a supervisor at rest.
func measureStart(runs int) error {
	bryo := os.Getenv("BRYO_BIN")
	if bryo == "" {
		return nil
	}
	root, err := os.MkdirTemp("", "bench-network-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	start := func(mode string, args ...string) (string, error) {
		cmd := exec.Command(bryo, append([]string{"--root", root, "run", "--network", mode}, args...)...)
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	if err := importBusybox(bryo, root); err != nil {
		return err
	}
	modes := []string{"host", "none", "default"}
	results := map[string][]float64{}
	for range runs {
		for _, mode := range modes {
			// The kernel takes the last one's network apart for a while.
			time.Sleep(150 * time.Millisecond)
			began := time.Now()
			if _, err := start(mode, "--rm", "busybox", "/busybox", "true"); err != nil {
				return fmt.Errorf("bryo run: %w", err)
			}
			results[mode+" run"] = append(results[mode+" run"], float64(time.Since(began).Microseconds())/1000)
		}
	}
	for _, mode := range modes {
		results[mode+" rss"] = []float64{idle(bryo, root, mode)}
	}
	fmt.Println()
	print([]peer{{name: "host"}, {name: "none"}, {name: "default"}},
		[]metric{{name: "run", unit: "ms"}, {name: "rss", unit: "MB supervisor"}}, results)
	return nil
}

// idle is the resident set of the supervisor of a container that sleeps.
func idle(bryo, root, mode string) float64 {
	id, err := exec.Command(bryo, "--root", root, "run", "-d", "--network", mode, "busybox", "/busybox", "sleep", "1000").Output()
	if err != nil {
		return 0
	}
	name := strings.TrimSpace(string(id))
	defer func() { _ = exec.Command(bryo, "--root", root, "rm", "-f", name).Run() }()
	time.Sleep(300 * time.Millisecond)
	b, err := os.ReadFile(root + "/containers/" + name + "/status.json")
	var status struct{ Supervisor struct{ PID int } }
	if err != nil || json.Unmarshal(b, &status) != nil {
		return 0
	}
	return rss(status.Supervisor.PID)
}

// importBusybox makes an image of the host's static busybox.
func importBusybox(bryo, root string) error {
	tar := exec.Command("tar", "-C", "/bin", "-c", "busybox")
	load := exec.Command(bryo, "--root", root, "import", "-", "busybox")
	var err error
	if load.Stdin, err = tar.StdoutPipe(); err != nil {
		return err
	}
	if err := tar.Start(); err != nil {
		return err
	}
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("bryo import: %w: %s", err, out)
	}
	return tar.Wait()
}
