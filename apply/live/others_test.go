package live

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
		for f in ip ip6; do nft -f - <<-EOF
			table $f cni {
				chain forward { type filter hook forward priority 0; meta mark 0x200 accept; }
				chain from { type route hook output priority -150; oifname "cni0" meta mark set 0x200; }
			}
			table $f wg-quick-wg9 { chain preraw { type filter hook prerouting priority -300; }; }
			EOF
		done`)
}

// othersOnOurs adds or deletes ("del") what others have on our device: routes of a router, of a CNI, of the kernel.
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

// ofOthers is what others and othersOnOurs have put on the host.
func (m *machine) ofOthers(t testing.TB) string {
	t.Helper()
	return m.Run(t, "sh", "-c", `
		ip -o addr show scope global | grep -v ' wg0 ' | sed 's/ *valid_lft.*//'
		(ip -d -4 route show table all; ip -d -6 route show table all) | grep -v 'proto 151' | grep '10\.2[45]\|fd00:2[45]\|192\.0\.2' | sort
		(ip -d -4 rule; ip -d -6 rule) | grep 'lookup 100\|2457'
		for f in ip ip6; do nft list table $f cni; nft list table $f wg-quick-wg9; done`)
}

// Whatever the file says, what is not ours is neither changed nor missing for a moment that anyone could see.
func TestOthersStay(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "m")
	m.others(t)
	base := &file{key: newKey(t), port: 51820, mtu: 1420, addresses: []string{"10.7.0.1/24", "fd00:7::1/64"},
		peers: []peer{stranger(t, "10.7.0.2/32", "192.168.100.0/24", "fd00:100::/64")}}
	m.daemon(t, "--resync=100ms")
	m.put(t, "wg0", base.String())
	m.othersOnOurs(t, "add")
	ours, before := m.net(t), m.ofOthers(t)
	changes := []struct {
		name   string
		change func(f *file)
	}{
		{"a default route", func(f *file) { f.peers[0].allowed = append(f.peers[0].allowed, "0.0.0.0/0", "::/0") }},
		{"the halves of one", func(f *file) { f.peers[0].allowed = append(f.peers[0].allowed, "0.0.0.0/1", "128.0.0.0/1") }},
		{"prefixes around theirs", func(f *file) { f.peers[0].allowed = append(f.peers[0].allowed, "10.240.0.0/12", "fd00:200::/24") }},
		{"prefixes within theirs", func(f *file) { f.peers[0].allowed = append(f.peers[0].allowed, "10.250.1.0/24", "10.244.1.7/32") }},
		{"no prefix", func(f *file) { f.peers[0].allowed = nil }},
		{"no peer", func(f *file) { f.peers = nil }},
		{"other addresses", func(f *file) { f.addresses = []string{"10.9.0.1/24", "10.7.0.1/32", "fd00:9::1/64"} }},
		{"another MTU and port", func(f *file) { f.mtu, f.port = 1380, 51821 }},
	}
	for _, back := range []bool{true, false} { // to the first file in between, or from each to the next
		for _, c := range changes {
			f := base.clone()
			c.change(f)
			m.put(t, "wg0", f.String())
			if d := cmp.Diff(before, m.ofOthers(t)); d != "" {
				t.Fatalf("%s (-before +after):\n%s", c.name, d)
			}
			if back {
				m.put(t, "wg0", base.String())
			}
		}
	}
	m.put(t, "wg0", base.String())
	if d := cmp.Diff(ours, m.net(t)); d != "" {
		t.Errorf("in the end (-before +after):\n%s", d)
	}
}
