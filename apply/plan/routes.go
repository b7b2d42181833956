package plan

import (
	"cmp"
	"net/netip"
	"slices"
)

// routeKey is what makes two routes through our device the same: how they were added does not matter.
type routeKey struct {
	table uint32
	dst   netip.Prefix
}

func (r Route) key() routeKey { return routeKey{r.Table, r.Dst} }

func (r Route) isDefault() bool { return r.Dst.Bits() == 0 }

// hasRoute reports whether a route is there, whoever added it, but for those of the kernel: they go with an address.
func hasRoute(routes []Route, want Route) bool {
	return slices.ContainsFunc(routes, func(r Route) bool { return r.key() == want.key() && r.Protocol != protocolKernel })
}

type routeSteps struct{ gain, last, lose, again []Step }

// routes compares by table and destination. With flush the kernel is about to remove every IPv4 route.
func (d *differ) routes(flush bool) (s routeSteps) {
	const (
		kernels = 1 << iota // goes with its address
		others              // leads the same way as ours would
		kept                // ours, and wanted
		wanted
	)
	is := make(map[routeKey]uint8, len(d.want.Routes))
	for _, r := range d.want.Routes {
		is[r.key()] = wanted
	}
	for _, r := range d.live.Routes {
		k := r.key()
		switch {
		case r.Protocol == protocolKernel:
			is[k] |= kernels
		case !d.ourRoute(r):
			is[k] |= others
		case is[k]&wanted != 0 && is[k]&kept == 0:
			is[k] |= kept
		default:
			s.lose = append(s.lose, DelRoute{d.iface, r})
		}
	}
	for _, r := range d.want.Routes {
		k, v4 := is[r.key()], r.Dst.Addr().Is4()
		switch {
		case flush && v4:
			s.again = append(s.again, AddRoute{Iface: d.iface, Route: r})
		case k&(kept|others) == 0:
			to := &s.gain
			if r.isDefault() {
				to = &s.last
			}
			*to = append(*to, AddRoute{d.iface, r, v4 && k&kernels != 0})
		}
	}
	return s
}

// ourRoutes are the live routes that a plan may remove.
func (d *differ) ourRoutes() []Route {
	return slices.DeleteFunc(slices.Clone(d.live.Routes), func(r Route) bool { return !d.ourRoute(r) })
}

func (d *differ) ourRoute(r Route) bool { return ours(r.Protocol, d.quicks[r.Dst]) }

// quicks are the destinations for which a route of protocol boot is wg-quick's: the AllowedIPs, on a link that it may
// have made, unless Table=off. Whatever else has this protocol was added by a person, or by a hook.
func quicks(want Desired, live Live) map[netip.Prefix]bool {
	if !live.Exists || live.Ours || want.Table == "off" {
		return nil
	}
	all := make(map[netip.Prefix]bool, len(live.Routes))
	for _, peers := range [][]Peer{want.Peers, live.Peers} {
		for _, p := range peers {
			for _, a := range p.AllowedIPs {
				all[a] = true
			}
		}
	}
	return all
}

// compareRoutes is the order of Live.Routes after a simulation.
func compareRoutes(a, b Route) int {
	if n := cmp.Or(cmp.Compare(a.Table, b.Table), a.Dst.Compare(b.Dst)); n != 0 {
		return n
	}
	return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Metric, b.Metric))
}

// longestFirst is the order in which routes are added: a short prefix never covers for a longer one.
func longestFirst(a, b netip.Prefix) int {
	if n := cmp.Compare(b.Bits(), a.Bits()); n != 0 {
		return n
	}
	return a.Compare(b)
}

// metric is the one that the kernel gives to a route of ours.
func metric(dst netip.Prefix) int {
	if dst.Addr().Is6() {
		return metricV6
	}
	return 0
}

// unmap makes ::ffff:a.b.c.d an IPv4 prefix, which is what becomes of it on the way to the device.
func unmap(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a.WithZone(""), a.BitLen()) }

// connected is the route that the kernel adds for an address. An IPv4 host address has none, nor has a subnet that
// begins at 0.0.0.0.
func connected(a netip.Prefix) (netip.Prefix, bool) {
	subnet := a.Masked()
	if a.Addr().Is4() && (a.Bits() == 32 || subnet.Addr().IsUnspecified()) {
		return netip.Prefix{}, false
	}
	return subnet, true
}

// connectedRoutes are the routes that the kernel adds in main for the addresses.
func connectedRoutes(addresses []netip.Prefix) routeTable {
	var t routeTable
	for _, a := range addresses {
		if p, ok := connected(a); ok {
			m := 0
			if p.Addr().Is6() {
				m = 256
			}
			t.add(p, m)
		}
	}
	return t
}

// routeTable finds the longest prefix that covers another. The zero value is empty.
type routeTable struct {
	metric map[netip.Prefix]int // the best, which is the lowest
	bits   [129]bool            // the lengths in use
}

func (t *routeTable) add(p netip.Prefix, metric int) {
	if t.metric == nil {
		t.metric = make(map[netip.Prefix]int)
	}
	if m, ok := t.metric[p]; !ok || metric < m {
		t.metric[p] = metric
	}
	t.bits[p.Bits()] = true
}

func (t *routeTable) has(p netip.Prefix) bool {
	_, ok := t.metric[p]
	return ok
}

// longest returns the longest prefix that is p or covers it.
func (t *routeTable) longest(p netip.Prefix) (netip.Prefix, bool) {
	for bits := p.Bits(); bits >= 0; bits-- {
		if !t.bits[bits] {
			continue
		}
		if q := netip.PrefixFrom(p.Addr(), bits).Masked(); t.has(q) {
			return q, true
		}
	}
	return netip.Prefix{}, false
}

// wider returns the longest prefix that covers p and is not p.
func (t *routeTable) wider(p netip.Prefix) (netip.Prefix, bool) {
	if p.Bits() == 0 {
		return netip.Prefix{}, false
	}
	return t.longest(netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked())
}
