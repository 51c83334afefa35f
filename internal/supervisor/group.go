package supervisor

import (
	"fmt"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"bryo/internal/state"
	"bryo/internal/trace"
	"bryo/sandbox/cgroup"
)

// findPlace gets the container a control group while the tree is being mounted:
// systemd takes milliseconds to make a scope. Without a limit that was asked for
// a container runs without a group too.
func (s *supervisor) findPlace() <-chan error {
	placed := make(chan error, 1)
	if !s.start.Cgroup.Possible() {
		placed <- nil
		return placed
	}
	go func() {
		group, err := s.start.Cgroup.Make(s.config.ID)
		trace.Mark("control group made")
		if err == nil {
			err = s.enough(group)
		}
		switch asked := len(s.config.Host.Limits.Needs()) > 0; {
		case err == nil:
			s.group = group
		case asked:
			placed <- fmt.Errorf("limit the container: %w", err)
			return
		default:
			fmt.Fprintln(os.Stderr, "bryo: the container's processes are not bounded:", err)
		}
		placed <- nil
	}()
	return placed
}

// enough compares what was asked for with what the group turned out to have.
func (s *supervisor) enough(group cgroup.Group) error {
	for _, need := range s.config.Host.Limits.Needs() {
		if !slices.Contains(group.Controllers, need.Controller) {
			return fmt.Errorf("--%s: the %s controller is not delegated", need.Flag, need.Controller)
		}
	}
	return nil
}

func (s *supervisor) resources(c *state.Config) *specs.LinuxResources {
	if s.group.Path == "" {
		return &specs.LinuxResources{}
	}
	return c.Host.Limits.Resources(func(controller string) bool { return slices.Contains(s.group.Controllers, controller) })
}

// noteOutOfMemory records, before the group goes, that the kernel killed for want
// of memory.
func (s *supervisor) noteOutOfMemory() {
	if s.group.Path == "" || cgroup.OutOfMemory(s.group.Path) == 0 {
		return
	}
	s.change(func(st *state.Status) { st.OOMKilled = true })
	s.announce("oom")
}
