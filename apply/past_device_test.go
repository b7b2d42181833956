package apply

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A wg-render that has been taken over drops half of the peers, and half of what is left, and so on, as fast as it can.
// The first half goes; the rest stays on the device, also when wg-apply is killed in between.
func TestDeviceADrainByHalvesIsHeld(t *testing.T) {
	m := newMachine(t, "hub")
	put := func(from, to int) {
		t.Helper()
		m.Write(t, "/run/proposals/next", rendered(t, numbers(from, to)...), 0o640)
		m.Run(t, "mv", "/run/proposals/next", "/run/proposals/wg0.conf")
	}
	has := func(n int) {
		t.Helper()
		m.eventually(t, fmt.Sprint(n, " peers"), fmt.Sprintf(`test "$(wg show wg0 peers | wc -l)" = %d`, n))
	}
	daemon := m.start(t, "--proposed", "wg0")
	put(1, 64)
	has(64)
	put(33, 64)
	has(32)
	before := m.state(t, "wg0")
	must(t, daemon.Kill())
	daemon.Exit(t, 5*time.Second)
	daemon = m.start(t, "--proposed", "wg0")
	for _, from := range []int{49, 57, 61, 64} {
		put(from, 64)
		m.eventually(t, "it is held", fmt.Sprintf(`test "$(grep -c '"since"' /run/wg-kube/wg0.json)" = %d`, from-33))
	}
	if after := m.state(t, "wg0"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if out := m.apply(t, "status", "wg0"); !strings.Contains(out, "  held        35 of 36 peers of the last 10m would go\n") {
		t.Errorf("status:\n%s", out)
	}
	if log := daemon.Log(); !strings.Contains(log, `"48 of 64 peers of the last 10m would go; no longer in the proposal, and kept: 16 peers; let go by: wg-apply accept wg0"`) {
		t.Errorf("the log:\n%s", log)
	}

	m.apply(t, "accept", "wg0")
	has(1)
	put(64, 73)
	has(10)
	put(69, 73)
	has(5)
	put(70, 73)
	m.eventually(t, "what is accepted is the new measure", `grep -q '6 of 10 peers of the last 10m would go' /run/wg-kube/wg0.json`)
	has(5)
	must(t, daemon.Kill())
	daemon.Exit(t, 5*time.Second)
}

// An autoscaler takes its time: with less than half gone in each window, all goes but the last.
func TestDeviceASlowDrainPasses(t *testing.T) {
	m := newMachine(t, "hub")
	m.start(t, "--proposed", "wg0", "--shrink-window", "200ms")
	for n := 64; n >= 1; n /= 2 {
		m.Write(t, "/run/proposals/next", rendered(t, numbers(1, n)...), 0o640)
		m.Run(t, "mv", "/run/proposals/next", "/run/proposals/wg0.conf")
		m.eventually(t, fmt.Sprint(n, " peers"), fmt.Sprintf(`test "$(wg show wg0 peers | wc -l)" = %d`, n))
		time.Sleep(400 * time.Millisecond)
	}
}
