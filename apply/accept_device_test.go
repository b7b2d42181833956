package apply

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab/trace"
)

// put is a proposal of the peers from and to, in one step.
func (m *machine) put(t *testing.T, from, to int) {
	t.Helper()
	m.Write(t, "/run/proposals/next", rendered(t, numbers(from, to)...), 0o640)
	m.Run(t, "mv", "/run/proposals/next", "/run/proposals/wg0.conf")
}

// has waits until the device has that many peers.
func (m *machine) has(t *testing.T, n int) {
	t.Helper()
	m.eventually(t, fmt.Sprint(n, " peers"), fmt.Sprintf(`test "$(wg show wg0 peers | wc -l)" = %d`, n))
}

// A file system that is full keeps nobody waiting who takes nothing away, and costs nobody anything.
func TestDeviceRunDirThatIsFull(t *testing.T) {
	m := newMachine(t, "hub")
	m.Run(t, "sh", "-c", "mkdir -p /run/wg-kube && mount -t tmpfs -o size=4k none /run/wg-kube")
	daemon := m.start(t, "--proposed", "wg0", "--resync", "1s") // what fails is tried again as often
	for n := 9; n <= 12; n++ {
		m.put(t, 1, n)
		m.has(t, n)
	}
	m.put(t, 5, 13)
	m.has(t, 13)
	m.Run(t, "mount", "-o", "remount,size=1m", "/run/wg-kube")
	m.has(t, 9)
	if log := daemon.Log(); strings.Count(log, "wg0.past: write: no space left on device; until what was in force can be measured by, nothing of it goes") != 1 {
		t.Errorf("it is not said once:\n%s", log)
	}
	m.put(t, 9, 13)
	m.eventually(t, "what has gone counts", `grep -q '8 of 9 peers of the last 10m would go' /run/wg-kube/wg0.json`)
	m.Run(t, "sh", "-c", "mount --bind /run/wg-kube /run/wg-kube && mount -o remount,bind,ro /run/wg-kube")
	m.put(t, 9, 14)
	m.has(t, 10)
	must(t, daemon.Kill())
	daemon.Exit(t, 5*time.Second)
}

// Killed before any of its system calls that change something, it has accepted or it has not: in the one case all waits
// as before and is measured as before, in the other nothing waits and the measure is a new one.
func TestDeviceAcceptIsKilledAtEachStep(t *testing.T) {
	m := newMachine(t, "hub")
	promote := func(from int) (held int) {
		t.Helper()
		m.put(t, from, 40)
		m.apply(t, "once", "--proposed", "wg0", "wg0")
		return strings.Count(m.Run(t, "cat", "/run/wg-kube/wg0.json"), `"since"`)
	}
	promote(1)
	promote(21)
	promote(33)
	m.Run(t, "sh", "-c", "tar -cPf /run/kept.tar /etc/wireguard /run/wg-kube")
	accept := func(kill int) (steps int) {
		t.Helper()
		steps, _ = trace.Start(t, m.Host, trace.Order{Kill: kill}, m.args("accept", "wg0")...).Steps(t, time.Minute)
		return steps
	}
	happened := map[bool]int{}
	for n := range accept(0) {
		m.Run(t, "sh", "-c", "find /etc/wireguard /run/wg-kube -type f -delete && tar -xPf /run/kept.tar")
		m.put(t, 33, 40)
		accept(n + 1)
		before, after := promote(33), promote(34)
		if !(before == 12 && after == 13) && !(before == 0 && after == 0) {
			t.Errorf("killed at step %d: %d are held, and %d when one more goes", n+1, before, after)
		}
		happened[before == 0]++
		if m.apply(t, "accept", "wg0"); before > 0 && promote(37) > 0 {
			t.Errorf("killed at step %d, and called again: half of what was accepted is held", n+1)
		}
	}
	if happened[true] == 0 || happened[false] == 0 {
		t.Errorf("killed %d times before and %d times after the fact", happened[false], happened[true])
	}
}
