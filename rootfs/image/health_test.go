package image

import (
	"testing"
	"time"
)

func TestHealthcheckCheck(t *testing.T) {
	for name, c := range map[string]struct {
		check *Healthcheck
		good  bool
	}{
		"none":             {nil, true},
		"inherited":        {&Healthcheck{}, true},
		"shell":            {&Healthcheck{Test: []string{"CMD-SHELL", "true"}, Interval: time.Millisecond}, true},
		"switched off":     {&Healthcheck{Test: []string{"NONE"}}, true},
		"unknown kind":     {&Healthcheck{Test: []string{"FOO"}}, false},
		"negative":         {&Healthcheck{Interval: -5}, false},
		"a busy loop":      {&Healthcheck{Interval: 1}, false},
		"no time":          {&Healthcheck{Timeout: time.Microsecond}, false},
		"negative start":   {&Healthcheck{StartPeriod: -1}, false},
		"negative retries": {&Healthcheck{Retries: -1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.check.Check(); (err == nil) != c.good {
				t.Fatalf("got %v", err)
			}
		})
	}
}
