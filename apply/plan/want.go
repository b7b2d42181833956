package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"wg-kube/templates/wgquick"
)

const (
	overhead = 80 // bytes that WireGuard adds to a packet at most: IPv6, UDP, header, tag

	firstMark  = 51820 // wg-quick's first choice for the mark and table of a default route
	defaultMTU = 1500  // where nothing is known

	minMTUv4 = 68   // below it the kernel takes IPv4 off the device
	minMTUv6 = 1280 // below it the kernel takes IPv6 off the device
)

// Want gives a file its meaning. The error is wgquick.Faults, for the file IFACE.conf: what wg-quick would
// fail on, a route that would swallow a peer's own endpoint, and a default route in the kernel's own table.
// If they are about single peers only, the meaning that the file would have without them comes with it; else the zero
// Desired does.
//
// An endpoint that is a name and not resolved yet counts for nothing: not for the MTU, not as a conflict.
func Want(c *wgquick.Config, iface string, u Underlay) (Desired, error) {
	w, found := read(c, iface, u, Kept{}, false)
	switch {
	case len(found) == 0:
		return w, nil
	case ofTheWhole(found):
		return Desired{}, inOrderOfLines(found)
	}
	return w, inOrderOfLines(found)
}

// read gives a file the meaning that it would have without its faults. Of the prefixes that hold one endpoint the
// narrowest is at fault, as it is where the kernel would send the packets; all of them if deep is set.
func read(c *wgquick.Config, iface string, u Underlay, keep Kept, deep bool) (Desired, []fault) {
	r := reader{file: iface + ".conf", config: c, underlay: u, keep: keep, deep: deep}
	w := Desired{
		Interface:  iface,
		ListenPort: c.Interface.ListenPort,
		FwMark:     c.Interface.FwMark,
		Table:      cmp.Or(c.Interface.Table, "auto"),
	}
	if !c.Interface.PrivateKey.IsZero() {
		w.PrivateKey = c.Interface.PrivateKey.Clamped()
	}
	w.Addresses = r.addresses()
	w.Peers = r.peers()
	w.MTU = r.mtu(w)
	r.routes(&w)
	r.swallowed(w)
	return w, r.faults
}

// fault is one thing that keeps a file from being put into effect as a whole.
type fault struct {
	wgquick.Fault
	peer   wgquick.PublicKey // whose claim it is; zero: the file's as a whole
	prefix netip.Prefix      // of the peer; zero: it is its endpoint
}

// ofTheWhole reports whether one of the faults is nobody's in particular.
func ofTheWhole(found []fault) bool {
	return slices.ContainsFunc(found, func(f fault) bool { return f.peer.IsZero() })
}

func inOrderOfLines(found []fault) wgquick.Faults {
	all := make(wgquick.Faults, len(found))
	for i, f := range found {
		all[i] = f.Fault
	}
	slices.SortStableFunc(all, func(a, b wgquick.Fault) int { return cmp.Compare(a.Line, b.Line) })
	return all
}

// reader collects what is wrong with a file while its meaning is worked out.
type reader struct {
	file     string
	config   *wgquick.Config
	underlay Underlay
	keep     Kept
	deep     bool
	owner    map[netip.Prefix]int // of an allowed prefix: index in config.Peers
	faults   []fault
}

func (r *reader) interfaceFault(key, format string, args ...any) {
	r.faults = append(r.faults, fault{Fault: wgquick.Fault{
		File: r.file, Line: r.config.Interface.Line, Section: "Interface", Key: key, Msg: fmt.Sprintf(format, args...),
	}})
}

// prefixFault blames the peer that has the prefix.
func (r *reader) prefixFault(p netip.Prefix, format string, args ...any) {
	peer := r.config.Peers[r.owner[p]]
	r.faults = append(r.faults, fault{peer: peer.PublicKey, prefix: p, Fault: wgquick.Fault{
		File: r.file, Line: peer.Line, Section: "Peer", Peer: label(peer), Key: "AllowedIPs",
		Msg: fmt.Sprintf("%q: %s", p, fmt.Sprintf(format, args...)),
	}})
}

// label is how people call a peer.
func label(p wgquick.Peer) string { return cmp.Or(p.Origin.Name, p.PublicKey.String()) }

func (r *reader) addresses() []netip.Prefix {
	type place struct {
		addr netip.Addr
		bits int // IPv6 has an address once, IPv4 once for each length
	}
	seen := make(map[place]bool)
	var all []netip.Prefix
	for _, a := range r.config.Interface.Address {
		a = unmap(a)
		at := place{addr: a.Addr()}
		if a.Addr().Is4() {
			at.bits = a.Bits()
		}
		if seen[at] {
			r.interfaceFault("Address", "%q: listed twice", a)
			continue
		}
		seen[at] = true
		if a.Addr().Is6() && r.underlay.NoIPv6 {
			r.interfaceFault("Address", "%q: %s", a, noIPv6)
		}
		all = append(all, a)
	}
	return all
}

// peers are those of the file by public key. Of the peers that list a prefix the last one has it, as in the
// kernel. A peer with our own key is left out, as the kernel does.
func (r *reader) peers() []Peer {
	var self wgquick.PublicKey
	if key := r.config.Interface.PrivateKey; !key.IsZero() {
		self = key.Public()
	}
	r.owner = make(map[netip.Prefix]int, len(r.config.Peers))
	for i, p := range r.config.Peers {
		if p.PublicKey == self {
			continue
		}
		for _, a := range p.AllowedIPs {
			r.owner[unmap(a).Masked()] = i
		}
	}
	all := make([]Peer, 0, len(r.config.Peers))
	for i, p := range r.config.Peers {
		if p.PublicKey == self {
			continue
		}
		var own []netip.Prefix
		for _, a := range p.AllowedIPs {
			if a = unmap(a).Masked(); r.owner[a] == i {
				own = append(own, a)
			}
		}
		slices.SortFunc(own, netip.Prefix.Compare)
		all = append(all, Peer{
			Name:         p.Origin.Name,
			PublicKey:    p.PublicKey,
			PresharedKey: p.PresharedKey,
			Asked:        p.Endpoint,
			Endpoint:     r.underlay.resolve(p.Endpoint),
			AllowedIPs:   slices.Compact(own),
			Keepalive:    p.PersistentKeepalive,
		})
	}
	return sorted(all)
}

// resolve returns the address of an endpoint; zero: none, or not resolved yet.
func (u Underlay) resolve(e wgquick.Endpoint) netip.AddrPort {
	if a, ok := e.AddrPort(); ok || e.IsZero() {
		return a
	}
	a := u.Resolved[e.String()]
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// mtu is what the file says; or what the narrowest path to an endpoint leaves; or the default route's device. As long
// as one of the endpoints has no address, a link that is there keeps its own.
func (r *reader) mtu(w Desired) int {
	if r.config.Interface.MTU != 0 {
		return r.config.Interface.MTU
	}
	path := 0
	for _, p := range w.Peers {
		if m := r.underlay.PathMTU[p.Endpoint.Addr()]; m > 0 && (path == 0 || m < path) {
			path = m
		}
	}
	mtu := cmp.Or(path, r.underlay.MTU, defaultMTU) - overhead
	unknown := func(p Peer) bool { return !p.Asked.IsZero() && !p.Endpoint.IsValid() }
	if r.underlay.LinkMTU != 0 && slices.ContainsFunc(w.Peers, unknown) {
		mtu = r.underlay.LinkMTU
	}
	if slices.ContainsFunc(w.Addresses, func(a netip.Prefix) bool { return a.Addr().Is6() }) {
		return max(mtu, minMTUv6)
	}
	return max(mtu, minMTUv4)
}

// routes sets what the AllowedIPs mean for routing: Routes, and with a default route all that goes with it.
func (r *reader) routes(w *Desired) {
	prefixes := make([]netip.Prefix, 0, len(r.owner))
	for _, p := range w.Peers {
		prefixes = append(prefixes, p.AllowedIPs...)
	}
	slices.SortFunc(prefixes, longestFirst)
	connected := connectedRoutes(w.Addresses)

	switch w.Table {
	case "off":
		return
	case "auto":
		for _, p := range prefixes {
			if p.Bits() == 0 {
				r.defaultRoute(w, p)
			} else if _, covered := connected.longest(p); !covered {
				w.Routes = append(w.Routes, Route{Table: tableMain, Dst: p})
			}
		}
	default:
		table, ok := r.table(w.Table)
		if !ok {
			return
		}
		for _, p := range prefixes {
			w.Routes = append(w.Routes, Route{Table: table, Dst: p})
			if table == tableMain && p.Addr().Is4() && connected.has(p) {
				r.prefixFault(p, "with Table=%s it meets the subnet of an Address; leave Table out", w.Table)
			}
		}
	}
	r.conflicts(w.Routes)
}

// defaultRoute keeps the tunnel's own packets out of the tunnel by a mark, as wg-quick does. The rules stand in
// the order in which they are added: the later one comes first for the kernel.
func (r *reader) defaultRoute(w *Desired, p netip.Prefix) {
	if w.FwMark == tableLocal {
		r.interfaceFault("FwMark", "%d: a default route goes into the table of this number, which is the kernel's own", w.FwMark)
		return
	}
	if w.FwMark == 0 {
		w.FwMark = r.underlay.mark()
	}
	v6 := p.Addr().Is6()
	w.Routes = append(w.Routes, Route{Table: w.FwMark, Dst: p})
	w.Rules = append(w.Rules,
		Rule{V6: v6, Not: true, Mark: w.FwMark, Table: w.FwMark, Suppress: -1},
		Rule{V6: v6, Table: tableMain, Suppress: 0})
	w.Firewall.V4, w.Firewall.V6 = w.Firewall.V4 || !v6, w.Firewall.V6 || v6
	w.SrcValidMark = w.SrcValidMark || !v6
}

// mark is the one that our device has, or the first from 51820 whose table nobody uses.
func (u Underlay) mark() uint32 {
	if u.FwMark != 0 && !u.Used[u.FwMark] {
		return u.FwMark
	}
	mark := uint32(firstMark)
	for u.Used[mark] {
		mark++
	}
	return mark
}

// table reads a routing table as ip(8) does: a name of rt_tables(5), or a number in C's notation.
func (r *reader) table(s string) (uint32, bool) {
	n, ok := r.underlay.Tables[s]
	if !ok {
		n, ok = map[string]uint32{"default": 253, "main": tableMain, "local": tableLocal}[s]
	}
	if !ok && !strings.ContainsAny(s, "_bBoO") { // Go's notation, not C's
		if number, err := strconv.ParseUint(s, 0, 32); err == nil {
			n, ok = uint32(number), true
		}
	}
	switch {
	case !ok:
		r.interfaceFault("Table", "%q: neither auto, off, a number, nor a name of rt_tables(5)", wgquick.Shown(s))
	case n == 0:
		return tableMain, true
	case n == tableLocal:
		r.interfaceFault("Table", "%q: this table is the kernel's own", s)
		return 0, false
	}
	return n, ok
}

// conflicts finds the routes that the kernel would refuse: they are there already, elsewhere, or IPv6 is off.
func (r *reader) conflicts(ours []Route) {
	elsewhere := make(map[routeKey][]Route, len(r.underlay.Routes))
	for _, e := range r.underlay.Routes {
		elsewhere[e.key()] = append(elsewhere[e.key()], e)
	}
	for _, o := range ours {
		if o.Dst.Addr().Is6() && r.underlay.NoIPv6 {
			r.prefixFault(o.Dst, "%s", noIPv6)
			continue
		}
		for _, e := range elsewhere[o.key()] {
			if e.Metric == metric(o.Dst) {
				r.prefixFault(o.Dst, "table %s has this route already, on %s", tableName(o.Table), cmp.Or(e.Device, "no device"))
				break
			}
		}
	}
}

const noIPv6 = "IPv6 is off on this machine (net.ipv6.conf.default.disable_ipv6)"

// swallowed finds the endpoints that our own routes in main would send into the tunnel: its packets would go
// round in circles. With a mark the routing of the tunnel's own packets is the default route's business, or
// that of whoever wrote FwMark.
func (r *reader) swallowed(w Desired) {
	called := func(p Peer) bool { return p.Endpoint.IsValid() }
	if w.FwMark != 0 || !slices.ContainsFunc(w.Peers, called) {
		return
	}
	ours, theirs := connectedRoutes(w.Addresses), routeTable{}
	for _, o := range w.Routes {
		if o.Table == tableMain {
			ours.add(o.Dst, metric(o.Dst))
		}
	}
	for _, e := range r.underlay.Routes {
		if e.Table == tableMain {
			theirs.add(e.Dst, e.Metric)
		}
	}
	blamed := make(map[netip.Prefix]bool) // of the peers' prefixes, once each
	line := sync.OnceValue(func() map[wgquick.PublicKey]int {
		all := make(map[wgquick.PublicKey]int, len(r.config.Peers))
		for _, p := range r.config.Peers {
			all[p.PublicKey] = p.Line
		}
		return all
	})
	for _, p := range w.Peers {
		if !p.Endpoint.IsValid() {
			continue
		}
		host := hostPrefix(p.Endpoint.Addr())
		out, known := theirs.longest(host)
		who := cmp.Or(p.Name, p.PublicKey.String())
		for in, ok := ours.longest(host); ok; in, ok = ours.wider(in) {
			if known && (out.Bits() > in.Bits() || out.Bits() == in.Bits() && theirs.metric[out] <= ours.metric[in]) {
				break
			}
			_, claimed := r.owner[in]
			switch {
			case blamed[in]:
			case r.keep.Prefixes[in]:
				r.faults = append(r.faults, fault{peer: p.PublicKey, Fault: wgquick.Fault{
					File: r.file, Line: line()[p.PublicKey], Section: "Peer", Peer: who, Key: "Endpoint",
					Msg: fmt.Sprintf("%q: lies in %s, which was there before, and no narrower route leads there outside of %s", p.Endpoint, in, w.Interface),
				}})
			case claimed:
				blamed[in] = true
				r.prefixFault(in, "holds the endpoint %s of %s, and no narrower route leads there outside of %s", p.Endpoint, who, w.Interface)
			default:
				r.interfaceFault("Address", "the subnet %s holds the endpoint %s of %s, and no narrower route leads there outside of %s", in, p.Endpoint, who, w.Interface)
				r.faults[len(r.faults)-1].peer = p.PublicKey
			}
			if !r.deep || !claimed || r.keep.Prefixes[in] {
				break // the next wider one is none, unless that goes
			}
		}
	}
}
