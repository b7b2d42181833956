package overlay

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"wg-kube/templates/wgquick"
)

// Who may claim what. In the order of precedence:
//
//  1. The owner: the flags and the fragments. Not judged, written down first.
//  2. In a mesh, podCIDRs: the cluster hands them out. Between two of them, as below.
//  3. Incumbents: what an object has in the last proposal and still claims.
//  4. Everything else, by object: those in the last proposal; then hubs; then Nodes, WireGuardPeers, Secrets; then the
//     older, then by name.
//
// Nothing that was granted is taken back for the sake of a later claim. So what one object asks for never changes what
// another holds, and judging twice changes nothing. The exceptions are what the owner says now and did not before, and a
// podCIDR: whoever claims the place of a Node that is yet to come does not keep it.
//
// Of several hubs that claim one range each is granted it; which of them gets it is failover, not precedence.

// never is what no object of the API is granted, whole or in part, and where no endpoint is.
var never = [...]struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved, broadcast"},
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4-mapped"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// A default route can be split into halves, or into any number of parts. So what is wider than this is refused; how
// many parts there may be is for the budget.
const (
	widest4 = 8  // bits, IPv4
	widest6 = 16 // bits, IPv6
)

// neverGranted is why no object of the kind is granted p, "" if one may be.
func neverGranted(p netip.Prefix, kind string) string {
	widest := widest6
	if p.Addr().Is4() {
		widest = widest4
	}
	switch {
	case p.Bits() == 0:
		return "a default route is not granted to a " + kind
	case p.Bits() < widest:
		return fmt.Sprintf("wider than /%d: a split of a default route is not granted to a %s", widest, kind)
	}
	for _, n := range never {
		if n.prefix.Overlaps(p) {
			return fmt.Sprintf("overlaps %s (%s)", n.prefix, n.what)
		}
	}
	return ""
}

// neverEndpoint is why nobody is reached at a, "" if one may be.
func neverEndpoint(a netip.Addr) string {
	for _, n := range never {
		if n.prefix.Contains(a) {
			return fmt.Sprintf("lies inside %s (%s)", n.prefix, n.what)
		}
	}
	return ""
}

// neverAlone is why the policy grants p to none of the kind that is no hub, "" if it may be granted.
func (p Policy) neverAlone(claimed netip.Prefix, kind string) string {
	for _, a := range p.APIServer {
		if claimed.Contains(a.Unmap()) {
			return fmt.Sprintf("covers the API server %s", a)
		}
	}
	may := p.PeerCIDRs[kind]
	if len(may) > 0 && !slices.ContainsFunc(may, func(q netip.Prefix) bool { return inside(claimed, q) }) {
		return "lies outside of what peers may claim"
	}
	return ""
}

// inside reports whether all of p is in q.
func inside(p, q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) }

// pinned reports whether a Node of this name may be a hub of ours.
func (p Policy) pinned(name string) bool { return len(p.Hubs) == 0 || slices.Contains(p.Hubs, name) }

// neverKey is why the policy gives k to none in this relation, "" if it may be theirs.
func (p Policy) neverKey(r relation, k wgquick.PublicKey) string {
	switch pinned := slices.Contains(p.HubKeys, k); {
	case r == asHub && len(p.HubKeys) > 0 && !pinned:
		return "none of those that --hub-public-key names"
	case r != asHub && pinned:
		return "a hub's: --hub-public-key names it"
	}
	return ""
}

// judge decides over the claims of one Build.
type judge struct {
	builder    *Builder
	self       Self
	policy     Policy
	ledger     ledger
	callers    map[wgquick.PublicKey]netip.Addr
	called     map[wgquick.Origin]netip.Addr
	met        bart.Table[wgquick.Origin] // who calls from there: what the device has seen, so it evicts nobody
	budget     budget
	ranges     map[netip.Prefix]bool // of the hubs in the last proposal: failover moves them between hubs
	held       amount                // in a mesh, by the owner and in the last proposal: what is left is for new podCIDRs
	rejections []Rejection
	lost       bool // an incumbent is no peer any more
}

// reject notes what one object is not granted, whatever others claim.
func (j *judge) reject(c *candidate, cause Cause, field, value, reason string) {
	j.rejections = append(j.rejections, Rejection{Origin: c.origin, Cause: cause, Field: field, Value: value, Reason: reason})
}

func (j *judge) wait(c *candidate, field, reason string) {
	j.rejections = append(j.rejections, Rejection{Origin: c.origin, Field: field, Reason: reason, Waiting: true})
}

// against is why c cannot have p beside what is in the ledger, "" if it can.
func (j *judge) against(c *candidate, p netip.Prefix, fresh bool) string {
	if c.relation == asHub {
		return j.ledger.againstShared(p, c.who)
	}
	if why := j.ledger.againstAlone(p, c.who, fresh); why != "" || !fresh {
		return why
	}
	for q, by := range j.met.Subnets(p) {
		if by == c.origin {
			return fmt.Sprintf("covers %s, from where it calls itself", q.Addr())
		}
		if rank(by.Kind) <= rank(c.origin.Kind) { // a peer calls from where it likes: no tenant keeps a Node out by that
			return fmt.Sprintf("covers %s, from where %s calls", q.Addr(), by)
		}
	}
	return ""
}

// againstEndpoint is the same for the endpoint. That of a hub may be inside of what our own flags send to it.
func (j *judge) againstEndpoint(c *candidate) string {
	owners := c.relation == asHub && len(j.self.HubAllowedIPs) > 0
	return j.ledger.againstEndpoint(c.wantEndpoint.Addr(), !owners)
}

// tooMuch is why c cannot have p beside what it has, and what all have, "" if it can.
func (j *judge) tooMuch(c *candidate, p netip.Prefix) string {
	if why := j.budget.againstOne(c.origin.Kind, c.granted.plus(amountOf(p))); why != "" {
		return why
	}
	return j.budget.against(c.origin.Kind, j.price(c, p))
}

// price is what p costs all. It stands in the file once, however many hubs are granted it.
func (j *judge) price(c *candidate, p netip.Prefix) amount {
	if _, ok := j.ledger.shared.Get(p); ok && c.relation == asHub {
		return amount{}
	}
	return amountOf(p)
}

// seatKey writes down the key of c for as long as it has not got another.
func (j *judge) seatKey(c *candidate) {
	if c.last == nil {
		return
	}
	if k := c.last.PublicKey; j.ledger.keys[k] == "" && !k.IsZero() && k != j.self.PublicKey && j.budget.against(c.origin.Kind, c.amount()) == "" {
		j.grantKey(c, k)
	}
}

// seatPods writes down the podCIDRs of those mates that have a key, so will be peers: first those that are held. No new
// one covers a machine that is met already: its packets would go to somebody else. Nor does one take from others what
// is not in its way: beside all that they have there must be room for it.
func (j *judge) seatPods(candidates []*candidate) {
	for _, held := range [...]bool{true, false} {
		for _, c := range candidates {
			if a := c.wantEndpoint.Addr(); !held && c.relation == mate && c.isMachine(a) && c.holdsEndpoint(a) && j.againstEndpoint(c) == "" {
				j.grantEndpoint(c)
			}
		}
		for _, c := range candidates {
			for _, p := range c.wantPrefixes {
				if c.fieldOf(p) != FieldPodCIDRs || c.holdsPrefix(p) != held || j.against(c, p, !held) != "" || j.tooMuch(c, p) != "" {
					continue
				}
				a := amountOf(p)
				if !held && !j.budget.roomFor(a, j.held) || !j.takeKey(c) {
					continue
				}
				j.grant(c, p)
				if !held {
					j.held = j.held.plus(a)
				}
			}
		}
	}
}

// seat writes down what else c holds and still wants.
func (j *judge) seat(c *candidate) {
	if c.last == nil {
		return
	}
	for _, p := range c.wantPrefixes {
		held := c.holdsPrefix(p) || c.relation == asHub && j.ranges[p]
		if held && !slices.Contains(c.prefixes, p) && j.against(c, p, false) == "" && j.tooMuch(c, p) == "" {
			j.grant(c, p)
		}
	}
	if a := c.wantEndpoint.Addr(); a.IsValid() && !c.endpoint.IsValid() && c.holdsEndpoint(a) && j.againstEndpoint(c) == "" {
		j.grantEndpoint(c)
	}
}

// admit grants what else c wants. It is false if that does not make a peer: then c has nothing of what is new.
func (j *judge) admit(c *candidate) bool {
	if !j.takeKey(c) {
		return false
	}
	open := c.wantEndpoint.IsValid() && !c.endpoint.IsValid()
	reached := !open || j.againstEndpoint(c) == ""
	if reached || c.relation != neighbour {
		for _, p := range c.wantPrefixes {
			if !slices.Contains(c.prefixes, p) && j.against(c, p, true) == "" && j.tooMuch(c, p) == "" {
				j.grant(c, p)
			}
		}
	}
	if !c.mayBeBare() && len(c.prefixes) == 0 || c.relation == neighbour && !reached {
		j.releaseKey(c)
		return false
	}
	if open && reached {
		j.grantEndpoint(c)
	}
	return true
}

// takeKey gives c the key it wants, else leaves it the one it has. It is false if that is none.
func (j *judge) takeKey(c *candidate) bool {
	if c.key == c.wantKey {
		return true
	}
	if c.keyHeld = j.ledger.keys[c.wantKey] != ""; !c.keyHeld && (!c.key.IsZero() || j.budget.against(c.origin.Kind, c.amount()) == "") {
		j.releaseKey(c)
		j.grantKey(c, c.wantKey)
	}
	return !c.key.IsZero()
}

// grantKey makes c one of the peers.
func (j *judge) grantKey(c *candidate, k wgquick.PublicKey) {
	c.key = k
	j.ledger.keys[k] = c.who
	j.budget.spend(c.origin.Kind, c.amount())
}

func (j *judge) releaseKey(c *candidate) {
	if !c.key.IsZero() {
		delete(j.ledger.keys, c.key)
		j.budget.spend(c.origin.Kind, c.amount().negative())
	}
}

func (j *judge) grant(c *candidate, p netip.Prefix) {
	c.granted = c.granted.plus(amountOf(p))
	j.budget.spend(c.origin.Kind, j.price(c, p))
	c.prefixes = append(c.prefixes, p)
	if c.relation == asHub {
		put(&j.ledger.shared, p, c.who)
	} else {
		put(&j.ledger.alone, p, c.who)
	}
}

func (j *judge) grantEndpoint(c *candidate) {
	c.endpoint = c.wantEndpoint
	put(&j.ledger.endpoints, host(c.endpoint.Addr()), c.who)
}

// explain says why c did not get all it wants, now that everyone has what they got.
func (j *judge) explain(c *candidate) {
	by := j.ledger.keys[c.wantKey]
	if by != c.who && by != "" && !c.lastGoodKey {
		j.reject(c, Held, c.said.words.publicKey, c.wantKey.String(), "held by "+by)
	}
	if why := j.budget.against(c.origin.Kind, c.amount()); why != "" && by == "" {
		j.reject(c, TooMuch, "", "", why)
	}
	var refused []Rejection
	var beyond map[string][]netip.Prefix // by the reason, which is told with the first of them
	for _, p := range c.wantPrefixes {
		if slices.Contains(c.prefixes, p) || c.lastGoodPrefixes[p] {
			continue
		}
		if why := j.against(c, p, true); why != "" {
			refused = append(refused, Rejection{Origin: c.origin, Cause: Held, Field: c.fieldOf(p), Value: p.String(), Reason: why})
		} else if why := j.tooMuch(c, p); why != "" {
			if beyond == nil {
				beyond = make(map[string][]netip.Prefix)
			}
			beyond[why] = append(beyond[why], p)
		}
	}
	j.rejections = append(j.rejections, fewer(refused)...)
	for why, ps := range beyond {
		if n := len(ps) - 1; n > 0 {
			why += fmt.Sprintf("; and %d more", n)
		}
		j.reject(c, TooMuch, c.fieldOf(ps[0]), ps[0].String(), why)
	}
	if c.wantEndpoint.IsValid() && !c.endpoint.IsValid() {
		if why := j.againstEndpoint(c); why != "" {
			j.rejectEndpoint(c, Loop, why)
		}
	}
}

// byPrecedence orders newcomers and those who want more.
func byPrecedence(a, b *candidate) int {
	if (a.last != nil) != (b.last != nil) {
		if a.last != nil {
			return -1
		}
		return 1
	}
	if (a.relation == asHub) != (b.relation == asHub) { // what a hub has of its own is no neighbour's
		if a.relation == asHub {
			return -1
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(rank(a.origin.Kind), rank(b.origin.Kind)),
		a.node.Created.Compare(b.node.Created),
		cmp.Compare(a.node.Name, b.node.Name))
}

// rank of a kind: what comes first has the say over what comes later.
func rank(kind string) int {
	return slices.Index([]string{KindNode, KindWireGuardPeer, KindSecret}, kind)
}
