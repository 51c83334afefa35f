package serving

import (
	"context"
	"errors"
	"strings"
	"testing"

	"bryo/internal/images"
)

// TestGuarded: an operation that panics fails, in one line.
func TestGuarded(t *testing.T) {
	do := func(context.Context, *images.Request) (any, error) { panic(errors.New("too many open files")) }
	_, err := guarded(context.Background(), &images.Request{Op: "tag"}, do)
	if err == nil || !strings.HasPrefix(err.Error(), "tag: too many open files") {
		t.Errorf("got %v", err)
	}
}
