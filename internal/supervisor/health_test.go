package supervisor

import (
	"testing"
	"time"

	"bryo/internal/state"
	"bryo/rootfs/image"
)

func TestJudge(t *testing.T) {
	start := time.Unix(1000, 0)
	m := &monitor{started: start, check: image.Healthcheck{Retries: 2, StartPeriod: 10 * time.Second, Interval: 30 * time.Second, StartInterval: time.Second}}
	for name, test := range map[string]struct {
		codes  []int // one run each second after the given one
		after  time.Duration
		status string
		streak int
	}{
		"nothing yet":               {nil, 0, starting, 0},
		"one success":               {[]int{0}, 0, healthy, 0},
		"failures at the start":     {[]int{1, 1, 1, 1}, 0, starting, 0},
		"failures after the period": {[]int{1, 1}, 20 * time.Second, unhealthy, 2},
		"one failure":               {[]int{1}, 20 * time.Second, starting, 1},
		"healthy ends the period":   {[]int{0, 1, 1}, 0, unhealthy, 2},
		"a failure between":         {[]int{0, 1, 0, 1}, 20 * time.Second, healthy, 1},
		"healthy again":             {[]int{1, 1, 0}, 20 * time.Second, healthy, 0},
		"timeout":                   {[]int{-1, -1}, 20 * time.Second, unhealthy, 2},
	} {
		t.Run(name, func(t *testing.T) {
			h := state.Health{Status: starting}
			for i, code := range test.codes {
				h = m.judge(h, state.HealthProbe{Start: start.Add(test.after + time.Duration(i)*time.Second), ExitCode: code})
			}
			if h.Status != test.status || h.FailingStreak != test.streak || len(h.Log) != min(len(test.codes), healthLog) {
				t.Errorf("got %+v", h)
			}
		})
	}
	if got := m.pause(starting, start.Add(time.Second)); got != time.Second {
		t.Errorf("in the start period: %s", got)
	}
	for _, late := range []time.Duration{m.pause(healthy, start.Add(time.Second)), m.pause(starting, start.Add(time.Minute))} {
		if late != 30*time.Second {
			t.Errorf("later: %s", late)
		}
	}
}

func TestHealthOutputIsBounded(t *testing.T) {
	out := &tailless{limit: 8}
	for range 3 {
		out.Write("stdout", []byte("12345"))
	}
	if out.String() != "12345123" {
		t.Errorf("got %q", out.String())
	}
}

func TestWaiters(t *testing.T) {
	w := newWaiters()
	got := make(chan int)
	for range 2 {
		next, _ := w.join()
		go func() {
			defer w.leave()
			got <- w.exit(next)
		}()
	}
	time.Sleep(10 * time.Millisecond)
	w.restarting(3)
	if a, b := <-got, <-got; a != 3 || b != 3 {
		t.Errorf("at a restart: %d, %d", a, b)
	}
	next, ok := w.join()
	if !ok {
		t.Error("cannot join")
	}
	go func() { got <- w.exit(next) }()
	done := make(chan bool)
	go func() { w.release(7); close(done) }()
	if code := <-got; code != 7 {
		t.Errorf("at the end: %d", code)
	}
	select {
	case <-done:
		t.Error("did not wait for who joined")
	case <-time.After(10 * time.Millisecond):
	}
	w.leave()
	<-done
	if _, ok := w.join(); ok {
		t.Error("joined after the end")
	}
}
