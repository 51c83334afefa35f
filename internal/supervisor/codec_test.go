package supervisor

import (
	"testing"

	"bryo/internal/codec/codectest"
)

func TestMessageCode(t *testing.T) { codectest.Check[Message](t) }
