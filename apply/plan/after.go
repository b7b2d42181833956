package plan

import (
	"net/netip"
	"slices"

	"wg-kube/templates/wgquick"
)

// After simulates the plan on what is ours. What the kernel does by itself is simulated as far as it touches that:
// it moves prefixes, removes secondary addresses, and all IPv4 routes with the last IPv4 address.
// It does not add the kernel's own routes, nor change handshakes and counters.
func (l Live) After(p Plan) Live {
	m := newModel(l)
	for _, s := range p.Steps {
		s.after(m)
	}
	return m.result()
}

// model is a Live in which things are found at once.
type model struct {
	live   Live // but for peers and routes
	peers  map[wgquick.PublicKey]*Peer
	owner  map[netip.Prefix]*Peer
	routes map[routeKey][]Route
	dirty  map[*Peer]bool // peers whose AllowedIPs have to be written anew

	allPeers  []*Peer    // also those that are gone, in the order in which they came
	allRoutes []routeKey // as well
}

func newModel(l Live) *model {
	m := &model{
		live:   l,
		peers:  make(map[wgquick.PublicKey]*Peer, len(l.Peers)),
		owner:  make(map[netip.Prefix]*Peer, len(l.Peers)),
		routes: make(map[routeKey][]Route, len(l.Routes)),
		dirty:  make(map[*Peer]bool),

		allPeers:  make([]*Peer, 0, len(l.Peers)+1),
		allRoutes: make([]routeKey, 0, len(l.Routes)+1),
	}
	m.live.Addresses = slices.Clone(l.Addresses)
	m.live.Rules = slices.Clone(l.Rules)
	peers, routes := slices.Clone(l.Peers), slices.Clone(l.Routes)
	for i := range peers {
		p := &peers[i]
		m.add(p)
		for _, a := range p.AllowedIPs {
			m.owner[a] = p
		}
	}
	for i, r := range routes {
		m.addRoute(r.key(), routes[i:i+1:i+1])
	}
	return m
}

func (m *model) add(p *Peer) {
	m.peers[p.PublicKey] = p
	m.allPeers = append(m.allPeers, p)
}

func (m *model) addRoute(k routeKey, r []Route) {
	was, known := m.routes[k]
	if !known {
		m.allRoutes = append(m.allRoutes, k)
	}
	if len(was) > 0 {
		r = append(was, r...)
	}
	m.routes[k] = r
}

func (m *model) result() Live {
	l := m.live
	for p := range m.dirty {
		p.AllowedIPs = nil
	}
	for a, p := range m.owner {
		if m.dirty[p] {
			p.AllowedIPs = append(p.AllowedIPs, a)
		}
	}
	l.Peers = make([]Peer, 0, len(m.peers))
	for _, p := range m.allPeers {
		if m.peers[p.PublicKey] != p {
			continue
		}
		if m.dirty[p] {
			slices.SortFunc(p.AllowedIPs, netip.Prefix.Compare)
		}
		l.Peers = append(l.Peers, *p)
	}
	l.Peers = sorted(l.Peers)
	l.Routes = make([]Route, 0, len(m.allRoutes))
	for _, k := range m.allRoutes {
		l.Routes = append(l.Routes, m.routes[k]...)
	}
	slices.SortFunc(l.Routes, compareRoutes)
	return l
}

// move gives prefixes to a peer, or with nil to nobody.
func (m *model) move(prefixes []netip.Prefix, to *Peer) {
	for _, a := range prefixes {
		if from := m.owner[a]; from != nil {
			m.dirty[from] = true
		}
		if to == nil {
			delete(m.owner, a)
		} else {
			m.owner[a] = to
			m.dirty[to] = true
		}
	}
}

func (AddLink) after(m *model)         { m.live.Exists = true }
func (s SetMTU) after(m *model)        { m.live.MTU = s.MTU }
func (SetUp) after(m *model)           { m.live.Up, m.live.Ours = true, true }
func (s SetFirewall) after(m *model)   { m.live.Firewall, m.live.FirewallMark = s.Families, s.FwMark }
func (DelFirewall) after(m *model)     { m.live.Firewall, m.live.FirewallMark = Families{}, 0 }
func (SetSrcValidMark) after(m *model) { m.live.SrcValidMark = true }

func (s AddAddress) after(m *model) {
	same := func(a netip.Prefix) bool {
		return a == s.Address || a.Addr().Is6() && a.Addr() == s.Address.Addr()
	}
	if !slices.ContainsFunc(m.live.Addresses, same) {
		m.live.Addresses = append(m.live.Addresses, s.Address)
	}
}

func (s DelAddress) after(m *model) {
	in := func(a netip.Prefix) bool { return a.Masked() == s.Address.Masked() }
	i := slices.Index(m.live.Addresses, s.Address)
	switch {
	case i < 0:
		return
	case s.Address.Addr().Is4() && slices.IndexFunc(m.live.Addresses, in) == i:
		m.live.Addresses = slices.DeleteFunc(m.live.Addresses, in)
	default:
		m.live.Addresses = slices.Delete(m.live.Addresses, i, i+1)
	}
	v4 := func(a netip.Prefix) bool { return a.Addr().Is4() }
	if v4(s.Address) && !slices.ContainsFunc(m.live.Addresses, v4) {
		for k := range m.routes {
			if v4(k.dst) {
				m.routes[k] = nil
			}
		}
	}
}

func (s SetDevice) after(m *model) {
	if s.PrivateKey != nil {
		m.live.PrivateKey = *s.PrivateKey
	}
	if s.ListenPort != nil {
		m.live.ListenPort = *s.ListenPort
	}
	if s.FwMark != nil {
		m.live.FwMark = *s.FwMark
	}
}

func (s AddPeer) after(m *model) {
	p := &Peer{
		Name:         s.Name,
		PublicKey:    s.PublicKey,
		PresharedKey: s.PresharedKey,
		Endpoint:     s.Endpoint,
		Keepalive:    s.Keepalive,
	}
	m.add(p)
	m.move(s.AllowedIPs, p)
}

func (s SetPeer) after(m *model) {
	p := m.peers[s.PublicKey]
	if p == nil {
		return
	}
	if s.PresharedKey != nil {
		p.PresharedKey = *s.PresharedKey
	}
	if s.Endpoint != nil {
		p.Endpoint = *s.Endpoint
	}
	if s.Keepalive != nil {
		p.Keepalive = *s.Keepalive
	}
}

func (Greet) after(*model) {}

func (s AddPrefixes) after(m *model) {
	if p := m.peers[s.PublicKey]; p != nil {
		m.move(s.Prefixes, p)
	}
}

func (s DropPrefixes) after(m *model) { m.move(s.Prefixes, nil) }

func (s RemovePeer) after(m *model) {
	p := m.peers[s.PublicKey]
	if p == nil {
		return
	}
	delete(m.peers, s.PublicKey)
	for a, owner := range m.owner {
		if owner == p {
			delete(m.owner, a)
		}
	}
}

func (s AddRoute) after(m *model) {
	m.addRoute(s.Route.key(), []Route{{
		Table: s.Route.Table, Dst: s.Route.Dst, Protocol: Protocol, Metric: metric(s.Route.Dst),
	}})
}

func (s DelRoute) after(m *model) {
	k := s.Route.key()
	m.routes[k] = slices.DeleteFunc(m.routes[k], func(r Route) bool {
		return r.Protocol == s.Route.Protocol && r.Metric == s.Route.Metric
	})
}

// A rule without priority comes before all others: the kernel gives it the one before the first.
func (s AddRule) after(m *model) {
	r := s.Rule
	r.Protocol = Protocol
	if r.Priority == 0 {
		r.Priority = lastPriority
		for _, other := range m.live.Rules {
			if other.V6 == r.V6 {
				r.Priority = min(r.Priority, other.Priority-1)
			}
		}
	}
	m.live.Rules = append(m.live.Rules, r)
}

func (s DelRule) after(m *model) {
	m.live.Rules = slices.DeleteFunc(m.live.Rules, func(r Rule) bool { return r == s.Rule })
}
