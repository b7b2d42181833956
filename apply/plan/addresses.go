package plan

import (
	"net/netip"
	"slices"
)

// keeps reports whether an address of the device stays.
func (d *differ) keeps(a netip.Prefix) bool {
	return d.live.Userspace && a.Addr().Is6() && a.Addr().IsLinkLocalUnicast() || slices.Contains(d.want.Addresses, a)
}

type addressSteps struct {
	gain, exchange, lose []Step
	flush                bool // the last IPv4 address goes, and with it every IPv4 route
}

func (d *differ) addresses() (s addressSteps) {
	live, want := subnets(d.live.Addresses), subnets(d.want.Addresses)
	s.flush = len(live) > 0 && len(want) == 0
	last, behind := -1, false // the last live subnet that stays where it is; all that follows has to come behind another
	exchanged := make(map[netip.Prefix]bool)
	for _, w := range want {
		i := slices.IndexFunc(live, func(l subnet) bool { return l.prefix == w.prefix })
		switch {
		case i > last && !behind && live[i].addresses[0] == w.addresses[0]:
			last = i
			s.gain = append(s.gain, d.add(w.addresses)...)
			continue
		case i >= 0:
			exchanged[w.prefix] = true
			s.exchange = append(s.exchange, d.exchange(live[i], w)...)
		case len(s.exchange) > 0:
			s.exchange = append(s.exchange, d.add(w.addresses)...)
		default:
			s.gain = append(s.gain, d.add(w.addresses)...)
		}
		behind = true
	}
	for _, l := range live {
		if exchanged[l.prefix] {
			continue
		}
		for _, a := range slices.Backward(l.addresses) { // the primary one last
			if !d.keeps(a) {
				s.lose = append(s.lose, DelAddress{d.iface, a})
			}
		}
	}
	d.addresses6(&s)
	return s
}

// add adds those that are not there.
func (d *differ) add(addresses []netip.Prefix) (s []Step) {
	for _, a := range addresses {
		if !slices.Contains(d.live.Addresses, a) {
			s = append(s, AddAddress{d.iface, a})
		}
	}
	return s
}

// addresses6 does the same for IPv6, where no address depends on another.
func (d *differ) addresses6(s *addressSteps) {
	for _, a := range d.want.Addresses {
		if a.Addr().Is4() || slices.Contains(d.live.Addresses, a) {
			continue
		}
		if old, ok := d.otherLength(a); ok {
			s.exchange = append(s.exchange, DelAddress{d.iface, old})
			s.exchange = append(s.exchange, AddAddress{d.iface, a})
		} else {
			s.gain = append(s.gain, AddAddress{d.iface, a})
		}
	}
	for _, a := range d.live.Addresses {
		exchanged := slices.ContainsFunc(d.want.Addresses, func(w netip.Prefix) bool { return w.Addr() == a.Addr() })
		if a.Addr().Is6() && !d.keeps(a) && !exchanged {
			s.lose = append(s.lose, DelAddress{d.iface, a})
		}
	}
}

// otherLength finds the address in live with another prefix length.
func (d *differ) otherLength(a netip.Prefix) (netip.Prefix, bool) {
	i := slices.IndexFunc(d.live.Addresses, func(l netip.Prefix) bool { return l.Addr() == a.Addr() })
	if i < 0 {
		return netip.Prefix{}, false
	}
	return d.live.Addresses[i], true
}

// subnet is one of IPv4 with its addresses, the primary one first.
type subnet struct {
	prefix    netip.Prefix
	addresses []netip.Prefix
}

// subnets are those of the IPv4 addresses, in the order of the primary ones. The kernel has those of the host alone
// (loopback) behind all others.
func subnets(addresses []netip.Prefix) (all []subnet) {
	for _, a := range addresses {
		if !a.Addr().Is4() {
			continue
		}
		i := slices.IndexFunc(all, func(n subnet) bool { return n.prefix == a.Masked() })
		if i < 0 {
			i = len(all)
			all = append(all, subnet{prefix: a.Masked()})
		}
		all[i].addresses = append(all[i].addresses, a)
	}
	slices.SortStableFunc(all, func(a, b subnet) int {
		switch x, y := a.prefix.Addr().IsLoopback(), b.prefix.Addr().IsLoopback(); {
		case x == y:
			return 0
		case y:
			return -1
		}
		return 1
	})
	return all
}

// exchange puts the addresses of a subnet behind all others, in the order in which they are wanted. Meanwhile each has
// another prefix length that holds its place, and a route of ours stands in for the kernel's.
func (d *differ) exchange(live, want subnet) (s []Step) {
	var hold []netip.Prefix
	for _, a := range want.addresses {
		h := d.placeholder(a.Addr())
		hold = append(hold, h)
		s = append(s, AddAddress{d.iface, h})
	}
	route := Route{Table: tableMain, Dst: want.prefix}
	_, holdRoute := connected(want.addresses[0])
	holdRoute = holdRoute && !hasRoute(d.live.Routes, route) && !hasRoute(d.want.Routes, route)
	if holdRoute {
		s = append(s, AddRoute{d.iface, route, true})
	}
	for _, a := range slices.Backward(live.addresses) { // the primary one last: whether others go with it is a sysctl's affair
		s = append(s, DelAddress{d.iface, a})
	}
	for _, a := range want.addresses {
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

// placeholder is an address with the longest prefix length that neither is there nor is wanted.
func (d *differ) placeholder(a netip.Addr) netip.Prefix {
	h := hostPrefix(a)
	for slices.Contains(d.live.Addresses, h) || slices.Contains(d.want.Addresses, h) {
		h = netip.PrefixFrom(a, h.Bits()-1)
	}
	return h
}
