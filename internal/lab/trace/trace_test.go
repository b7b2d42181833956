package trace

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wg-kube/internal/lab"
)

func TestMain(m *testing.M) {
	Main()
	lab.Main(m)
}

const hang = 30 * time.Second

func TestKill(t *testing.T) {
	h := lab.NewHost(t, "h")
	h.Write(t, "/run/from", "text", 0o644)
	p := Start(t, h, Order{}, "/bin/cp", "/run/from", "/run/whole")
	all, killed := p.Steps(t, hang)
	if all == 0 || killed {
		t.Fatalf("%d steps, killed: %v: %q", all, killed, p.Said())
	}
	for n := 1; n <= all; n++ {
		p := Start(t, h, Order{Kill: n}, "/bin/cp", "/run/from", "/run/to")
		if took, killed := p.Steps(t, hang); took != n || !killed {
			t.Errorf("step %d of %d: %q", n, all, p.Said())
		}
		if out, _ := h.Try("cat", "/run/to"); strings.Contains(out, "text") {
			t.Errorf("killed before step %d of %d, and all is done", n, all)
		}
		h.Run(t, "rm", "-f", "/run/to")
	}
}

func TestFaultAndClock(t *testing.T) {
	h := lab.NewHost(t, "h")
	h.Write(t, "/run/from", "text", 0o644)
	p := Start(t, h, Order{Faults: []Fault{{To: Netlink, Errno: unix.EIO}, {To: File, Errno: unix.ENOSPC}}}, "/bin/cp", "/run/from", "/run/to")
	if code := p.Exit(t, hang); code != 1 || !strings.Contains(p.Log(), "No space left") {
		t.Errorf("exit code %d, %q, %q", code, p.Said(), p.Log())
	}
	want := time.Now().Add(-400 * 24 * time.Hour).Format("2006-01")
	p = Start(t, h, Order{Clock: -400 * 24 * time.Hour}, "/bin/date", "+%Y-%m")
	if p.Exit(t, hang); strings.TrimSpace(p.Log()) != want {
		t.Errorf("it is %q, want %q", p.Log(), want)
	}
}
