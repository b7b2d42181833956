package kernel

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	ifaProto     = 11 // IFA_PROTO, since Linux 5.18
	kernelLinkLL = 3  // IFAPROT_KERNEL_LL
)

// addresses lists those of a link that somebody has set: neither the kernel's own link-local address
// nor what comes from router advertisements.
func (s *System) addresses(link int) ([]netip.Prefix, error) {
	body := nl.NewIfAddrmsg(unix.AF_UNSPEC)
	body.Index = uint32(link)
	return dump(s, unix.RTM_GETADDR, unix.RTM_NEWADDR, func(m []byte) (netip.Prefix, bool) {
		if len(m) < unix.SizeofIfAddrmsg {
			return netip.Prefix{}, false
		}
		msg := nl.DeserializeIfAddrmsg(m)
		var address, local netip.Addr
		flags, proto := int(msg.Flags), byte(0)
		for attr, v := range attributes(m[unix.SizeofIfAddrmsg:]) {
			switch attr {
			case unix.IFA_ADDRESS:
				address, _ = netip.AddrFromSlice(v)
			case unix.IFA_LOCAL:
				local, _ = netip.AddrFromSlice(v)
			case unix.IFA_FLAGS:
				flags = number(v)
			case ifaProto:
				proto = v[0]
			}
		}
		if local.IsValid() {
			address = local // the other is the far end of a point-to-point address
		}
		generated := proto == kernelLinkLL || address.IsLinkLocalUnicast() && flags&unix.IFA_F_STABLE_PRIVACY != 0
		ours := msg.Index == uint32(link) && flags&unix.IFA_F_PERMANENT != 0 && !generated
		return netip.PrefixFrom(address, int(msg.Prefixlen)), ours && address.IsValid()
	}, body)
}

func (s *System) addAddress(link netlink.Link, p netip.Prefix) error {
	return gone(s.handle.AddrAdd(link, addressMessage(p)), unix.EEXIST)
}

func (s *System) delAddress(link netlink.Link, p netip.Prefix) error {
	return gone(s.handle.AddrDel(link, addressMessage(p)), unix.EADDRNOTAVAIL)
}

func addressMessage(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p), Broadcast: net.IPv4zero} // a tunnel has no broadcast
	if p.Addr().Is4() && p.Addr().IsLoopback() {
		a.Scope = unix.RT_SCOPE_HOST
	}
	return a
}
