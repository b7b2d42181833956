//go:build live

package live

import (
	"strings"
	"testing"

	"wg-kube/internal/lab"
)

// quick measures what the same costs with wg-quick(8) and wg(8).
func quick(t *testing.T, r *report) {
	h := newHub(t)
	h.write(t, "wg0", h.file.String())
	lab.WGQuickUp(t, h.Host, "wg0")
	h.meet(t)
	t.Run("syncconf", func(t *testing.T) {
		r.add("`wg syncconf`: a peer is added", *changes, h.undisturbed(t, func() {
			for n := range *changes {
				addPeer(t, h.file, n)
				h.write(t, "wg0", h.file.String())
				h.Run(t, "bash", "-c", "wg syncconf wg0 <(wg-quick strip wg0)")
			}
		}))
	})
	t.Run("down and up", func(t *testing.T) {
		turns := 1
		if *changes >= 100 {
			turns = 3
		}
		r.add("`wg-quick down; wg-quick up`", turns, h.undisturbed(t, func() {
			for range turns {
				h.quickDown(t)
				lab.WGQuickUp(t, h.Host, "wg0")
				h.recover(t)
			}
		}))
	})
}

func (m *machine) quickDown(t *testing.T) {
	t.Helper()
	if out, code := lab.TryWGQuick(t, m.Host, "down", "wg0"); code != 0 {
		t.Fatalf("wg-quick down: exit status %d\n%s", code, out)
	}
}

// recover waits until both streams flow again. The spoke that only receives would not notice for minutes that the
// hub has forgotten it; so it talks too.
func (h *hub) recover(t *testing.T) {
	t.Helper()
	talk := h.b.Start(t, "ping", "-q", "-i", "0.2", addrHub)
	h.a.reaches(t, addrHub)
	h.a.reaches(t, addrB)
	must(t, talk.Kill())
}

// links measures what cannot be free: with a keepalive towards the spokes, so that a new link calls them, and without.
func (h *hub) links(t *testing.T, r *report) {
	for _, l := range []struct{ name, command string }{
		{"the link is deleted", "ip link del wg0"},
		{"the link is set down", "ip link set wg0 down"},
	} {
		for _, k := range []struct {
			name             string
			keepalive, turns int
		}{{", peers with a keepalive", 25, 3}, {", peers without", 0, 1}} {
			t.Run(l.name+k.name, func(t *testing.T) {
				h.reset(t)
				h.change(t, func(f *file) {
					f.peers[peerA].keepalive, f.peers[peerB].keepalive = k.keepalive, k.keepalive
				})
				h.meet(t)
				r.add(l.name+k.name, k.turns, h.undisturbed(t, func() {
					for range k.turns {
						h.Run(t, strings.Fields(l.command)...)
						h.shows(t, "UP", "ip link show wg0 up")
						h.recover(t)
					}
				}))
			})
		}
	}
}
