package live

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wg-kube/internal/lab"
)

// What wg-quick brought up is taken over, changed, left alone and given back, and those who talk do not notice.
func TestAdopts(t *testing.T) {
	h := newHub(t)
	before := h.net(t)
	h.file.peers[peerD].allowed = append(h.file.peers[peerD].allowed, "0.0.0.0/0", "::/0")
	h.write(t, "wg0", h.file.String())
	lab.WGQuickUp(t, h.Host, "wg0")
	h.meet(t)
	index := h.index(t)
	quicks := h.net(t)
	l := h.judged(t, func() {
		daemon := h.daemon(t, "--resync=100ms")
		h.change(t, func(f *file) { f.note++ })
		if d := cmp.Diff(quicks, h.net(t)); d != "" {
			t.Errorf("taking over changes something (-wg-quick +wg-apply):\n%s", d)
		}
		if strings.Contains(daemon.Log(), "op=") {
			t.Errorf("there was nothing to do:\n%s", daemon.Log())
		}
		h.change(t, func(f *file) { addPeer(t, f, 1) })
		h.change(t, func(f *file) { f.peers = f.peers[:len(f.peers)-1] })
		end(t, daemon, syscall.SIGTERM)
		if d := cmp.Diff(quicks, h.net(t)); d != "" {
			t.Errorf("after SIGTERM (-wg-quick +wg-apply):\n%s", d)
		}
	})
	t.Log(l)
	if l.lost() > 0 {
		t.Errorf("packets are lost: %s", l)
	}
	if got := h.index(t); got != index {
		t.Error("the link was made anew")
	}
	h.quickDown(t)
	h.nothingLeft(t, before)
}

// What wg-apply made can be taken down by wg-quick and by wg-apply, and nothing of it is left.
func TestLetsGo(t *testing.T) {
	for name, c := range map[string]struct {
		allowed []string
		dns     string
	}{
		"a hub":                     {[]string{"10.7.0.2/32", "192.168.100.0/24", "fd00:7:2::/64"}, ""},
		"a default route and DNS":   {[]string{"0.0.0.0/0", "::/0"}, "192.0.2.53, a.example"},
		"a default route, v6 alone": {[]string{"::/0", "192.168.100.0/24"}, ""},
	} {
		for by, down := range map[string]func(m *machine, t *testing.T){
			"wg-quick": func(m *machine, t *testing.T) { m.quickDown(t) },
			"wg-apply": func(m *machine, t *testing.T) { m.apply(t, "down", "wg0") },
		} {
			t.Run(name+", by "+by, func(t *testing.T) {
				t.Parallel()
				if _, err := exec.LookPath("resolvconf"); err != nil && c.dns != "" {
					lab.Skip(t, "resolvconf is not installed (Debian: openresolv)")
				}
				m := newMachine(t, "m")
				m.others(t)
				before := m.net(t)
				daemon := m.daemon(t, "--dns")
				f := file{key: newKey(t), port: 51820, dns: c.dns, addresses: []string{"10.7.0.1/24", "fd00:7::1/64"}, peers: []peer{stranger(t, c.allowed...)}}
				m.put(t, "wg0", f.String())
				up := m.net(t)
				if dns, _, _ := strings.Cut(c.dns, ","); !strings.Contains(up, dns) {
					t.Errorf("DNS is not set:\n%s", up)
				}
				end(t, daemon, syscall.SIGTERM)
				if d := cmp.Diff(up, m.net(t)); d != "" {
					t.Errorf("SIGTERM (-before +after):\n%s", d)
				}
				down(m, t)
				m.nothingLeft(t, before)
			})
		}
	}
}

// index is the number of the link, which a link made anew does not have.
func (m *machine) index(t testing.TB) string {
	t.Helper()
	number, _, _ := strings.Cut(m.Run(t, "ip", "-o", "link", "show", "wg0"), ":")
	return number
}

// nothingLeft fails the test if the host is not as it was, or something runs on it.
func (m *machine) nothingLeft(t *testing.T, before string) {
	t.Helper()
	wait(t, fmt.Sprintf("every process has ended: %v", m.processes(t)), func() bool { return len(m.processes(t)) == 0 })
	if d := cmp.Diff(before, m.net(t)); d != "" {
		t.Errorf("the host is not as it was (-before +after):\n%s", d)
	}
}
