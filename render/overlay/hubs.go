package overlay

import "wg-kube/templates/wgquick"

// hearHub judges what a hub says of itself, this one or another: not beside what others claim, since it is no peer
// here, but for its form. Its spokes do so as well, and tell nobody.
func (j *judge) hearHub(n *Node, s *said) {
	c := &candidate{
		node:     n,
		said:     s,
		origin:   wgquick.Origin{Kind: KindNode, Name: n.Name, UID: n.UID},
		relation: asHub,
	}
	var alone judge
	if n.Name != j.self.Node {
		alone.self.PublicKey = j.self.PublicKey
	}
	alone.hearKey(c)
	alone.hearEndpoint(c)
	alone.hearPrefixes(c)
	for _, r := range alone.rejections {
		if !r.Waiting { // it does not keep us waiting
			j.rejections = append(j.rejections, r)
		}
	}
}
