package overlay

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"wg-kube/templates/wgquick"
)

// What the origins of peers are.
const (
	KindNode          = "Node"
	KindWireGuardPeer = "WireGuardPeer"
	KindSecret        = "Secret"
	KindFragment      = "fragment"
)

// mostRounds is how often all objects are judged at most: nearly always it is once or twice, and no random world in
// which everybody wants the same needed a tenth of these.
const mostRounds = 64

// Build renders the file that self should have.
//
// prev is the last proposal, nil if there is none: incumbents and last good claims are read from it.
// Build(s, Build(s, prev)) equals Build(s, prev), and the order of s does not matter.
func Build(self Self, s Snapshot, prev *wgquick.Config, p Policy) (*wgquick.Config, []Rejection) {
	return new(Builder).Build(self, s, prev, p)
}

func (b *Builder) build(self Self, s Snapshot, prev *wgquick.Config, p Policy) (*wgquick.Config, []Rejection) {
	var last []wgquick.Peer
	if prev != nil {
		last = prev.Peers
	}
	self = addressed(self, ownNode(self, s.Nodes), prev)
	static, rejections := staticPeers(self, s.Fragments, last)
	for round := 1; ; round++ {
		peers, rejected, settled := b.round(self, s, static, last, p)
		settled = settled && (self.Role != Mesh || same(peers, last))
		last = peers
		if !settled && round < mostRounds {
			continue
		}
		c := Alone(self, p)
		c.Peers = append(slices.Clone(static), peers...)
		slices.SortFunc(c.Peers, byOrigin)
		for _, r := range rejected {
			rejections = append(rejections, r.discreet())
		}
		rejections = sorted(rejections)
		c.Refused = refusedLines(rejections)
		return c, rejections
	}
}

// Alone is the file of a node that knows nobody yet: the interface, from the flags.
func Alone(self Self, p Policy) *wgquick.Config {
	return &wgquick.Config{
		Head: head(self, p),
		Interface: wgquick.Interface{
			Address:    slices.Clone(self.Address),
			ListenPort: self.ListenPort,
			MTU:        self.MTU,
		},
		End: true,
	}
}

// addressed is self with the address that it has by default: in a mesh the first of each of its podCIDRs, as a host
// prefix. The others route it here with the podCIDR, so that what the node itself sends comes back. While there is no
// podCIDR, it is the address of the last proposal.
func addressed(self Self, own *Node, prev *wgquick.Config) Self {
	if self.Role != Mesh || len(self.Address) > 0 {
		return self
	}
	if own != nil {
		for _, p := range own.PodCIDRs {
			if first := host(p.Addr()); neverGranted(p, KindNode) == "" && !slices.Contains(self.Address, first) {
				self.Address = append(self.Address, first)
			}
		}
	}
	if len(self.Address) == 0 && prev != nil {
		self.Address = prev.Interface.Address
	}
	return self
}

// head tells a person what wrote the file and what to edit instead. Nothing in it varies from run to run.
func head(self Self, p Policy) []string {
	fragments := "a static fragment"
	if p.PeersDir != "" {
		fragments = "a file in " + oneLine(p.PeersDir, maxReason)
	}
	role := string(self.Role)
	if self.Role == Mesh {
		role = "mesh node"
	}
	of := fmt.Sprintf("For the %s %s", role, oneLine(self.Node, maxReason))
	if p.From != "" {
		of += ", from " + oneLine(p.From, maxReason)
	}
	return []string{
		wgquick.ProposalHead,
		of + ".",
		fmt.Sprintf("It is written anew at every change. Edit the %s* annotations of a Node, or %s, instead.",
			oneLine(p.Prefix, maxReason), fragments),
		"wg-apply checks it before any of it is in force.",
	}
}

// same reports whether a and b are the same peers, but for the owner's.
func same(a, b []wgquick.Peer) bool {
	judged := func(peers []wgquick.Peer) []wgquick.Peer {
		peers = slices.DeleteFunc(slices.Clone(peers), func(p wgquick.Peer) bool { return p.Origin.Kind == KindFragment })
		slices.SortFunc(peers, byOrigin)
		return peers
	}
	return slices.EqualFunc(judged(a), judged(b), func(p, q wgquick.Peer) bool { return p.Origin == q.Origin && p.SameMeaning(&q) })
}

// round judges all objects once. It is not settled if an incumbent dropped out, whose place others were refused, if
// somebody was refused a key that its holder has changed since, or if somebody lost what it had and does not even ask
// for, which may have been in the way of what it asks for; nor, in a mesh, if anything changed, since podCIDRs, which go
// before incumbents, may find room or a key then. The next round starts from the peers of this one. Of those nobody drops
// out any more, a key is changed once, what is lost is lost once, and podCIDRs that were given stay: there is an end.
func (b *Builder) round(self Self, s Snapshot, static, last []wgquick.Peer, p Policy) (peers []wgquick.Peer, rs []Rejection, settled bool) {
	j := &judge{builder: b, self: self, policy: p, ledger: ledger{keys: make(map[wgquick.PublicKey]string, len(s.Nodes))}, budget: newBudget(p), callers: callers(s.Met), called: called(s.Met)}
	candidates := j.candidates(s, last)
	j.writeOwners(ownNode(self, s.Nodes), static)
	if self.Role == Mesh {
		j.held = j.budget.all.withPrefixes(last)
	}
	kept := j.keep(unreadPeers(self, s, last), static)
	j.writeMet(candidates, slices.Concat(static, kept))
	slices.SortFunc(candidates, byPrecedence)
	for _, c := range candidates {
		j.seatKey(c)
	}
	j.seatPods(candidates)
	for _, c := range candidates {
		j.seat(c)
	}
	for _, c := range candidates {
		c.admitted = j.admit(c)
		j.lost = j.lost || c.last != nil && !c.admitted
	}
	settled = !j.lost
	var hubs []*candidate
	peers = make([]wgquick.Peer, 0, len(candidates)+len(kept))
	for _, c := range candidates {
		j.explain(c)
		switch {
		case !c.admitted:
		case c.relation == asHub:
			hubs = append(hubs, c)
		default:
			peers = append(peers, c.peer(self))
		}
	}
	j.shareOut(hubs, kept, static)
	for _, c := range candidates {
		noMoreBare := c.met && c.wasBare() && len(c.prefixes) > 0 // that it was bare was a reason not to grant it all
		settled = settled && !noMoreBare && !c.lostLastGood() && !(c.keyHeld && j.ledger.keys[c.wantKey] == "")
	}
	for _, h := range hubs {
		peers = append(peers, h.peer(self))
	}
	peers = append(peers, kept...)
	return peers, j.rejections, settled
}

// candidates are the objects that can become peers, by themselves.
func (j *judge) candidates(s Snapshot, last []wgquick.Peer) []*candidate {
	lasts := make(map[wgquick.Origin]*wgquick.Peer, len(last))
	for i := range last {
		if lasts[last[i].Origin] == nil {
			lasts[last[i].Origin] = &last[i]
		}
	}
	t := newTopology(j.self, ownNode(j.self, s.Nodes), j.policy.Prefix)
	cs := j.peers(s.Peers, lasts)
	names := newAnnotations(j.policy.Prefix)
	for i := range s.Nodes {
		n := &s.Nodes[i]
		r := t.relation(n)
		if r == stranger {
			if t.hub(n) && j.self.Role == Hub {
				s := j.builder.said(n.Name, names.of(n))
				j.hearHub(n, s)
				if n.Name != j.self.Node {
					j.writeHub(n, s)
				}
			}
			continue
		}
		o := wgquick.Origin{Kind: KindNode, Name: n.Name, UID: n.UID}
		c := &candidate{node: n, said: j.builder.said(n.Name, names.of(n)), origin: o, who: o.String(), relation: r, last: lasts[o]}
		if r == asHub && j.policy.pinned(n.Name) {
			j.writeHub(n, c.said)
		}
		cs = append(cs, c)
	}
	slices.SortStableFunc(cs, byIdentity)
	j.ranges = make(map[netip.Prefix]bool)
	for _, c := range cs {
		if c.relation == asHub && c.last != nil {
			for _, q := range c.last.AllowedIPs {
				j.ranges[q] = true
			}
		}
	}
	var taken string
	return slices.DeleteFunc(cs, func(c *candidate) bool {
		switch {
		case !plain(c.node.Name) || c.node.UID != "" && !plain(c.node.UID):
			j.reject(c, Malformed, "", "", fmt.Sprintf("its name or uid has characters that no %s's has", c.origin.Kind))
			return true
		case c.who == taken:
			j.reject(c, Held, "", "", fmt.Sprintf("there is another %s of this name", c.origin.Kind))
			return true
		}
		taken = c.who
		heard := j.hear(c)
		j.lost = j.lost || c.last != nil && !heard
		return !heard
	})
}

// byIdentity orders by kind and name; of one name, which a set of manifests can hold, the one that stays comes first.
func byIdentity(a, b *candidate) int {
	if n := cmp.Compare(a.who, b.who); n != 0 {
		return n
	}
	return cmp.Or(byPrecedence(a, b), compareNodes(*a.node, *b.node))
}

func compareNodes(a, b Node) int {
	if n := cmp.Or(cmp.Compare(a.Name, b.Name), a.Created.Compare(b.Created), cmp.Compare(a.UID, b.UID)); n != 0 {
		return n
	}
	return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) // maps are printed in order
}

// ownNode is our Node, nil if there is none yet.
func ownNode(self Self, nodes []Node) *Node {
	var own *Node
	for i := range nodes {
		if nodes[i].Name == self.Node && (own == nil || compareNodes(nodes[i], *own) < 0) {
			own = &nodes[i]
		}
	}
	return own
}

// writeOwners writes the owner's word into the ledger: the fragments, and what this node is and holds itself.
// A default route is left out: it is there to be overruled by everything that is narrower.
func (j *judge) writeOwners(own *Node, static []wgquick.Peer) {
	l, self := &j.ledger, j.self
	l.us = wgquick.Origin{Kind: KindNode, Name: self.Node}.String()
	j.budget.all.prefixes = len(self.HubAllowedIPs)
	for _, peer := range static {
		j.budget.all.peers++
		j.budget.all.prefixes += len(peer.AllowedIPs)
		l.keys[peer.PublicKey] = peer.Origin.String()
		for _, p := range peer.AllowedIPs {
			if p.Bits() > 0 {
				put(&l.alone, p, peer.Origin.String())
			}
		}
		if e, ok := peer.Endpoint.AddrPort(); ok {
			put(&l.endpoints, host(e.Addr()), peer.Origin.String())
		}
	}

	addrs := []netip.Addr{self.Endpoint.Addr(), self.VPCIP}
	if own != nil {
		addrs = slices.Concat(addrs, own.InternalIPs, own.ExternalIPs)
	}
	for _, a := range addrs {
		in := func(p netip.Prefix) bool { return p.Addr() == a.Unmap() } // a kubelet may have it as node IP
		if a.IsValid() && !slices.ContainsFunc(self.Address, in) {
			l.ours = append(l.ours, a.Unmap())
		}
	}
	for _, p := range self.Address {
		put(&l.alone, host(p.Addr()), l.us)
		l.connected = append(l.connected, p.Masked())
		for _, q := range self.AllowedIPs {
			underlay := q.Bits() == 0 || slices.ContainsFunc(l.ours, q.Contains)
			if !underlay && q.Contains(p.Addr()) {
				l.connected = append(l.connected, q.Masked())
			}
		}
	}
	var routed []netip.Prefix
	if own != nil {
		routed = slices.Clone(own.PodCIDRs)
	}
	if self.Role != Hub { // what a hub advertises is what its spokes claim
		routed = append(routed, self.AllowedIPs...)
	}
	for _, p := range routed {
		if p.Bits() > 0 {
			put(&l.alone, p.Masked(), l.us)
		}
	}
	for _, p := range self.HubAllowedIPs {
		if p.Bits() > 0 {
			put(&l.shared, p.Masked(), "the hub by our own flag")
		}
	}
}

// callers is from where each key calls.
func callers(met []Met) map[wgquick.PublicKey]netip.Addr {
	from := make(map[wgquick.PublicKey]netip.Addr, len(met))
	for _, m := range met {
		if m.Origin == (wgquick.Origin{}) { // else its key may be another's by now
			from[m.PublicKey] = m.Addr.Unmap()
		}
	}
	return from
}

// called is from where each object called last, with whichever key.
func called(met []Met) map[wgquick.Origin]netip.Addr {
	from := make(map[wgquick.Origin]netip.Addr, len(met))
	for _, m := range met {
		if m.Origin != (wgquick.Origin{}) {
			from[m.Origin] = m.Addr.Unmap()
		}
	}
	return from
}

// writeMet notes from where those call that want to be peers, or are. Of several behind one address the first of them
// by precedence and name.
func (j *judge) writeMet(candidates []*candidate, peers []wgquick.Peer) {
	if len(j.callers)+len(j.called) == 0 {
		return
	}
	write := func(k wgquick.PublicKey, o wgquick.Origin) {
		a, ok := j.callers[k]
		if !ok {
			a, ok = j.called[o]
		}
		if !ok {
			return
		}
		j.met.Modify(host(a), func(old wgquick.Origin, ok bool) (wgquick.Origin, bool) {
			if ok && cmp.Or(cmp.Compare(rank(old.Kind), rank(o.Kind)), cmp.Compare(old.String(), o.String())) <= 0 {
				return old, false
			}
			return o, false
		})
	}
	for _, c := range candidates {
		write(c.wantKey, c.origin)
	}
	for _, peer := range peers {
		write(peer.PublicKey, peer.Origin)
	}
}

// writeHub notes where a hub is: its machine, and what it names of its own beside its range. What we advertise as well
// is a host that several hubs lead to.
func (j *judge) writeHub(n *Node, s *said) {
	who := wgquick.Origin{Kind: KindNode, Name: n.Name}.String()
	for _, a := range append(slices.Concat(n.InternalIPs, n.ExternalIPs), s.endpoint.value.Addr()) {
		if a.IsValid() {
			put(&j.ledger.hubs, host(a.Unmap()), who)
		}
	}
	var ranges bart.Lite
	for _, r := range s.allowedIPs {
		if r.err == nil && !r.value.IsSingleIP() {
			ranges.Insert(r.value)
		}
	}
	for _, r := range s.allowedIPs {
		if r.err == nil && r.value.IsSingleIP() && ranges.Contains(r.value.Addr()) && !slices.Contains(j.self.AllowedIPs, r.value) {
			put(&j.ledger.hubs, r.value, who)
		}
	}
}

// shareOut gives each range to one of the hubs that were granted it. What our own flags send to the hub goes to the
// first whole. A hub that is left with nothing stays a peer: it keeps its session and is ready to take over.
// What a kept peer has is not shared out.
func (j *judge) shareOut(hubs []*candidate, kept, static []wgquick.Peer) {
	byFailover(hubs)
	given := make(map[netip.Prefix]bool)
	for _, peer := range kept {
		for _, p := range peer.AllowedIPs {
			given[p] = true
		}
	}
	for _, h := range hubs {
		h.prefixes = slices.DeleteFunc(h.prefixes, func(p netip.Prefix) bool { return given[p] })
		for _, p := range h.prefixes {
			given[p] = true
		}
	}
	if len(hubs) == 0 || len(j.self.HubAllowedIPs) == 0 {
		return
	}
	fixed := make(map[netip.Prefix]string)
	for _, peer := range static {
		for _, p := range peer.AllowedIPs {
			fixed[p] = peer.Origin.String()
		}
	}
	for _, p := range j.self.HubAllowedIPs {
		p = p.Masked()
		if by := fixed[p]; by != "" {
			j.reject(hubs[0], Held, "hub-allowed-ips", p.String(), "held by "+by)
		} else if !given[p] {
			given[p] = true
			hubs[0].prefixes = append(hubs[0].prefixes, p)
		}
	}
}

// peer is what c was granted.
func (c *candidate) peer(self Self) wgquick.Peer {
	p := wgquick.Peer{Origin: c.origin, Hub: c.relation == asHub, PublicKey: c.key, PresharedKey: c.presharedKey}
	if c.last != nil && (c.lastGoodKey || c.key != c.wantKey) {
		p.PresharedKey = c.last.PresharedKey // the two go together
	}
	if len(c.prefixes) > 0 {
		p.AllowedIPs = slices.Clone(c.prefixes)
		slices.SortFunc(p.AllowedIPs, netip.Prefix.Compare)
	}
	if c.endpoint.IsValid() {
		p.Endpoint = wgquick.EndpointOf(c.endpoint)
		p.PersistentKeepalive = self.Keepalive
	}
	if c.keepalive != nil {
		p.PersistentKeepalive = *c.keepalive
	}
	return p
}

func byOrigin(a, b wgquick.Peer) int {
	return cmp.Or(
		cmp.Compare(a.Origin.Name, b.Origin.Name),
		cmp.Compare(a.Origin.Kind, b.Origin.Kind),
		bytes.Compare(a.PublicKey[:], b.PublicKey[:]))
}
