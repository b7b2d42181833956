package render

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wg-kube/render/overlay"
)

// The watchdog is told that all is well by the loop itself, and not while that hangs.
func TestAHungLoopFeedsNoWatchdog(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "30000")
	b := newBench(t)
	c := newCluster(overlay.Node{Name: "hub-1"}, spoke("alice", aliceKey, "10.1.0.0/24"))
	c.synced = true
	b.run(onlySource{c})
	b.eventually("a proposal", func() bool { return strings.Contains(b.file(), "Node/alice") })
	// fed reports whether the watchdog is within the time that somebody who feeds it takes many times over.
	fed := func(within time.Duration) bool {
		for end := time.Now().Add(within); ; {
			if err := l.SetReadDeadline(end); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 4096)
			n, err := l.Read(b)
			if err != nil {
				return false
			}
			if string(b[:n]) == "WATCHDOG=1" {
				return true
			}
		}
	}
	const soon = 10 * time.Second
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
