package apply

import (
	"testing"
	"time"

	"wg-kube/internal/lab"
)

// The watchdog is told that all is well by the loop itself, and only while none of the interfaces is stuck.
func TestAStuckInterfaceFeedsNoWatchdog(t *testing.T) {
	fed := lab.Watchdog(t)
	h := newHouse(t)
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 2)...))
	d := h.run(t, "wg0")
	h.eventually(t, "it is looked at", func() bool { return d.Ready() == nil })
	if !fed(soon) {
		t.Error("nobody feeds it")
	}
	began := func(at time.Time) {
		loop := d.all()[0]
		loop.mu.Lock()
		defer loop.mu.Unlock()
		loop.now.since = at
	}
	began(time.Now().Add(-2 * stuck))
	if d.Alive() == nil {
		t.Error("a look that takes so long is said to be well")
	}
	for end := time.Now().Add(soon); fed(200 * time.Millisecond); {
		if time.Now().After(end) {
			t.Fatal("it is fed all the same")
		}
		began(time.Now().Add(-2 * stuck)) // in between it may have looked once more
	}
	began(time.Time{})
	if !fed(soon) {
		t.Error("nobody feeds it any more")
	}
}
