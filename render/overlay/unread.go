package overlay

import (
	"net/netip"
	"slices"

	"wg-kube/templates/wgquick"
)

// unreadPeers are the peers in last of what cannot be read: the first of each, in the order of the file.
func unreadPeers(self Self, s Snapshot, last []wgquick.Peer) []wgquick.Peer {
	if len(s.Unread) == 0 && !slices.ContainsFunc(s.Peers, func(p Peer) bool { return p.Err != nil }) {
		return nil // nearly always
	}
	unread := make(map[string]bool, len(s.Unread))
	for _, who := range s.Unread {
		unread[who] = true
	}
	node := func(name string) string { return wgquick.Origin{Kind: KindNode, Name: name}.String() }
	unread[node(self.Node)] = false
	for _, n := range s.Nodes {
		unread[node(n.Name)] = false
	}
	broken := make(map[wgquick.Origin]bool) // which are there: another of the same name has no right to what they have
	for _, p := range s.Peers {
		unread[p.origin().String()] = false
		broken[p.origin()] = broken[p.origin()] || p.Err != nil
	}
	var peers []wgquick.Peer
	for _, peer := range last {
		if who := peer.Origin.String(); peer.Origin.Kind != KindFragment && (unread[who] || broken[peer.Origin]) {
			unread[who], broken[peer.Origin] = false, false
			peers = append(peers, peer)
		}
	}
	slices.SortStableFunc(peers, byOrigin)
	return peers
}

// keep grants what cannot be read what it has, before anybody else is heard. Only the owner's word, as
// it is now, takes something from them.
//
// What such a Node is to a spoke nobody knows until it can be read again. Each is taken for a hub, whose range may
// cover what others claim: better that than to refuse every neighbour inside the range of a hub.
func (j *judge) keep(unread, static []wgquick.Peer) (kept []wgquick.Peer) {
	r := asHub
	switch j.self.Role {
	case Hub:
		r = asSpoke
	case Mesh:
		r = mate
	}
	given := make(map[netip.Prefix]bool)
	for _, peer := range static {
		for _, p := range peer.AllowedIPs {
			given[p] = true
		}
	}
	type peer struct {
		*candidate
		wasHub bool
	}
	var stay []peer
	for _, was := range unread {
		k := was.PublicKey
		if k.IsZero() || k == j.self.PublicKey || j.ledger.keys[k] != "" {
			continue
		}
		c := &candidate{origin: was.Origin, who: was.Origin.String(), relation: r}
		if was.Origin.Kind != KindNode {
			c.relation, c.presharedKey, c.keepalive = asSpoke, was.PresharedKey, &was.PersistentKeepalive
		}
		if j.budget.against(c.origin.Kind, c.amount()) != "" {
			continue
		}
		for _, p := range was.AllowedIPs {
			if !given[p] && j.keepPrefix(c, p) {
				given[p] = true
			}
		}
		if c.relation != asHub && len(c.prefixes) == 0 && len(was.AllowedIPs) > 0 {
			continue
		}
		j.grantKey(c, k)
		c.wantEndpoint, _ = was.Endpoint.AddrPort()
		stay = append(stay, peer{c, was.Hub})
	}
	// An endpoint may have come to lie in what another has, who is taken for a hub: so that is there first.
	for _, p := range stay {
		c := p.candidate
		if a := c.wantEndpoint.Addr(); a.IsValid() && neverEndpoint(a) == "" && j.againstEndpoint(c) == "" {
			j.grantEndpoint(c)
		}
		is := c.peer(j.self)
		is.Hub = p.wasHub // to be taken for a hub makes it none
		kept = append(kept, is)
		j.wait(c, "", "it cannot be read; what it had stays")
	}
	return kept
}

// keepPrefix leaves p to c, unless that is against the owner's word.
func (j *judge) keepPrefix(c *candidate, p netip.Prefix) bool {
	flag := func(q netip.Prefix) bool { return q.Masked() == p }
	switch {
	case c.relation == asHub && slices.ContainsFunc(j.self.HubAllowedIPs, flag):
		c.prefixes = append(c.prefixes, p) // which the ledger has from the flag
		return true
	case neverGranted(p, c.origin.Kind) != "", c.relation != asHub && j.policy.neverAlone(p, c.origin.Kind) != "", j.against(c, p, false) != "", j.tooMuch(c, p) != "":
		return false
	}
	j.grant(c, p)
	return true
}
