package linux_test

import (
	"testing"

	"bryo/internal/codec/codectest"
	"bryo/internal/linux"
)

func TestProcessRefCode(t *testing.T) { codectest.Check[linux.ProcessRef](t) }
