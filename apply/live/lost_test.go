package live

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wg-kube/internal/lab"
)

// kind is one kind of change. Each turn of it begins where the one before has ended.
type kind struct {
	name  string
	ready func(t *testing.T, f *file, turns int) // the file as the turns need it; nil: as it is
	turn  func(t *testing.T, h *hub, n int)
}

// edit is a turn that changes the file.
func edit(change func(t *testing.T, f *file, n int)) func(*testing.T, *hub, int) {
	return func(t *testing.T, h *hub, n int) {
		h.change(t, func(f *file) { change(t, f, n) })
	}
}

// twice is a turn that changes the file and changes it back.
func twice(there, back func(f *file)) func(*testing.T, *hub, int) {
	return func(t *testing.T, h *hub, _ int) {
		h.change(t, there)
		h.change(t, back)
	}
}

// grow gives a peer more prefixes, shrink takes one away.
func grow(peer int) func(*testing.T, *file, int) {
	return func(_ *testing.T, f *file, n int) {
		p := &f.peers[peer]
		p.allowed = append(p.allowed, fmt.Sprintf("172.%d.%d.0/24", 16+n/256, n%256))
	}
}

func shrink(peer int) func(*testing.T, *file, int) {
	return func(_ *testing.T, f *file, _ int) { f.peers[peer].allowed = shorten(f.peers[peer].allowed) }
}

// times is a ready that does something as often as there are turns, in all the measurements that there may be.
func times(change func(*testing.T, *file, int)) func(*testing.T, *file, int) {
	return func(t *testing.T, f *file, turns int) {
		for n := range turns * patience {
			change(t, f, n)
		}
	}
}

func addPeer(t *testing.T, f *file, n int) {
	f.peers = append(f.peers, stranger(t, fmt.Sprintf("10.9.%d.%d/32", n/256, n%256)))
}

// crowd gives the spoke prefixes that come before the one that is used. Who takes them all away and gives them back
// leaves it without for a while.
func crowd(_ *testing.T, f *file, _ int) {
	p := &f.peers[peerA]
	for n := range 500 {
		p.allowed = append(p.allowed, fmt.Sprintf("10.6.%d.%d/32", n/256, n%256))
	}
}

// thousand are prefixes that make as many routes.
func thousand() (prefixes []string) {
	for n := range 1000 {
		prefixes = append(prefixes, fmt.Sprintf("10.10.%d.%d/32", n/256, n%256))
	}
	return prefixes
}

// drift is a turn that runs a command on the hub, and waits until the daemon says that something has drifted and what
// the command took away is there again.
func drift(command, back, look string) func(*testing.T, *hub, int) {
	return func(t *testing.T, h *hub, _ int) {
		repairs := func() int { return strings.Count(h.applier.Log(), "msg=drift") }
		before := repairs()
		h.Run(t, strings.Fields(command)...)
		wait(t, "repaired after "+command, func() bool { return repairs() > before })
		h.shows(t, back, look)
	}
}

func fullTunnel(_ *testing.T, f *file, _ int) {
	f.peers[peerD].allowed = append(f.peers[peerD].allowed, "0.0.0.0/0", "::/0")
}

func kinds(h *hub) []kind {
	c, d := h.base.peers[peerC].key.String(), h.base.peers[peerD].key.String()
	return []kind{
		{"a peer is added", nil, edit(addPeer)},
		{"another peer is removed", times(addPeer), edit(func(_ *testing.T, f *file, _ int) { f.peers = f.peers[:len(f.peers)-1] })},
		{"another peer's AllowedIPs grow", nil, edit(grow(peerC))},
		{"another peer's AllowedIPs shrink", times(grow(peerC)), edit(shrink(peerC))},
		{"a prefix moves between two others", func(t *testing.T, f *file, _ int) { grow(peerC)(t, f, 0) }, edit(func(t *testing.T, f *file, n int) {
			from, to := peerC, peerD
			if n%2 == 1 {
				from, to = to, from
			}
			shrink(from)(t, f, n)
			grow(to)(t, f, 0)
		})},
		{"the spoke's own AllowedIPs grow", crowd, edit(grow(peerA))},
		{"the spoke's own AllowedIPs shrink", func(t *testing.T, f *file, turns int) {
			crowd(t, f, turns)
			times(grow(peerA))(t, f, turns)
		}, edit(shrink(peerA))},
		{"another peer's PresharedKey", nil, edit(func(t *testing.T, f *file, _ int) { f.peers[peerC].psk = newKey(t) })},
		{"another peer's PersistentKeepalive", nil, edit(func(_ *testing.T, f *file, n int) { f.peers[peerC].keepalive = 20 + n%2 })},
		{"another peer's Endpoint", nil, edit(func(_ *testing.T, f *file, n int) {
			f.peers[peerC].endpoint = fmt.Sprintf("192.0.2.4:%d", 51820+n%2)
		})},
		{"an Address comes and goes", nil, twice(
			func(f *file) { f.addresses = append(f.addresses, "10.20.0.1/24") },
			func(f *file) { f.addresses = shorten(f.addresses) })},
		{"1,000 routes come and go", nil, twice(
			func(f *file) { f.peers[peerD].allowed = append(f.peers[peerD].allowed, thousand()...) },
			func(f *file) { f.peers[peerD].allowed = f.peers[peerD].allowed[:2] })},
		{"a default route to another peer comes and goes", nil, twice(
			func(f *file) { fullTunnel(nil, f, 0) },
			func(f *file) { f.peers[peerD].allowed = f.peers[peerD].allowed[:2] })},
		{"the MTU", nil, edit(func(_ *testing.T, f *file, n int) { f.mtu = 1380 + n%2 })},

		{"drift: another peer is removed", nil, drift("wg set wg0 peer "+c+" remove", c, "wg show wg0 allowed-ips")},
		{"drift: another peer's AllowedIPs", nil, drift("wg set wg0 peer "+d+" allowed-ips 10.99.0.0/16", "192.168.101.0/24", "wg show wg0 allowed-ips")},
		{"drift: a route is deleted", nil, drift("ip route del 192.168.100.0/24", "wg0", "ip route show 192.168.100.0/24")},
		{"drift: an address is deleted", nil, drift("ip addr del 10.8.0.1/24 dev wg0", "10.8.0.1/24", "ip addr show wg0")},
		{"drift: a rule is deleted", fullTunnel, drift("ip rule del not fwmark 51820 table 51820", "0xca6c", "ip rule")},

		{"wg-apply once, the file unchanged", nil, func(t *testing.T, h *hub, _ int) { h.apply(t, "once", "wg0") }},
	}
}

// restarts are the changes of the daemon itself. A comment in the file, taken in, tells that the new one is at work.
func restarts(start func()) []kind {
	turn := func(s syscall.Signal, between func(t *testing.T, h *hub, n int)) func(*testing.T, *hub, int) {
		return func(t *testing.T, h *hub, n int) {
			end(t, h.applier, s)
			between(t, h, n)
			start()
			h.change(t, func(f *file) { f.note++ })
		}
	}
	nothing := func(*testing.T, *hub, int) {}
	return []kind{
		{"wg-apply is restarted", nil, turn(syscall.SIGTERM, nothing)},
		{"wg-apply is killed and started again", nil, turn(syscall.SIGKILL, nothing)},
		{"wg-apply is upgraded", nil, turn(syscall.SIGTERM, func(t *testing.T, h *hub, n int) {
			other := fmt.Sprintf("/run/version-%d", n%2)
			h.Run(t, "mkdir", "-p", other)
			h.Run(t, "cp", "-f", h.program, filepath.Join(filepath.Dir(h.program), "wg-device"), other)
			h.program = filepath.Join(other, "wg-apply")
		})},
	}
}

func TestNothingLost(t *testing.T) {
	h := newHub(t)
	h.write(t, "wg0", h.file.String())
	start := func() { h.applier = h.daemon(t, "--resync=50ms", "--log-level=warn") }
	start()
	h.reset(t)
	h.meet(t)
	h.c.apply(t, "once")
	h.c.reaches(t, addrHub)
	var r report
	all, began := append(kinds(h), restarts(start)...), time.Now()
	last := *within / time.Duration(len(all)+1) // for wg syncconf
	for i, k := range all {
		t.Run(k.name, func(t *testing.T) {
			share := (*within - last - time.Since(began)) / time.Duration(len(all)-i)
			measure := func() (int, loss) {
				h.reset(t)
				if k.ready != nil {
					h.change(t, func(f *file) { k.ready(t, f, *changes) })
				}
				return h.measure(t, share, func(n int) { k.turn(t, h, n) })
			}
			turns, l := measure()
			if l.lost() > 0 { // a packet in a hundred thousand is anybody's; what the change loses, it loses again
				t.Logf("packets are lost, so all of it is measured again: %s", l)
				more, again := measure()
				turns += more
				l.add(again)
				if again.lost() > 0 {
					t.Errorf("packets are lost, and were before: %s", again)
				}
			}
			r.add(k.name, turns, l)
			h.settled(t)
		})
	}
	h.reset(t)
	end(t, h.applier, syscall.SIGKILL)
	h.syncconf(t, last, &r)
	start()
	h.links(t, &r)
	h.reset(t)
	end(t, h.applier, syscall.SIGKILL)
	h.downUp(t, &r)
	r.publish(t, lab.HasKernelWireGuard(t))
}
