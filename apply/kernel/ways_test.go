package kernel

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// Two roads to one answer: ours, and that of the netlink package, which is ten times as long.
func TestWays(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		for line := range strings.Lines(`
			link add name eth0 mtu 1400 type veth peer name eth1
			link set eth1 up
			link set eth0 up
			address add 192.0.2.1/24 dev eth0
			address add 2001:db8::1/64 dev eth0 nodad
			route add 198.51.100.0/24 dev eth0 mtu 1300
			route add 203.0.113.0/24 dev eth0 table 77
			rule add fwmark 51820 lookup 77
			route add unreachable 198.51.100.128/25`) {
			if args := strings.Fields(line); len(args) > 0 {
				if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
					t.Fatalf("ip %s: %v: %s", strings.TrimSpace(line), err, out)
				}
			}
		}
		t.Cleanup(func() { _ = exec.Command("ip", "rule", "del", "fwmark", "51820").Run() })
		for _, c := range []struct {
			name, to string
			mark     uint32
			mtu      int // of the path
			none     bool
		}{
			{"a neighbour", "192.0.2.7", 0, 0, false},
			{"IPv6", "2001:db8::7", 0, 0, false},
			{"ourselves", "192.0.2.1", 0, 0, false},
			{"a route with an MTU of its own", "198.51.100.7", 0, 1300, false},
			{"unreachable", "198.51.100.200", 0, 0, true},
			{"no route", "203.0.113.7", 0, 0, true},
			{"a route for those with the mark", "203.0.113.7", 51820, 0, false},
			{"no route, IPv6", "2001:db8:1::7", 0, 0, true},
		} {
			a := netip.MustParseAddr(c.to)
			got, err := s.ways.to(a, c.mark)
			if (err != nil) != c.none || got.mtu != c.mtu {
				t.Errorf("%s: %+v, %v; want an MTU of %d", c.name, got, err, c.mtu)
			}
			rs, other := s.handle.RouteGetWithOptions(a.AsSlice(), &netlink.RouteGetOptions{Mark: c.mark})
			if (other != nil) != (err != nil) {
				t.Errorf("%s: %v, and the netlink package says %v", c.name, err, other)
			} else if err == nil && (way{rs[0].LinkIndex, rs[0].MTU}) != got {
				t.Errorf("%s: %+v, and the netlink package says %+v", c.name, got, rs[0])
			}
		}
	})
}
