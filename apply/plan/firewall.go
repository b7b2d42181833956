package plan

import (
	"net/netip"
	"slices"
)

// Families are those of the nftables tables wg-quick-IFACE, one for each family that has a default route.
type Families struct{ V4, V6 bool }

// firewall renews the tables whenever something that they name changes. They come before what they name:
// a plan that stops half way finds the difference again.
func (d *differ) firewall() (s []Step) {
	if d.want.Firewall == (Families{}) {
		return nil
	}
	if d.live.Firewall != d.want.Firewall || d.want.FwMark != d.live.FwMark || d.changesAddress() {
		set := SetFirewall{Iface: d.iface, FwMark: d.want.FwMark, Families: d.want.Firewall}
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

func (d *differ) changesAddress() bool {
	gains := func(a netip.Prefix) bool { return !slices.Contains(d.live.Addresses, a) }
	loses := func(a netip.Prefix) bool { return !d.keeps(a) }
	return slices.ContainsFunc(d.want.Addresses, gains) || slices.ContainsFunc(d.live.Addresses, loses)
}

func (d *differ) noFirewall() []Step {
	if d.want.Firewall != (Families{}) || d.live.Firewall == (Families{}) {
		return nil
	}
	return []Step{DelFirewall{d.iface}}
}
