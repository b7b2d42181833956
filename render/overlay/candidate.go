package overlay

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"wg-kube/templates/wgquick"
)

// candidate is an object that can become a peer: what it wants, as far as that can be granted to anyone, and what it
// got.
type candidate struct {
	node     *Node // of another object its name, uid and age alone
	said     *said
	origin   wgquick.Origin
	who      string // origin, for the ledger and for messages
	relation relation
	last     *wgquick.Peer       // in the last proposal; nil: a newcomer
	machine  map[netip.Addr]bool // see isMachine; nil: nobody has asked

	wantKey      wgquick.PublicKey
	wantPrefixes []netip.Prefix // sorted
	wantEndpoint netip.AddrPort // zero: none
	presharedKey wgquick.SecretKey
	keepalive    *uint16 // seconds; nil: ours, towards a peer with an endpoint

	// What is wanted because it is the last good one, not because it is said now: should it not be granted any more,
	// that is no news beside the refusal of what is said.
	lastGoodKey      bool
	lastGoodEndpoint bool
	lostEndpoint     bool // it was refused by itself
	lastGoodPrefixes map[netip.Prefix]bool

	met      bool // at what it claims
	admitted bool
	key      wgquick.PublicKey
	keyHeld  bool // by another, when c wanted it
	prefixes []netip.Prefix
	granted  amount // prefixes
	endpoint netip.AddrPort
}

func (c *candidate) holdsPrefix(p netip.Prefix) bool {
	return c.last != nil && slices.Contains(c.last.AllowedIPs, p)
}

func (c *candidate) holdsEndpoint(a netip.Addr) bool {
	held, ok := c.lastEndpoint()
	return ok && held.Addr() == a
}

// isMachine reports whether a is an address of c's own machine. A kubelet may say that it has thousands.
func (c *candidate) isMachine(a netip.Addr) bool {
	if c.machine == nil {
		c.machine = make(map[netip.Addr]bool, len(c.node.InternalIPs)+len(c.node.ExternalIPs))
		for _, own := range slices.Concat(c.node.InternalIPs, c.node.ExternalIPs) {
			c.machine[own.Unmap()] = true
		}
	}
	return c.machine[a]
}

func (c *candidate) lastEndpoint() (netip.AddrPort, bool) {
	if c.last == nil {
		return netip.AddrPort{}, false
	}
	return c.last.Endpoint.AddrPort()
}

// lostLastGood reports whether c was not granted something that it wanted because it had it.
func (c *candidate) lostLastGood() bool {
	return c.lostEndpoint || c.lastGoodEndpoint && c.wantEndpoint != c.endpoint ||
		slices.ContainsFunc(c.wantPrefixes, func(p netip.Prefix) bool { return c.lastGoodPrefixes[p] && !slices.Contains(c.prefixes, p) })
}

// hear turns what c says into what it wants, and judges that by itself. It is false if c cannot be a peer. Whoever is
// wrong in several places is told of each.
func (j *judge) hear(c *candidate) bool {
	if !j.hearLabel(c) {
		return false
	}
	j.hearKeepalive(c)
	key, preshared, endpoint := j.hearKey(c), j.hearPreshared(c), j.hearEndpoint(c)
	return j.hearPrefixes(c) && key && preshared && endpoint
}

// hearLabel: a kubelet may call its own Node a hub, so our own flags may name those that are.
func (j *judge) hearLabel(c *candidate) bool {
	if c.relation == asHub && !j.policy.pinned(c.node.Name) {
		j.reject(c, Excluded, LabelHub, "", "none of those that --hub names")
		return false
	}
	return true
}

// hearKey: a key that cannot be had leaves the last good one in its place.
func (j *judge) hearKey(c *candidate) bool {
	if c.said.publicKey.raw == "" && c.origin.Kind == KindNode {
		j.wait(c, AnnotationPublicKey, "not set yet")
		return false
	}
	err, k := c.said.publicKey.err, c.said.publicKey.value
	switch {
	case err != nil:
		j.reject(c, Malformed, c.said.words.publicKey, c.said.publicKey.raw, err.Error())
	case k.IsZero():
		j.reject(c, Never, c.said.words.publicKey, c.said.publicKey.raw, "the zero key belongs to nobody")
	case k == j.self.PublicKey:
		j.reject(c, Held, c.said.words.publicKey, c.said.publicKey.raw, "held by the node that says this")
	case j.policy.neverKey(c.relation, k) != "":
		j.reject(c, Excluded, c.said.words.publicKey, c.said.publicKey.raw, j.policy.neverKey(c.relation, k))
	default:
		c.wantKey = k
		return true
	}
	if c.last == nil || c.last.PublicKey.IsZero() || c.last.PublicKey == j.self.PublicKey ||
		j.policy.neverKey(c.relation, c.last.PublicKey) != "" {
		return false
	}
	c.wantKey, c.lastGoodKey = c.last.PublicKey, true
	return true
}

func (j *judge) hearEndpoint(c *candidate) bool {
	if c.said.endpoint.err != nil {
		j.reject(c, Malformed, c.said.words.endpoint, c.said.endpoint.raw, c.said.endpoint.err.Error())
	}
	if c.relation == neighbour {
		return j.hearVPCIP(c)
	}
	if c.relation == asSpoke { // it is for the others of its site, who tell nobody
		j.checkVPCIP(c)
	}
	c.wantEndpoint = c.said.endpoint.value
	if c.said.endpoint.err != nil {
		c.wantEndpoint, _ = c.lastEndpoint()
		c.lastGoodEndpoint = true
	}
	if !c.wantEndpoint.IsValid() {
		return true
	}
	if why := neverEndpoint(c.wantEndpoint.Addr()); why != "" {
		j.rejectEndpoint(c, Never, why)
		c.wantEndpoint = netip.AddrPort{}
	}
	return true
}

// hearVPCIP: a neighbour that cannot be reached is no peer. What it claims is reached through the hub.
func (j *judge) hearVPCIP(c *candidate) bool {
	last, _ := c.lastEndpoint()
	addr, port := c.said.vpcIP.value, cmp.Or(c.said.listenPort.value, c.said.endpoint.value.Port())
	switch {
	case c.said.vpcIP.raw == "":
		j.wait(c, AnnotationVPCIP, "not set yet")
		return false
	case c.said.vpcIP.err != nil:
		j.reject(c, Malformed, AnnotationVPCIP, c.said.vpcIP.raw, c.said.vpcIP.err.Error())
		addr, c.lastGoodEndpoint = last.Addr(), true
	}
	if c.said.listenPort.err != nil {
		j.reject(c, Malformed, AnnotationListenPort, c.said.listenPort.raw, c.said.listenPort.err.Error())
	}
	if c.said.listenPort.err != nil || c.said.listenPort.raw == "" && c.said.endpoint.err != nil {
		port = last.Port()
	}
	if !addr.IsValid() {
		return false
	}
	c.wantEndpoint = netip.AddrPortFrom(addr, cmp.Or(port, defaultPort))
	if why := neverEndpoint(addr); why != "" {
		j.rejectEndpoint(c, Never, why)
		c.wantEndpoint = netip.AddrPort{}
		return false
	}
	return true
}

// checkVPCIP judges what others will be told, by itself.
func (j *judge) checkVPCIP(c *candidate) {
	if c.said.vpcIP.err != nil {
		j.reject(c, Malformed, AnnotationVPCIP, c.said.vpcIP.raw, c.said.vpcIP.err.Error())
	} else if why := neverEndpoint(c.said.vpcIP.value); why != "" {
		j.reject(c, Never, AnnotationVPCIP, c.said.vpcIP.raw, why)
	}
	if c.said.listenPort.err != nil {
		j.reject(c, Malformed, AnnotationListenPort, c.said.listenPort.raw, c.said.listenPort.err.Error())
	}
}

// rejectEndpoint refuses wantEndpoint, in the words of the annotation that asked for it.
func (j *judge) rejectEndpoint(c *candidate, cause Cause, reason string) {
	switch {
	case c.lastGoodEndpoint:
		c.lostEndpoint = true
	case c.relation == neighbour:
		j.reject(c, cause, AnnotationVPCIP, c.wantEndpoint.Addr().String(), reason)
	default:
		j.reject(c, cause, c.said.words.endpoint, c.wantEndpoint.String(), reason)
	}
}

// hearPrefixes judges each prefix by itself.
func (j *judge) hearPrefixes(c *candidate) bool {
	switch {
	case c.relation == asHub && len(j.self.HubAllowedIPs) > 0:
		return true // what goes to a hub is the owner's word
	case c.said.allowedIPs != nil:
	case c.relation == asHub:
		j.wait(c, AnnotationAllowedIPs, "not set yet")
		return false
	case len(c.byDefault()) == 0:
		what := "InternalIP"
		if c.relation == mate {
			what = "podCIDR"
		}
		j.wait(c, AnnotationAllowedIPs, "not set, and the Node has no "+what+" yet")
		return false
	}
	claimed, refused := c.claims()
	for _, p := range claimed {
		switch cause, why := j.ruledOut(c, p); {
		case why == "":
			c.wantPrefixes = append(c.wantPrefixes, p)
		case !c.lastGoodPrefixes[p]:
			refused = append(refused, Rejection{Origin: c.origin, Cause: cause, Field: c.fieldOf(p), Value: p.String(), Reason: why})
		}
	}
	j.rejections = append(j.rejections, fewer(refused)...)
	j.ownLoop(c)
	return len(c.wantPrefixes) > 0 || c.mayBeBare()
}

// claims is what c claims, sorted, and what of that is malformed: as long as an element is, nothing is taken away.
func (c *candidate) claims() (claimed []netip.Prefix, malformed []Rejection) {
	for _, r := range c.said.allowedIPs {
		if r.err != nil {
			malformed = append(malformed, Rejection{Origin: c.origin, Cause: Malformed, Field: c.said.words.allowedIPs, Value: r.raw, Reason: r.err.Error()})
			continue
		}
		claimed = append(claimed, r.value)
	}
	if malformed != nil && c.last != nil {
		c.lastGoodPrefixes = make(map[netip.Prefix]bool)
		for _, p := range c.last.AllowedIPs {
			if !slices.Contains(claimed, p) {
				claimed = append(claimed, p)
				c.lastGoodPrefixes[p] = true
			}
		}
	}
	if c.said.allowedIPs == nil || c.relation == mate {
		claimed = append(claimed, c.byDefault()...)
	}
	slices.SortFunc(claimed, netip.Prefix.Compare)
	return slices.Compact(claimed), malformed
}

// ruledOut is why c cannot have p, whatever others hold, "" if it can.
func (j *judge) ruledOut(c *candidate, p netip.Prefix) (Cause, string) {
	if why := neverGranted(p, c.origin.Kind); why != "" {
		return Never, why
	}
	if why := j.policy.neverAlone(p, c.origin.Kind); why != "" && c.relation != asHub {
		return Excluded, why
	}
	switch {
	case swallows(c, p):
		return Loop, fmt.Sprintf("covers %s, where this %s is reached", c.wantEndpoint.Addr(), c.origin.Kind)
	case j.meets(c, p):
		return Loop, fmt.Sprintf("this is where the %s is met, outside of the tunnel: claim its address inside by %s",
			c.origin.Kind, c.said.words.allowedIPs)
	}
	return "", ""
}

// mayBeBare reports whether c is a peer without any prefix: a hub stands by; and if a spoke that is met at what it claims
// were no peer, it would not call any more, and so be granted that again.
func (c *candidate) mayBeBare() bool {
	return c.relation == asHub || c.met || c.wasBare()
}

func (c *candidate) wasBare() bool { return c.last != nil && len(c.last.AllowedIPs) == 0 }

// meets reports whether p is just the address at which we meet c, which is no hub: the tunnel's own packets would go into
// the tunnel. That is from where it calls, or else its endpoint. Who calls from elsewhere, or has p already, goes without
// the endpoint.
func (j *judge) meets(c *candidate, p netip.Prefix) bool {
	if c.relation == asHub || !p.IsSingleIP() {
		return false
	}
	is := false
	switch from, calls := j.callers[c.wantKey]; {
	case calls:
		is = from == p.Addr()
	case c.wantEndpoint.Addr() != p.Addr():
		inside := c.said.allowedIPs != nil && c.wantEndpoint.IsValid() // it says where it is met, and what else is its own
		is = c.wasBare() && !inside && c.isMachine(p.Addr())           // nobody has heard it since
	case !c.holdsPrefix(p):
		is = true
	default:
		if c.lastGoodPrefixes == nil {
			c.lastGoodPrefixes = make(map[netip.Prefix]bool)
		}
		c.lastGoodPrefixes[p] = true // once it is lost it is not asked for
	}
	c.met = c.met || is
	return is
}

// byDefault is what c claims without a word: its InternalIPs. A mate claims its podCIDRs as well, and whatever else it
// says; but not the InternalIP at which it is met.
func (c *candidate) byDefault() (claimed []netip.Prefix) {
	for _, a := range c.node.InternalIPs {
		if a = a.Unmap(); a.IsValid() && (c.relation != mate || a != c.wantEndpoint.Addr()) {
			claimed = append(claimed, host(a))
		}
	}
	if c.relation == mate {
		claimed = append(claimed, c.node.PodCIDRs...)
	}
	return claimed
}

// fieldOf is where c claims p.
func (c *candidate) fieldOf(p netip.Prefix) string {
	if c.relation == mate && slices.Contains(c.node.PodCIDRs, p) {
		return FieldPodCIDRs
	}
	return c.said.words.allowedIPs
}

// swallows reports whether p must go because c's own endpoint is inside. A hub, a neighbour and a mate are of no use
// without an endpoint, so it is the prefix that goes.
func swallows(c *candidate, p netip.Prefix) bool {
	a := c.wantEndpoint.Addr()
	return c.relation != asSpoke && a.IsValid() && p.Contains(a)
}

// ownLoop refuses an endpoint inside what its own Node claims. A spoke can do without one: it calls.
func (j *judge) ownLoop(c *candidate) {
	a := c.wantEndpoint.Addr()
	i := slices.IndexFunc(c.wantPrefixes, func(p netip.Prefix) bool { return a.IsValid() && p.Contains(a) })
	if i < 0 {
		return
	}
	j.rejectEndpoint(c, Loop, fmt.Sprintf("lies inside %s, which this %s claims", c.wantPrefixes[i], c.origin.Kind))
	c.wantEndpoint = netip.AddrPort{}
}
