package patience

import (
	"testing"
	"time"
)

func TestPatience(t *testing.T) {
	const limit = 60 * time.Millisecond
	waited := func(step int64) bool {
		got := int64(0)
		p := New(func() int64 { got += step; return got }, limit)
		for end := time.Now().Add(4 * limit); time.Now().Before(end); time.Sleep(limit / 20) {
			if p.IsOver() {
				return false
			}
		}
		return true
	}
	if !waited(Step) {
		t.Error("a holder that gets on was left behind")
	}
	if waited(0) || waited(1) {
		t.Error("a holder that does not get on was waited for")
	}
	if (*Patience)(nil).IsOver() {
		t.Error("none is no end")
	}
}
