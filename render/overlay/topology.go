package overlay

import (
	"cmp"
	"slices"
)

// relation is what another Node is to this one.
type relation int

const (
	stranger  relation = iota // no peer
	asHub                     // its range may cover the claims of others, and the API server
	asSpoke                   // it calls us, or waits at its endpoint; its claim is its own alone
	neighbour                 // a spoke of our site, met at its vpc-ip; its claim is its own alone
	mate                      // of the mesh, met at its endpoint; it routes its podCIDRs, and its claim is its own alone
)

// topology says who peers with whom.
type topology struct {
	self      Self
	hubLabel  string
	peerLabel string
	siteLabel string
	site      string // of this node; empty: none
}

// newTopology finds our site. own is our Node, nil as long as there is none.
func newTopology(self Self, own *Node, prefix string) topology {
	t := topology{self: self, hubLabel: prefix + LabelHub, peerLabel: prefix + LabelPeer, siteLabel: prefix + LabelSite, site: self.Site}
	if t.site == "" && own != nil {
		t.site = own.Labels[t.siteLabel]
	}
	return t
}

// relation of n to this node.
//
//	we are   n has the label   n is
//	hub      peer              a spoke
//	spoke    hub               a hub, whatever else it is
//	spoke    peer, our site    a neighbour
//	mesh     peer or hub       a mate
func (t *topology) relation(n *Node) relation {
	switch {
	case n.Name == t.self.Node:
		return stranger
	case t.self.Role == Hub:
		if t.peer(n) {
			return asSpoke
		}
		return stranger
	case t.self.Role == Mesh:
		if t.peer(n) || t.hub(n) {
			return mate
		}
		return stranger
	case t.hub(n):
		return asHub
	case t.peer(n) && t.site != "" && n.Labels[t.siteLabel] == t.site:
		return neighbour
	}
	return stranger
}

func (t *topology) hub(n *Node) bool  { return n.Labels[t.hubLabel] == "true" }
func (t *topology) peer(n *Node) bool { return n.Labels[t.peerLabel] == "true" }

// byFailover orders hubs: what more than one advertises goes to the first of them.
func byFailover(hubs []*candidate) {
	slices.SortFunc(hubs, func(a, b *candidate) int {
		if a.node.Ready != b.node.Ready {
			if a.node.Ready {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.node.Name, b.node.Name)
	})
}
