// Package hints says what is wrong around an interface where people lose hours: nothing is refused, the device is as
// its file says, and still no packet arrives.
//
// It is pure: Of decides over what was observed. It says only what is certain from that, and nothing that changes by
// itself, so that a hint is logged once. It changes nothing: a sysctl or somebody's firewall is not ours.
package hints

import (
	"fmt"
	"net/netip"
	"time"

	"wg-kube/apply/plan"
	"wg-kube/templates/wgquick"
)

// Seen is what was observed around one interface. The zero value gives no hint but those of the clock, as Now is
// then long ago.
type Seen struct {
	Forwarding4 bool // what comes in on the interface may be sent on
	Forwarding6 bool
	RPFilter    int       // of the interface, as the kernel combines it: 0 off, 1 strict, 2 loose
	Drops       []Chain   // of the firewall, by family, table and name
	Module      bool      // the kernel has WireGuard
	Live        plan.Live // the interface itself, with the time
}

// Chain is a chain of nftables through which forwarded packets go, that drops what none of its rules accepts, and in
// which no rule looks at our interface.
type Chain struct {
	Family string // "ip", "ip6", "inet"
	Table  string
	Name   string
}

// Ask is what has to be observed for a file beside the device itself.
type Ask struct{ Forwarding, RPFilter bool }

// For is what Of will want to know of a file.
func For(c *wgquick.Config) Ask {
	v4, v6 := hub(c)
	return Ask{Forwarding: v4 || v6, RPFilter: answersElsewhere(c)}
}

// Of returns the hints for an interface and its file, a sentence each, in an order that does not change.
func Of(iface string, c *wgquick.Config, s Seen) (out []string) {
	say := func(format string, a ...any) { out = append(out, iface+": "+fmt.Sprintf(format, a...)) }
	v4, v6 := hub(c)
	if v4 && !s.Forwarding4 {
		say("forwarding is off for IPv4, so its peers do not reach each other through this host; sysctl -w net.ipv4.ip_forward=1 turns it on")
	}
	if v6 && !s.Forwarding6 {
		say("forwarding is off for IPv6, so its peers do not reach each other through this host; sysctl -w net.ipv6.conf.all.forwarding=1 turns it on")
	}
	for _, d := range s.Drops {
		concerns := map[string]bool{"ip": v4, "ip6": v6, "inet": v4 || v6}
		if !concerns[d.Family] {
			continue
		}
		say("the firewall (nft list chain %s %s %s) drops forwarded packets that no rule accepts, and none in its table looks for %s: its peers may not reach each other through this host",
			d.Family, d.Table, d.Name, iface)
	}
	if s.RPFilter == strict && answersElsewhere(c) {
		say("rp_filter is strict, and with Table=%s nothing of ours in the main table leads back to what comes out of the tunnel: it is dropped where no rule or route of somebody else does; sysctl -w net/ipv4/conf/%s/rp_filter=2 lets it in",
			c.Interface.Table, iface)
	}
	if now := s.Live.Now; now.Before(written) {
		say("the clock says %d, which is long past: a peer to which this key has sent a later time refuses the handshakes that we begin, until the clock is right", now.Year())
	} else if setBack(s.Live) {
		say("the clock was set back: there are handshakes in the future, and until then those peers may refuse the ones that we begin")
	}
	switch {
	case !s.Live.Userspace:
	case s.Module:
		say("a wg-device serves it, though this kernel has WireGuard; it moves, and its sessions end, with: wg-apply down %s && wg-apply once %s", iface, iface)
	default:
		say("this kernel has no WireGuard, so a wg-device serves it, which takes several times the work; \"modprobe wireguard\" says what is missing (Linux has it from 5.6 on)")
	}
	return out
}

const strict = 1 // of rp_filter

// written is a time at which this program did not exist yet: a clock before it is wrong.
var written = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// hub reports for each family whether the peers will want to reach each other through this host: there are at least
// two that have prefixes in it and that no endpoint leads to, so that they call here.
func hub(c *wgquick.Config) (v4, v6 bool) {
	n4, n6 := 0, 0
	for _, p := range c.Peers {
		if !p.Endpoint.IsZero() {
			continue
		}
		has4, has6 := false, false
		for _, a := range p.AllowedIPs {
			has4 = has4 || a.Addr().Is4()
			has6 = has6 || a.Addr().Is6()
		}
		if has4 {
			n4++
		}
		if has6 {
			n6++
		}
	}
	return n4 > 1, n6 > 1
}

// answersElsewhere reports whether a peer may send from any IPv4 address, and the routes back to all of these are not
// made by us. With wg-quick's own rules for a default route they are, whatever rp_filter is.
func answersElsewhere(c *wgquick.Config) bool {
	if c.Interface.Table == "" || c.Interface.Table == "auto" {
		return false
	}
	any4 := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	for _, p := range c.Peers {
		for _, a := range p.AllowedIPs {
			if a == any4 {
				return true
			}
		}
	}
	return false
}

// setBack reports whether there is a handshake that lies in the future by more than a clock is corrected for.
func setBack(l plan.Live) bool {
	for _, p := range l.Peers {
		if p.LastHandshake.Sub(l.Now) > time.Minute {
			return true
		}
	}
	return false
}
