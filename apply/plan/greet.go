package plan

import "slices"

// greet calls the peers that were talking when their sessions went, with the old link or because somebody set it
// down. By themselves they would go on talking to nobody for 15 seconds. A peer with a keepalive is called by the
// device itself when it comes up; one that was idle is left alone, and of one without an endpoint we have to be found.
func (d *differ) greet() (s []Step) {
	if d.live.Up {
		return nil
	}
	live := sorted(d.live.Peers)
	for _, w := range sorted(d.want.Peers) {
		talking, at := w.Talking, w.Endpoint
		if i, ok := slices.BinarySearchFunc(live, &w, func(p Peer, w *Peer) int { return comparePeers(&p, w) }); ok {
			talking = live[i].Talked(d.live.Now)
			if !at.IsValid() {
				at = live[i].Endpoint
			}
		}
		if talking && at.IsValid() && w.Keepalive == 0 {
			s = append(s, Greet{d.iface, w.Name, w.PublicKey})
		}
	}
	return s
}
