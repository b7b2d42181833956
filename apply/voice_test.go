package apply

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Whoever writes proposals can write others all the time. That fills no log, and hides nothing else.
func TestALiarFillsNoLog(t *testing.T) {
	h := newHouse(t, "wg0")
	at := time.Now()
	h.clock = func() time.Time { return at }
	i := h.newIface("wg0", func() {})
	honest, _, _ := strings.Cut(rendered(t, 1, 2), "# end ")
	propose := func(lines string) (log string) {
		t.Helper()
		file := strings.Replace(honest, "[Interface]\n", "[Interface]\n"+lines, 1)
		h.write(t, h.proposal("wg0"), fmt.Sprintf("%s# end sha256:%x\n", file, sha256.Sum256([]byte(file))))
		h.look(t, i, false)
		return h.log.Take()
	}
	propose("")
	faults := func(n int) string { return strings.Repeat(fmt.Sprintf("MTU = a%d\n", n), 900) }
	one := propose(faults(0))
	if n := strings.Count(one, "msg=refused"); n != mostSteps+1 || !strings.Contains(one, fmt.Sprintf(`msg=refused iface=wg0 op="... and %d more"`, 900-mostSteps)) {
		t.Errorf("%d lines of 900 faults in one file:\n%.1000s", n, one)
	}
	lines := 0
	for n := range 50 {
		lines += strings.Count(propose(faults(n+1)), "\n")
	}
	if lines > linesAtOnce {
		t.Errorf("%d lines", lines)
	}
	if one := propose("MTU = 1300\n"); strings.Count(one, "msg=promoted") != 1 || strings.Count(one, "msg=changed") == 0 {
		t.Errorf("what happens meanwhile is not told:\n%s", one)
	}
	at = at.Add(time.Minute)
	h.look(t, i, true)
	if one := h.log.Take(); strings.Count(one, "\n") != 1 || !strings.Contains(one, "more\"") {
		t.Errorf("how many there were is not told:\n%s", one)
	}
	at = at.Add(time.Hour)
	h.look(t, i, true)
	if one := h.log.Take(); one != "" {
		t.Errorf("it is told again:\n%s", one)
	}
	lines = 0
	for n := range 200 { // nor do changes that are taken
		lines += strings.Count(propose(fmt.Sprintf("MTU = %d\n", 1301+n)), "\n")
	}
	if lines > 3*linesAtOnce {
		t.Errorf("%d lines of 200 other MTUs", lines)
	}
}

// Who reads of a hold in the log reads there as well that it is over, also where those who were held came back and the
// file in force says what it said before.
func TestTheEndOfAHoldIsTold(t *testing.T) {
	h := newHouse(t, "wg0")
	i := h.newIface("wg0", func() {})
	for _, tt := range []struct {
		peers []int
		says  string
	}{
		{[]int{1, 2, 3, 4, 5, 6}, "peers=6 held=0"},
		{[]int{1}, "peers=6 held=5"},
		{[]int{1, 2, 3, 4, 5, 6}, "peers=6 held=0"},
	} {
		h.write(t, h.proposal("wg0"), rendered(t, tt.peers...))
		h.look(t, i, false)
		if log := h.log.Take(); !strings.Contains(log, "level=INFO msg=promoted iface=wg0 path="+h.inForce("wg0")+" "+tt.says) {
			t.Errorf("%d peers: it is not told that there are %s:\n%s", len(tt.peers), tt.says, log)
		}
	}
}
