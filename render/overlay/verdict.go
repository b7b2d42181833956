package overlay

import (
	"cmp"

	"wg-kube/templates/wgquick"
)

// Verdict is what became of what one object of the API says.
type Verdict struct {
	Origin     wgquick.Origin
	Generation int64       // of the object that was judged; zero: it has none
	Granted    bool        // it is a peer
	Unreadable bool        // the object is not of the form of its kind
	Rejections []Rejection // in order
}

// Verdicts are those over every Peer of s, and over the Nodes that were refused something, from what Build made of s.
func Verdicts(s Snapshot, c *wgquick.Config, rs []Rejection) []Verdict {
	granted := make(map[wgquick.Origin]bool, len(c.Peers))
	for _, p := range c.Peers {
		granted[p.Origin] = true
	}
	refused := make(map[wgquick.Origin][]Rejection)
	for _, r := range rs {
		refused[r.Origin] = append(refused[r.Origin], r)
	}
	var vs []Verdict
	for _, n := range s.Nodes {
		o := wgquick.Origin{Kind: KindNode, Name: n.Name, UID: n.UID}
		if refused[o] != nil {
			vs = append(vs, Verdict{Origin: o, Granted: granted[o], Rejections: refused[o]})
		}
	}
	for _, p := range s.Peers {
		o := p.origin()
		vs = append(vs, Verdict{
			Origin: o, Generation: p.Generation, Granted: granted[o], Unreadable: p.Err != nil, Rejections: refused[o],
		})
	}
	return vs
}

// Turn is how many come before this node of those that hear the same claims: the hubs, or the nodes of a mesh. What
// one of them has said to whoever made a claim the others need not say again.
func Turn(self Self, s Snapshot, p Policy) (before int) {
	t := newTopology(self, ownNode(self, s.Nodes), p.Prefix)
	own := Node{Name: self.Node}
	if n := ownNode(self, s.Nodes); n != nil {
		own = *n
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		equal := t.hub(n) || self.Role != Hub && t.peer(n)
		if n.Name != own.Name && equal && compareTurns(*n, own) < 0 {
			before++
		}
	}
	return before
}

// compareTurns: whoever is not Ready may not be there at all.
func compareTurns(a, b Node) int {
	if a.Ready != b.Ready {
		if a.Ready {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.Name, b.Name)
}
