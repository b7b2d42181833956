package live

import (
	"fmt"
	"testing"

	"wg-kube/internal/lab"
)

// Addresses in the tunnels.
const (
	addrHub = "10.7.0.1"
	addrA   = "10.7.0.2"
	addrB   = "10.7.0.3"
)

// hub is a machine with spokes on a switch: a talks to the hub, and to b through the hub; c is another.
type hub struct {
	*machine
	a, b, c *machine     // c: nil in a twin
	twin    *hub         // the same once more, where nothing is ever changed
	applier *lab.Process // wg-apply on the hub
	base    *file        // as every measurement finds it
	file    *file        // as it is now
}

// Where the peers are in the hub's file. d does not exist.
const (
	peerA = iota
	peerB
	peerC
	peerD
)

// newHub makes a hub and its twin. The hub's own interface is not up yet.
func newHub(t testing.TB) *hub {
	t.Helper()
	twin := newStar(t, "twin", "twin-a", "twin-b")
	twin.write(t, "wg0", twin.file.String())
	twin.apply(t, "once")
	twin.meet(t)
	h := newStar(t, "hub", "a", "b", "c")
	h.twin = twin
	c := &h.base.peers[peerC]
	c.allowed = append(c.allowed, "192.168.100.0/24")
	h.base.addresses = append(h.base.addresses, "10.8.0.1/24")
	h.base.peers = append(h.base.peers, stranger(t, "10.7.0.5/32", "192.168.101.0/24"))
	h.file = h.base.clone()
	return h
}

func newStar(t testing.TB, name string, spokes ...string) *hub {
	t.Helper()
	h := &hub{machine: newMachine(t, name)}
	h.Run(t, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
	sw := lab.Switch(t)
	sw.Plug(t, h.Host, "eth0", "192.0.2.1/24")
	h.base = &file{key: newKey(t), port: 51820, mtu: 1400, addresses: []string{addrHub + "/24"}}
	for i, name := range spokes {
		s := newMachine(t, name)
		*[]**machine{&h.a, &h.b, &h.c}[i] = s
		sw.Plug(t, s.Host, "eth0", fmt.Sprintf("192.0.2.%d/24", i+2))
		addr := fmt.Sprintf("10.7.0.%d", i+2)
		f := file{key: newKey(t), port: 51820, addresses: []string{addr + "/24"}, peers: []peer{
			{key: h.base.key.Public(), allowed: []string{"10.7.0.0/24"}, endpoint: "192.0.2.1:51820", keepalive: 25}}}
		s.write(t, "wg0", f.String())
		h.base.peers = append(h.base.peers, peer{key: f.key.Public(), allowed: []string{addr + "/32"}})
	}
	h.file = h.base.clone()
	return h
}

// meet brings the spokes up, when the hub is, and waits until those that are listened to have talked to it: it does
// not know where they are.
func (h *hub) meet(t testing.TB) {
	t.Helper()
	for _, s := range []*machine{h.b, h.a} {
		s.apply(t, "once")
		s.Run(t, "ip", "link", "set", "wg0", "txqueuelen", "10000") // that a busy machine holds up a spoke is no loss
		s.reaches(t, addrHub)
	}
	h.a.reaches(t, addrB)
}

// change changes the file of the hub and waits until the daemon has applied it.
func (h *hub) change(t testing.TB, f func(f *file)) {
	t.Helper()
	f(h.file)
	h.put(t, "wg0", h.file.String())
}

// reset makes the hub what it was at first.
func (h *hub) reset(t testing.TB) {
	t.Helper()
	note := h.file.note + 1
	h.file = h.base.clone()
	h.change(t, func(f *file) { f.note = note })
}

func shorten(s []string) []string { return s[:len(s)-1] }
