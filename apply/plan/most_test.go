package plan

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wg-kube/templates/wgquick"
)

func TestWantMost(t *testing.T) {
	const head = "[Interface]\nAddress = 10.0.0.1/24\n"
	a := func(rest string) string {
		return "\n# origin: Node/a\n[Peer]\nPublicKey = aAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n" + rest
	}
	b := func(rest string) string {
		return "\n# origin: Node/b\n[Peer]\nPublicKey = bAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n" + rest
	}
	for _, tt := range []struct {
		name, file, underlay string
		left                 string
		refused              []string
	}{
		{"nothing is wrong", head + a("AllowedIPs = 10.1.0.0/16\n"), "", head + a("AllowedIPs = 10.1.0.0/16\n"), nil},
		{"the only prefix, and its peer", head + a("AllowedIPs = 10.1.0.0/16\n") + b("AllowedIPs = 10.2.0.0/16\n"),
			"route 10.1.0.0/16 docker0 0", head + b("AllowedIPs = 10.2.0.0/16\n"),
			[]string{`wg0.conf:5: [Peer] a: AllowedIPs: "10.1.0.0/16": table main has this route already, on docker0`}},
		{"one of two prefixes", head + a("AllowedIPs = 10.1.0.0/16, fd00::/64\n"),
			"noipv6", head + a("AllowedIPs = 10.1.0.0/16\n"),
			[]string{`wg0.conf:5: [Peer] a: AllowedIPs: "fd00::/64": IPv6 is off on this machine (net.ipv6.conf.default.disable_ipv6)`}},
		{"from all who list it", head + a("AllowedIPs = 10.1.0.0/16, 10.3.0.0/16\n") + b("AllowedIPs = 10.1.0.0/16, 10.4.0.0/16\n"),
			"route 10.1.0.0/16 docker0 0", head + a("AllowedIPs = 10.3.0.0/16\n") + b("AllowedIPs = 10.4.0.0/16\n"),
			[]string{`wg0.conf:10: [Peer] b: AllowedIPs: "10.1.0.0/16": table main has this route already, on docker0`}},
		{"a peer that never had a prefix stays", head + a(""), "noipv6", head + a(""), nil},
		{"the wider one behind the narrower", head + a("AllowedIPs = 192.0.2.0/24, 192.0.0.0/16, 10.1.0.0/16\n") + b("Endpoint = 192.0.2.1:1\n"),
			"", head + a("AllowedIPs = 10.1.0.0/16\n") + b("Endpoint = 192.0.2.1:1\n"),
			[]string{
				`wg0.conf:5: [Peer] a: AllowedIPs: "192.0.2.0/24": holds the endpoint 192.0.2.1:1 of b, and no narrower route leads there outside of wg0`,
				`wg0.conf:5: [Peer] a: AllowedIPs: "192.0.0.0/16": holds the endpoint 192.0.2.1:1 of b, and no narrower route leads there outside of wg0`,
			}},
		{"an endpoint in our own subnet", head + a("AllowedIPs = 10.1.0.0/16\nEndpoint = 10.0.0.9:1\n"), "", head + a("AllowedIPs = 10.1.0.0/16\n"),
			[]string{`wg0.conf:1: [Interface]: Address: the subnet 10.0.0.0/24 holds the endpoint 10.0.0.9:1 of a, and no narrower route leads there outside of wg0`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, u := parse(t, tt.file), readUnderlay(t, tt.underlay)
			most, err := WantMost(c, "wg0", u, Kept{})
			if err != nil {
				t.Fatal(err)
			}
			if !parse(t, tt.file).SameMeaning(c) {
				t.Error("the file was changed")
			}
			if !most.Config.SameMeaning(parse(t, tt.left)) {
				b, _ := most.Config.Marshal()
				t.Errorf("left is\n%s\nwant\n%s", b, tt.left)
			}
			var refused []string
			for _, f := range most.Refused {
				refused = append(refused, f.Error())
			}
			if d := cmp.Diff(tt.refused, refused); d != "" {
				t.Errorf("refused (-want +got):\n%s", d)
			}
			want, err := Want(most.Config, "wg0", u)
			if err != nil {
				t.Fatal(err)
			}
			if d := Diff(want, Live{}.After(Diff(most.Want, Live{}))); !d.Empty() {
				t.Errorf("what is left means something else:\n%s", d)
			}
		})
	}
}

// What is kept is not left out for an endpoint, but for a route of somebody else it is.
func TestWantMostKeeps(t *testing.T) {
	const head = "[Interface]\nAddress = 10.0.0.1/24\n[Peer]\nPublicKey = aAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	a := parse(t, head).Peers[0].PublicKey
	keep := Kept{
		Prefixes: map[netip.Prefix]bool{netip.MustParsePrefix("10.1.0.0/16"): true, netip.MustParsePrefix("10.3.0.0/16"): true},
		Peers:    map[wgquick.PublicKey]bool{a: true},
	}
	c := parse(t, head+"AllowedIPs = 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16\nEndpoint = 10.1.0.9:1\n"+
		"[Peer]\nPublicKey = bAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nEndpoint = 10.2.0.9:1\n")
	most, err := WantMost(c, "wg0", readUnderlay(t, "route 10.3.0.0/16 docker0 0"), keep)
	if err != nil {
		t.Fatal(err)
	}
	left := parse(t, head+"AllowedIPs = 10.1.0.0/16\n[Peer]\nPublicKey = bAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nEndpoint = 10.2.0.9:1\n")
	if !most.Config.SameMeaning(left) {
		b, _ := most.Config.Marshal()
		t.Errorf("left is\n%s", b)
	}
	if most, err = WantMost(c, "wg0", readUnderlay(t, "route 10.1.0.0/16 docker0 0\nroute 10.2.0.0/16 docker0 0\nroute 10.3.0.0/16 docker0 0"), keep); err != nil || len(most.Config.Peers) != 2 {
		t.Errorf("%d peers: one that was there goes with its prefixes, %v", len(most.Config.Peers), err)
	}
}

func TestWantMostKeepsTheInterfaceWhole(t *testing.T) {
	c := parse(t, "[Interface]\nAddress = fd00::1/64\n[Peer]\nPublicKey = aAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nAllowedIPs = fd00:1::/64\n")
	_, err := WantMost(c, "wg0", Underlay{NoIPv6: true}, Kept{})
	if faults, ok := err.(wgquick.Faults); !ok || len(faults) != 2 {
		t.Errorf("%v", err)
	}
}

// Nested prefixes around the endpoints of many: the rounds are as many as an address has bits, not as there are peers.
func TestWantMostEnds(t *testing.T) {
	c := &wgquick.Config{}
	for n := range 2000 {
		p := wgquick.Peer{PublicKey: wgquick.PublicKey{byte(n), byte(n >> 8), 1}, Endpoint: wgquick.Endpoint{Host: "192.0.2.1", Port: 1}}
		for bits := 8; bits <= 32; bits++ {
			p.AllowedIPs = append(p.AllowedIPs, netip.PrefixFrom(netip.MustParseAddr("192.0.2.1"), bits).Masked())
		}
		c.Peers = append(c.Peers, p)
	}
	most, err := WantMost(c, "wg0", Underlay{}, Kept{})
	if err != nil || len(most.Config.Peers) != 0 || len(most.Refused) != 25 {
		t.Errorf("%d peers left, %d refused, %v", len(most.Config.Peers), len(most.Refused), err)
	}
}

// Of what is nested around an endpoint the widest stays, if the peer with the endpoint goes with a narrower one. Where
// that is nested deeper than mostRounds it goes as well: it is not worth as many rounds.
func TestWantMostInFewRounds(t *testing.T) {
	for narrower, left := range map[int]int{0: 1, mostRounds - 1: 1, mostRounds: 0, 20: 0} {
		at := netip.MustParseAddr("192.0.2.1")
		liar := wgquick.Peer{PublicKey: wgquick.PublicKey{1}, Endpoint: wgquick.Endpoint{Host: at.String(), Port: 1}}
		around := func(bits int) []netip.Prefix { return []netip.Prefix{netip.PrefixFrom(at, bits).Masked()} }
		liar.AllowedIPs = around(31 - narrower)
		c := &wgquick.Config{Peers: []wgquick.Peer{liar, {PublicKey: wgquick.PublicKey{2}, AllowedIPs: around(8)}}}
		for n := range narrower {
			c.Peers = append(c.Peers, wgquick.Peer{PublicKey: wgquick.PublicKey{3, byte(n)}, AllowedIPs: around(31 - n)})
		}
		most, err := WantMost(c, "wg0", Underlay{}, Kept{})
		if err != nil || len(most.Config.Peers) != left {
			t.Errorf("%d narrower: %d peers left, want %d: %v", narrower, len(most.Config.Peers), left, err)
		}
	}
}
