package live

import (
	"fmt"
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
	l := h.undisturbed(t, func() {
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
	for name, allowed := range map[string][]string{
		"a hub":                     {"10.7.0.2/32", "192.168.100.0/24", "fd00:7:2::/64"},
		"a default route":           {"0.0.0.0/0", "::/0"},
		"a default route, v6 alone": {"::/0", "192.168.100.0/24"},
	} {
		for by, down := range map[string]func(m *machine, t *testing.T){
			"wg-quick": func(m *machine, t *testing.T) { m.quickDown(t) },
			"wg-apply": func(m *machine, t *testing.T) { m.apply(t, "down", "wg0") },
		} {
			t.Run(name+", by "+by, func(t *testing.T) {
				t.Parallel()
				m := newMachine(t, "m")
				m.others(t)
				before := m.net(t)
				daemon := m.daemon(t)
				f := file{key: newKey(t), port: 51820, addresses: []string{"10.7.0.1/24", "fd00:7::1/64"}, peers: []peer{stranger(t, allowed...)}}
				m.put(t, "wg0", f.String())
				up := m.net(t)
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

// others puts a network on the host as others make it: a router, a CNI, a person.
func (m *machine) others(t testing.TB) {
	t.Helper()
	m.Run(t, "sh", "-ec", `
		ip link add eth0 type veth peer name eth1
		ip link add cni0 type veth peer name cni1
		for i in eth0 eth1 cni0 cni1; do ip link set $i up; done
		ip addr add 192.0.2.1/24 dev eth0
		ip addr add 10.244.0.1/24 dev cni0
		ip route add 10.244.1.0/24 via 192.0.2.9 proto bird
		ip route add 10.245.0.0/16 via 192.0.2.9 proto static
		ip route add blackhole 10.246.0.0/16 proto 80
		ip route add default via 192.0.2.9 table 100 proto 80
		ip route add 10.247.0.0/16 dev cni0 table 100
		ip -6 route add fd00:244::/64 dev cni0 proto bird
		ip -6 route add fd00:245::/64 dev cni0 table 100 proto 80
		ip rule add from 10.244.0.0/16 lookup 100 priority 100 protocol 80
		ip rule add fwmark 0x200/0xf00 lookup 100 priority 9 protocol kernel
		ip rule add not fwmark 0x999 lookup 2457 priority 20000 protocol static
		ip -6 rule add from fd00:244::/64 lookup 100 priority 100 protocol 80
		nft add table ip cni; nft add table ip6 firewall`)
}

// othersOnOurs adds or deletes ("del") routes of others on our device.
func (m *machine) othersOnOurs(t testing.TB, verb string) {
	t.Helper()
	m.Run(t, "env", "verb="+verb, "sh", "-ec", `
		ip route $verb 10.250.0.0/16 dev wg0 proto bird
		ip route $verb 10.251.0.0/16 dev wg0 proto static
		ip route $verb 10.252.0.0/16 dev wg0 proto 80 table 100
		ip route $verb 10.253.0.0/16 dev wg0 proto kernel scope link
		ip -6 route $verb fd00:250::/64 dev wg0 proto bird
		ip -6 route $verb fd00:251::/64 dev wg0 proto 80 table 100`)
}
