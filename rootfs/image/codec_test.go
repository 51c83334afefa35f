package image

import (
	"testing"

	"bryo/internal/codec/codectest"
)

func TestRecordCode(t *testing.T) { codectest.Check[Record](t) }
