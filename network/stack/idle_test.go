package stack

import (
	"testing"
	"time"
)

// TestIdleStackSleeps: without traffic the loop has nothing to wake up for, and
// the housekeeping that traffic begins ends when all is given back.
func TestIdleStackSleeps(t *testing.T) {
	s, _ := bareStack(t)
	defer s.loop.close()
	if got := s.patience(); got != -1 {
		t.Errorf("a new stack wakes up after %d ms", got)
	}
	s.chunks.put(s.chunks.get())
	s.pieces.add(packet{src: boxAddr, dst: elsewhere, proto: protoUDP, ident: 1, fragment: true, more: true, body: make([]byte, 8)}, s.now)
	var junk [28]byte // a whole packet of a protocol that nobody takes
	junk[0], junk[3], junk[9] = 0x45, 28, 253
	copy(junk[12:], boxAddr.AsSlice())
	copy(junk[16:], elsewhere.AsSlice())
	s.packet(junk[:])
	if s.patience() < 0 {
		t.Fatal("traffic begins no housekeeping")
	}
	for begin := s.now; s.patience() >= 0; {
		s.now = s.timers[0].at
		s.timers.fire(s.now)
		if s.now-begin > int64(time.Minute) {
			t.Fatal("an idle stack is still woken up a minute later")
		}
	}
	if s.chunks.spare != 0 || len(s.pieces.list) != 0 {
		t.Errorf("%d chunks and %d datagrams are kept", s.chunks.spare, len(s.pieces.list))
	}
}
