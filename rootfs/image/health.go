package image

import (
	"fmt"
	"time"
)

// Check refuses what no check could be run by; nil and the zero value are none.
// The command line has its own words for its flags.
func (h *Healthcheck) Check() error {
	if h == nil {
		return nil
	}
	if len(h.Test) > 0 {
		switch h.Test[0] {
		case "", "NONE", "CMD", "CMD-SHELL":
		default:
			return fmt.Errorf("health check: unknown kind %q: want NONE, CMD or CMD-SHELL", h.Test[0])
		}
	}
	for name, d := range map[string]time.Duration{
		"interval": h.Interval, "timeout": h.Timeout, "start period": h.StartPeriod, "start interval": h.StartInterval,
	} {
		if d != 0 && d < time.Millisecond {
			return fmt.Errorf("health check: %s of %s, cannot be less than 1ms", name, d)
		}
	}
	if h.Retries < 0 {
		return fmt.Errorf("health check: %d retries, cannot be negative", h.Retries)
	}
	return nil
}
