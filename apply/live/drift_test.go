package live

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wg-kube/internal/lab"
)

// drifted is something that somebody does to an interface, and a part of the line by which it is repaired.
type drifted struct{ what, command, repair string }

// Some changes the kernel tells: they are repaired at once. Of the rest it says nothing: they are seen at the next
// look. Whatever is beside ours, or on our device from somebody else, is as before.
func TestDriftIsRepaired(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "m")
	m.others(t)
	f := &file{key: newKey(t), port: 51820, mtu: 1420, addresses: []string{"10.7.0.1/24", "10.8.0.1/24", "fd00:7::1/64"}, peers: []peer{
		stranger(t, "10.7.0.2/32", "192.168.100.0/24", "fd00:100::/64"), stranger(t, "0.0.0.0/0", "::/0")}}
	key := f.peers[0].key.String()
	m.write(t, "wg0", f.String())
	m.apply(t, "once")
	m.othersOnOurs(t, "add")

	t.Run("at once", func(t *testing.T) {
		for _, d := range []drifted{
			{"a route", "ip route del 192.168.100.0/24", "ip route add 192.168.100.0/24 dev wg0"},
			{"a route, v6", "ip -6 route del fd00:100::/64", "ip -6 route add fd00:100::/64 dev wg0"},
			{"a default route", "ip route del default table 51820", "ip route add 0.0.0.0/0 dev wg0 table 51820"},
			{"an address", "ip addr del 10.8.0.1/24 dev wg0", "ip address replace 10.8.0.1/24 dev wg0"},
			{"the first address", "ip addr del 10.7.0.1/24 dev wg0", "ip address replace 10.7.0.1/24 dev wg0"},
			{"an address, v6", "ip addr del fd00:7::1/64 dev wg0", "ip address replace fd00:7::1/64 dev wg0"},
			{"a rule", "ip rule del not fwmark 51820 table 51820", "not fwmark 51820 table 51820"},
			{"a rule, v6", "ip -6 rule del table main suppress_prefixlength 0", "suppress_prefixlength 0"},
			{"both rules", "ip rule del not fwmark 51820 table 51820; ip rule del table main suppress_prefixlength 0", "suppress_prefixlength 0"},
			{"the MTU", "ip link set mtu 1300 dev wg0", "ip link set mtu 1420 dev wg0"},
		} {
			m.repairs(t, f, d, "--resync=0")
		}
	})
	t.Run("by looking", func(t *testing.T) {
		for _, d := range []drifted{
			{"a peer", "wg set wg0 peer " + key + " remove", "wg set wg0 peer " + key + " allowed-ips 10.7.0.2/32"},
			{"AllowedIPs gone", "wg set wg0 peer " + key + " allowed-ips 10.7.0.2/32", "allowed-ips +"},
			{"AllowedIPs more", "wg set wg0 peer " + key + " allowed-ips 10.7.0.2/32,192.168.100.0/24,fd00:100::/64,10.9.9.0/24", "allowed-ips -10.9.9.0/24"},
			{"a stranger", "wg set wg0 peer " + newKey(t).Public().String() + " allowed-ips 10.9.9.0/24", "remove"},
			{"a keepalive", "wg set wg0 peer " + key + " persistent-keepalive 5", "persistent-keepalive off"},
			{"the port", "wg set wg0 listen-port 51821", "listen-port 51820"},
			{"the mark", "wg set wg0 fwmark 7", "fwmark 51820"},
			{"a table of nftables", "nft delete table ip wg-quick-wg0", "nft 'add table ip wg-quick-wg0"},
		} {
			m.repairs(t, f, d, "--resync=300ms")
		}
	})
	// With its link, a route of somebody else goes too, and is not ours to bring back.
	m.othersOnOurs(t, "del")
	t.Run("the link", func(t *testing.T) {
		for _, d := range []drifted{
			{"deleted", "ip link del wg0", "ip link add wg0 type wireguard"},
			{"set down", "ip link set wg0 down", "ip link set up dev wg0"},
			{"down and up", "ip link set wg0 down; ip link set wg0 up", "ip route add 192.168.100.0/24 dev wg0"},
		} {
			m.repairs(t, f, d, "--resync=0")
		}
	})
}

// repairs lets something drift and waits until all is as before, and the log says what was repaired.
func (m *machine) repairs(t *testing.T, f *file, d drifted, resync string) {
	t.Run(d.what, func(t *testing.T) {
		before := m.net(t)
		daemon := m.daemon(t, resync) // a new one: it knows of no quarrel
		f.note++
		m.put(t, "wg0", f.String()) // it is at work
		start := time.Now()
		m.Run(t, "sh", "-ec", d.command)
		var now string
		for now = m.net(t); now != before && time.Since(start) < hang; now = m.net(t) {
			time.Sleep(5 * time.Millisecond)
		}
		t.Logf("as before after %s", time.Since(start).Round(time.Millisecond))
		if diff := cmp.Diff(before, now); diff != "" {
			t.Errorf("not repaired (-before +now):\n%s", diff)
		}
		wait(t, "the log tells "+d.repair, func() bool { return tells(daemon, "level=WARN", "msg=drift", "op=", d.repair) })
		end(t, daemon, syscall.SIGTERM)
	})
}

// tells reports whether the daemon has logged a line with all the words in it.
func tells(daemon *lab.Process, words ...string) bool {
	return slices.ContainsFunc(strings.Split(daemon.Log(), "\n"), func(line string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
	})
}
