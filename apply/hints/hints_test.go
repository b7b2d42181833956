package hints

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"wg-kube/apply/plan"
	"wg-kube/templates/wgquick"
)

// now is a time at which nothing is wrong.
var now = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

// well is a machine with nothing wrong around an interface.
func well() Seen {
	return Seen{Forwarding4: true, Forwarding6: true, Live: plan.Live{Exists: true, Now: now}}
}

// peers have a prefix or more each; one with a @ in front has an endpoint.
func file(table string, peers ...string) *wgquick.Config {
	c := &wgquick.Config{Interface: wgquick.Interface{Table: table}}
	for _, p := range peers {
		var peer wgquick.Peer
		allowed, endpoint := strings.CutPrefix(p, "@")
		if endpoint {
			peer.Endpoint = wgquick.Endpoint{Host: "192.0.2.1", Port: 51820}
		}
		for _, a := range strings.Fields(allowed) {
			peer.AllowedIPs = append(peer.AllowedIPs, netip.MustParsePrefix(a))
		}
		c.Peers = append(c.Peers, peer)
	}
	return c
}

func TestOf(t *testing.T) {
	hub := []string{"10.0.0.2/32 fd00::2/128", "10.0.0.3/32 fd00::3/128"}
	spoke := []string{"@10.0.0.0/24", "@10.0.1.0/24"}
	handshake := func(ago time.Duration) func(s *Seen) {
		return func(s *Seen) { s.Live.Peers = []plan.Peer{{LastHandshake: now.Add(-ago)}} }
	}
	off := func(s *Seen) { s.Forwarding4, s.Forwarding6 = false, false }
	drops := func(families ...string) func(s *Seen) {
		return func(s *Seen) {
			for _, f := range families {
				s.Drops = append(s.Drops, Chain{f, "filter", "FORWARD"})
			}
		}
	}
	strictly := func(s *Seen) { s.RPFilter = 1 }
	for name, c := range map[string]struct {
		table string
		peers []string
		wrong func(s *Seen)
		want  []string // how each hint begins, after the interface
	}{
		"nothing wrong on a hub":            {"", hub, func(*Seen) {}, nil},
		"a hub without forwarding":          {"", hub, off, []string{"forwarding is off for IPv4", "forwarding is off for IPv6"}},
		"a hub of one family":               {"", []string{"10.0.0.2/32", "10.0.0.3/32", "fd00::3/128"}, off, []string{"forwarding is off for IPv4"}},
		"a spoke forwards nothing":          {"", spoke, off, nil},
		"one peer that calls":               {"", []string{"10.0.0.2/32", "@10.0.1.0/24"}, off, nil},
		"peers without prefixes":            {"", []string{"", ""}, off, nil},
		"a firewall on a hub":               {"", hub, drops("inet"), []string{"the firewall (nft list chain inet filter FORWARD)"}},
		"a firewall of both families":       {"", hub, drops("ip", "ip6"), []string{"the firewall (nft list chain ip filter", "the firewall (nft list chain ip6 filter"}},
		"a firewall of the other family":    {"", []string{"10.0.0.2/32", "10.0.0.3/32"}, drops("ip6"), nil},
		"a firewall on a spoke":             {"", spoke, drops("inet"), nil},
		"strict, with a table of its own":   {"100", []string{"@0.0.0.0/0"}, strictly, []string{"rp_filter is strict, and with Table=100"}},
		"strict, without routes":            {"off", []string{"@0.0.0.0/0"}, strictly, []string{"rp_filter is strict, and with Table=off"}},
		"strict, with wg-quick's own rules": {"", []string{"@0.0.0.0/0"}, strictly, nil},
		"strict, and auto is the same":      {"auto", []string{"@0.0.0.0/0"}, strictly, nil},
		"strict, without a default route":   {"100", []string{"@10.0.0.0/8"}, strictly, nil},
		"strict is about IPv4":              {"100", []string{"@::/0"}, strictly, nil},
		"loose":                             {"100", []string{"@0.0.0.0/0"}, func(s *Seen) { s.RPFilter = 2 }, nil},
		"a clock that was never set":        {"", spoke, func(s *Seen) { s.Live.Now = time.Unix(90, 0).UTC() }, []string{"the clock says 1970"}},
		"a clock that was set back":         {"", spoke, handshake(-time.Hour), []string{"the clock was set back"}},
		"a clock that was corrected":        {"", spoke, handshake(-time.Second), nil},
		"a handshake long ago":              {"", spoke, handshake(1e6 * time.Hour), nil},
		"no WireGuard in the kernel":        {"", spoke, func(s *Seen) { s.Live.Userspace = true }, []string{"this kernel has no WireGuard"}},
		"WireGuard in the kernel, unused":   {"", spoke, func(s *Seen) { s.Live.Userspace, s.Module = true, true }, []string{"a wg-device serves it, though"}},
		"WireGuard in the kernel":           {"", spoke, func(s *Seen) { s.Module = true }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := well()
			c.wrong(&s)
			got := Of("wg0", file(c.table, c.peers...), s)
			if len(got) != len(c.want) {
				t.Fatalf("%q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], "wg0: "+c.want[i]) {
					t.Errorf("%q, want %q", got[i], c.want[i])
				}
			}
		})
	}
}

// What is said is said once, so it must not change while nothing else does.
func TestOfDoesNotChangeByItself(t *testing.T) {
	s := Seen{RPFilter: 1, Live: plan.Live{Now: time.Unix(90, 0), Userspace: true}}
	c := file("off", "10.0.0.2/32", "0.0.0.0/0")
	before := Of("wg0", c, s)
	s.Live.Now = s.Live.Now.Add(time.Hour)
	if after := Of("wg0", c, s); strings.Join(after, "\n") != strings.Join(before, "\n") || len(after) != 4 {
		t.Errorf("%q\nan hour before: %q", after, before)
	}
}

func TestFor(t *testing.T) {
	for name, c := range map[string]struct {
		file *wgquick.Config
		want Ask
	}{
		"a spoke":             {file("", "@10.0.0.0/24"), Ask{}},
		"a full tunnel":       {file("", "@0.0.0.0/0 ::/0"), Ask{}},
		"a hub":               {file("", "10.0.0.2/32", "10.0.0.3/32"), Ask{Forwarding: true}},
		"a table of its own":  {file("7", "@0.0.0.0/0"), Ask{RPFilter: true}},
		"a table, and a part": {file("7", "@10.0.0.0/8"), Ask{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := For(c.file); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}
