package live

import (
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab"
)

// syncconf measures what wg(8) does instead of wg-apply, which is no worse off for working on an interface of ours.
func (h *hub) syncconf(t *testing.T, within time.Duration, r *report) {
	t.Run("wg syncconf", func(t *testing.T) {
		turns, l := h.measure(t, within, func(n int) {
			addPeer(t, h.file, n)
			h.write(t, "wg0", h.file.String())
			h.Run(t, "bash", "-c", "wg syncconf wg0 <(wg-quick strip wg0)")
		})
		r.add("`wg syncconf`: a peer is added", turns, l)
	})
}

// downUp measures what wg-quick(8) does instead of wg-apply.
func (h *hub) downUp(t *testing.T, r *report) {
	t.Run("wg-quick down and up", func(t *testing.T) {
		const turns = 3
		r.add("`wg-quick down; wg-quick up`", turns, h.during(t, func() {
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

// links measures what cannot be free: the sessions are gone, and the spokes have to be called. With a keepalive the
// device does that by itself.
func (h *hub) links(t *testing.T, r *report) {
	const turns = 3
	for _, l := range []struct{ name, command string }{
		{"the link is deleted", "ip link del wg0"},
		{"the link is set down", "ip link set wg0 down"},
	} {
		for _, k := range []struct {
			name      string
			keepalive int
		}{{", peers with a keepalive", 25}, {", peers without", 0}} {
			t.Run(l.name+k.name, func(t *testing.T) {
				h.reset(t)
				h.change(t, func(f *file) {
					f.peers[peerA].keepalive, f.peers[peerB].keepalive = k.keepalive, k.keepalive
				})
				h.meet(t)
				r.add(l.name+k.name, turns, h.during(t, func() {
					for range turns {
						h.Run(t, strings.Fields(l.command)...)
						h.shows(t, "UP", "ip link show wg0 up")
						time.Sleep(time.Second / 2) // a device in a process of its own may hear of it only now
						h.recover(t)
					}
				}))
			})
		}
	}
}
