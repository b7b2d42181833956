package kernel

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
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

// Anybody may say by ICMP that a way has a small MTU, also a peer of the way to itself: it would be the MTU of all.
func TestNobodyShrinksAWay(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		for line := range strings.Lines(`
			link add name eth0 type veth peer name eth1
			link set eth1 up
			link set eth0 up
			address add 192.0.2.1/24 dev eth0
			address add 2001:db8::1/64 dev eth0 nodad
			route add 198.51.100.0/24 via 192.0.2.254 mtu 1400
			route add 2001:db8:1::/64 via 2001:db8::254 mtu 1400`) {
			if args := strings.Fields(line); len(args) > 0 {
				run(t, append([]string{"ip"}, args...)...)
			}
		}
		c, err := net.ListenUDP("udp", &net.UDPAddr{Port: 51820})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, way := range []struct {
			from, to string
			mtu      int
		}{
			{"192.0.2.1", "192.0.2.7", 0},
			{"192.0.2.1", "198.51.100.7", 1400},
			{"2001:db8::1", "2001:db8::7", 0},
			{"2001:db8::1", "2001:db8:1::7", 1400},
		} {
			from, to := netip.MustParseAddr(way.from), netip.MustParseAddr(way.to)
			tooBig(t, from, to)
			if out := run(t, "ip", "route", "get", way.to); !strings.Contains(out, " mtu 1280") {
				t.Fatalf("%s: nothing was learned: %s", to, out)
			}
			got, err := s.ways.to(to, 0)
			if err != nil || got.mtu != way.mtu || got.link == 0 {
				t.Errorf("%s: %+v, %v; want an MTU of %d", to, got, err, way.mtu)
			}
		}
	})
}

// tooBig sends us the message that a packet of our port 51820 was larger than the 1280 bytes that fit on the way.
func tooBig(t *testing.T, from, to netip.Addr) {
	t.Helper()
	udp := []byte{51820 >> 8, 51820 & 0xff, 51820 >> 8, 51820 & 0xff, 5, 0, 0, 0}
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	var msg []byte
	var at unix.Sockaddr
	if from.Is4() {
		msg = []byte{3, 4, 0, 0, 0, 0, 1280 >> 8, 1280 & 0xff, 0x45, 0, 5, 20, 0, 1, 0x40, 0, 64, unix.IPPROTO_UDP, 0, 0}
		at = &unix.SockaddrInet4{Addr: from.As4()}
	} else {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
		msg = []byte{2, 0, 0, 0, 0, 0, 1280 >> 8, 1280 & 0xff, 0x60, 0, 0, 0, 5, 0, unix.IPPROTO_UDP, 64}
		at = &unix.SockaddrInet6{Addr: from.As16()}
	}
	msg = append(append(append(msg, from.AsSlice()...), to.AsSlice()...), udp...)
	var sum uint32
	for i := 0; i < len(msg); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(msg[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(msg[2:], ^uint16(sum+sum>>16)) // the kernel does it for IPv6
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, msg, 0, at); err != nil {
		t.Fatal(err)
	}
}
