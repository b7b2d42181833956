package render

import (
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab"
	"wg-kube/render/overlay"
)

// The watchdog is told that all is well by the loop itself, and not while that hangs.
func TestAHungLoopFeedsNoWatchdog(t *testing.T) {
	fed := lab.Watchdog(t)
	b := newBench(t)
	c := newCluster(overlay.Node{Name: "hub-1"}, spoke("alice", aliceKey, "10.1.0.0/24"))
	c.synced = true
	b.run(onlySource{c})
	b.eventually("a proposal", func() bool { return strings.Contains(b.file(), "Node/alice") })
	const soon = 30 * time.Second
	if !fed(soon) {
		t.Error("nobody feeds it")
	}
	c.mu.Lock() // whoever asks it now waits
	c.signal()
	for end := time.Now().Add(soon); fed(200 * time.Millisecond); {
		if time.Now().After(end) {
			t.Error("it is fed all the same")
			break
		}
	}
	c.mu.Unlock()
	if !fed(soon) {
		t.Error("nobody feeds it any more")
	}
}
