package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"wg-kube/apply/plan"
)

// families in the order in which things are listed.
var families = [...]uint8{unix.AF_INET, unix.AF_INET6}

// route is a route as the kernel has it.
type route struct {
	plan.Route
	link int  // index; zero: none, or several
	mtu  int  // a metric; zero: the link's
	some bool // it is for some packets only, by their TOS or source: it is in nobody's way, and never ours
}

// routes lists what is in every table but local, of one link or, with zero, of all; but not of the other link.
func (s *System) routes(link, other int) ([]route, error) {
	var all []route
	for _, family := range families {
		body := []nl.NetlinkRequestData{&nl.RtMsg{RtMsg: unix.RtMsg{Family: family}}}
		if link != 0 {
			body = append(body, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(link))))
		}
		rs, err := dump(s, unix.RTM_GETROUTE, unix.RTM_NEWROUTE, func(m []byte) (route, bool) {
			r, ok := parseRoute(m)
			return r, ok && (link == 0 || r.link == link) && (other == 0 || r.link != other)
		}, body...)
		if err := gone(err, unix.EOPNOTSUPP); err != nil { // a kernel without IPv6 has no routes of it
			return nil, err
		}
		all = append(all, rs...)
	}
	return all, nil
}

func parseRoute(m []byte) (r route, ok bool) {
	if len(m) < unix.SizeofRtMsg {
		return r, false
	}
	msg := nl.DeserializeRtMsg(m)
	if msg.Flags&unix.RTM_F_CLONED != 0 || msg.Type == unix.RTN_LOCAL || msg.Type == unix.RTN_BROADCAST ||
		msg.Type == unix.RTN_ANYCAST || msg.Type == unix.RTN_MULTICAST {
		return r, false
	}
	dst := netip.IPv4Unspecified()
	if msg.Family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	r.Table, r.Protocol = uint32(msg.Table), int(msg.Protocol)
	r.some = msg.Tos != 0 || msg.Src_len != 0
	for attr, v := range attributes(m[unix.SizeofRtMsg:]) {
		switch attr {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(v)
		case unix.RTA_OIF:
			r.link = number(v)
		case unix.RTA_TABLE:
			r.Table = uint32(number(v))
		case unix.RTA_PRIORITY:
			r.Metric = number(v)
		case unix.RTA_METRICS:
			for metric, v := range attributes(v) {
				if metric == unix.RTAX_MTU {
					r.mtu = number(v)
				}
			}
		}
	}
	r.Dst = netip.PrefixFrom(dst, int(msg.Dst_len))
	return r, r.Dst.IsValid() && r.Table != unix.RT_TABLE_LOCAL
}

// addRoute adds and never replaces: for IPv4 a replace would take over a route of somebody else.
func (s *System) addRoute(link netlink.Link, st plan.AddRoute) error {
	r := routeMessage(link, st.Route)
	r.Protocol = plan.Protocol
	if st.Append {
		return s.handle.RouteAppend(r)
	}
	err := s.handle.RouteAdd(r)
	if errors.Is(err, unix.EEXIST) {
		return errors.New("there is such a route already, and it is not ours")
	}
	return err
}

// missing are the routes that could not be added.
type missing struct {
	first []error
	more  int
}

// add keeps the first few errors: thousands of routes fail for one reason.
func (m *missing) add(err error) {
	const few = 10
	if len(m.first) < few {
		m.first = append(m.first, err)
	} else {
		m.more++
	}
}

func (m *missing) err() error {
	err := errors.Join(m.first...)
	if m.more > 0 {
		err = fmt.Errorf("%w\n... and %d more routes", err, m.more)
	}
	return err
}

// delRoute names the protocol, so that the kernel deletes no route of somebody else.
func (s *System) delRoute(link netlink.Link, r plan.Route) error {
	m := routeMessage(link, r)
	m.Protocol, m.Priority = netlink.RouteProtocol(r.Protocol), r.Metric
	return gone(s.handle.RouteDel(m), unix.ESRCH)
}

func routeMessage(link netlink.Link, r plan.Route) *netlink.Route {
	m := &netlink.Route{LinkIndex: link.Attrs().Index, Table: int(r.Table), Dst: ipNet(r.Dst), Type: unix.RTN_UNICAST}
	if r.Dst.Addr().Is4() {
		m.Scope = netlink.SCOPE_LINK
	}
	return m
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
