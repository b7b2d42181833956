package plan

import (
	"net/netip"
	"slices"
)

// firewall renews the tables whenever something that they name changes. They come before what they name:
// a plan that stops half way finds the difference again.
func (d differ) firewall() (s []Step) {
	if !d.want.Firewall {
		return nil
	}
	if !d.live.Firewall || d.want.FwMark != d.live.FwMark || d.changesDefault() || d.changesAddress() {
		set := SetFirewall{Iface: d.iface, FwMark: d.want.FwMark}
		for _, r := range d.want.Routes {
			set.V4 = set.V4 || r.isDefault() && r.Dst.Addr().Is4()
			set.V6 = set.V6 || r.isDefault() && r.Dst.Addr().Is6()
		}
		for _, a := range d.want.Addresses {
			if a.Addr().Is4() && set.V4 || a.Addr().Is6() && set.V6 {
				set.Guard = append(set.Guard, a.Addr())
			}
		}
		s = append(s, set)
	}
	if d.want.SrcValidMark && !d.live.SrcValidMark {
		s = append(s, SetSrcValidMark{d.iface})
	}
	return s
}

func (d differ) changesDefault() bool {
	gains := func(r Route) bool { return r.isDefault() && !hasRoute(d.live.Routes, r) }
	loses := func(r Route) bool { return r.isDefault() && !hasRoute(d.want.Routes, r) }
	return slices.ContainsFunc(d.want.Routes, gains) || slices.ContainsFunc(d.ourRoutes(), loses)
}

func (d differ) changesAddress() bool {
	gains := func(a netip.Prefix) bool { return !slices.Contains(d.live.Addresses, a) }
	loses := func(a netip.Prefix) bool { return !d.keeps(a) }
	return slices.ContainsFunc(d.want.Addresses, gains) || slices.ContainsFunc(d.live.Addresses, loses)
}

func (d differ) noFirewall() []Step {
	if d.want.Firewall || !d.live.Firewall {
		return nil
	}
	return []Step{DelFirewall{d.iface}}
}
