package state

import (
	"testing"

	"bryo/internal/codec/codectest"
)

func TestConfigCode(t *testing.T) { codectest.Check[Config](t) }
func TestStatusCode(t *testing.T) { codectest.Check[Status](t) }
