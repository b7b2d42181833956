package plan

import (
	"net/netip"
	"slices"
)

// keeps reports whether an address of the device stays.
func (d differ) keeps(a netip.Prefix) bool {
	return d.live.Userspace && a.Addr().Is6() && a.Addr().IsLinkLocalUnicast() || slices.Contains(d.want.Addresses, a)
}

type addressSteps struct {
	gain, exchange, lose []Step
	flush                bool // the last IPv4 address goes, and with it every IPv4 route
}

func (d differ) addresses() (s addressSteps) {
	had4, has4 := false, false
	subnets := make(map[netip.Prefix]*subnet)
	var order []*subnet // of the live IPv4 addresses: in each the first is the primary one
	for _, a := range d.live.Addresses {
		if !a.Addr().Is4() {
			continue
		}
		had4 = true
		n := subnets[a.Masked()]
		if n == nil {
			n = &subnet{prefix: a.Masked(), primaryGoes: !d.keeps(a)}
			subnets[a.Masked()] = n
			order = append(order, n)
		}
		if !d.keeps(a) {
			n.lose = append(n.lose, a)
		}
	}
	for _, a := range d.want.Addresses {
		n := subnets[a.Masked()]
		has4 = has4 || a.Addr().Is4()
		switch {
		case n != nil && n.primaryGoes:
			n.stay = append(n.stay, a)
		case slices.Contains(d.live.Addresses, a):
		case a.Addr().Is6():
			if old, ok := d.otherLength(a); ok {
				s.exchange = append(s.exchange, DelAddress{d.iface, old})
				s.exchange = append(s.exchange, AddAddress{d.iface, a})
			} else {
				s.gain = append(s.gain, AddAddress{d.iface, a})
			}
		default:
			s.gain = append(s.gain, AddAddress{d.iface, a})
		}
	}
	for _, n := range order {
		if n.primaryGoes && len(n.stay) > 0 {
			s.exchange = append(s.exchange, d.exchange(n)...)
			continue
		}
		for _, a := range slices.Backward(n.lose) { // the primary one last
			s.lose = append(s.lose, DelAddress{d.iface, a})
		}
	}
	for _, a := range d.live.Addresses {
		exchanged := slices.ContainsFunc(d.want.Addresses, func(w netip.Prefix) bool { return w.Addr() == a.Addr() })
		if a.Addr().Is6() && !d.keeps(a) && !exchanged {
			s.lose = append(s.lose, DelAddress{d.iface, a})
		}
	}
	s.flush = had4 && !has4
	return s
}

// otherLength finds the address in live with another prefix length.
func (d differ) otherLength(a netip.Prefix) (netip.Prefix, bool) {
	i := slices.IndexFunc(d.live.Addresses, func(l netip.Prefix) bool { return l.Addr() == a.Addr() })
	if i < 0 {
		return netip.Prefix{}, false
	}
	return d.live.Addresses[i], true
}

// subnet is one of IPv4 in which we have live addresses.
type subnet struct {
	prefix      netip.Prefix
	primaryGoes bool
	lose        []netip.Prefix // live, not wanted, the primary one first
	stay        []netip.Prefix // wanted; only filled if the primary one goes
}

// exchange takes the primary address out of a subnet in which others stay. The kernel removes these as well,
// and the subnet's route; with a sysctl it does not. Meanwhile each has a host address that holds its place,
// and a route of ours stands in for the kernel's.
func (d differ) exchange(n *subnet) (s []Step) {
	var hold []netip.Prefix
	for _, a := range n.stay {
		if h := hostPrefix(a.Addr()); !slices.Contains(d.live.Addresses, h) && !slices.Contains(d.want.Addresses, h) {
			hold = append(hold, h)
			s = append(s, AddAddress{d.iface, h})
		}
	}
	route := Route{Table: tableMain, Dst: n.prefix}
	holdRoute := n.prefix.Bits() > 0 && !hasRoute(d.live.Routes, route) && !hasRoute(d.want.Routes, route)
	if holdRoute {
		s = append(s, AddRoute{d.iface, route, true})
	}
	for _, a := range slices.Backward(n.lose) {
		s = append(s, DelAddress{d.iface, a})
	}
	for _, a := range n.stay {
		s = append(s, AddAddress{d.iface, a})
	}
	if holdRoute {
		route.Protocol = Protocol
		s = append(s, DelRoute{d.iface, route})
	}
	for _, h := range hold {
		s = append(s, DelAddress{d.iface, h})
	}
	return s
}
