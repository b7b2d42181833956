package plan

import (
	"bytes"
	"net/netip"
	"slices"
	"time"
)

// sessionAge is how long a session is good for after its handshake (REJECT_AFTER_TIME).
// A peer whose handshake is younger is where its endpoint says.
const sessionAge = 180 * time.Second

type peerSteps struct{ gain, move, lose []Step }

// peers merges the two lists, which are in the order of the public keys.
func (d *differ) peers() (s peerSteps) {
	want, live := sorted(d.want.Peers), sorted(d.live.Peers)
	var drop, remove []Step
	for len(want) > 0 || len(live) > 0 {
		switch {
		case len(live) == 0 || len(want) > 0 && comparePeers(&want[0], &live[0]) < 0:
			s.gain = append(s.gain, d.addPeer(want[0]))
			want = want[1:]
		case len(want) == 0 || comparePeers(&want[0], &live[0]) > 0:
			remove = append(remove, RemovePeer{d.iface, live[0].Name, live[0].PublicKey})
			live = live[1:]
		default:
			w, l := &want[0], &live[0]
			want, live = want[1:], live[1:]
			if set, ok := d.setPeer(w, l); ok {
				s.gain = append(s.gain, set)
			}
			gained, lost := diffPrefixes(w.AllowedIPs, l.AllowedIPs)
			if len(gained) > 0 {
				s.move = append(s.move, AddPrefixes{d.iface, w.Name, w.PublicKey, gained})
			}
			if len(lost) > 0 {
				drop = append(drop, DropPrefixes{d.iface, w.Name, w.PublicKey, lost})
			}
		}
	}
	s.lose = append(d.nobodys(drop), remove...)
	return s
}

// nobodys takes out of the drops what another peer has got by then: it is gone from the first one already.
func (d *differ) nobodys(drop []Step) (left []Step) {
	if len(drop) == 0 {
		return nil
	}
	wanted := make(map[netip.Prefix]bool)
	for _, p := range d.want.Peers {
		for _, a := range p.AllowedIPs {
			wanted[a] = true
		}
	}
	for _, s := range drop {
		s := s.(DropPrefixes)
		s.Prefixes = slices.DeleteFunc(s.Prefixes, func(p netip.Prefix) bool { return wanted[p] })
		if len(s.Prefixes) > 0 {
			left = append(left, s)
		}
	}
	return left
}

func (d *differ) addPeer(w Peer) AddPeer {
	return AddPeer{
		Iface:        d.iface,
		Name:         w.Name,
		PublicKey:    w.PublicKey,
		PresharedKey: w.PresharedKey,
		Endpoint:     w.Endpoint,
		Keepalive:    w.Keepalive,
		AllowedIPs:   w.AllowedIPs,
	}
}

func (d *differ) setPeer(w, l *Peer) (set SetPeer, changed bool) {
	set = SetPeer{Iface: d.iface, Name: w.Name, PublicKey: w.PublicKey}
	unchanged := set
	if w.PresharedKey != l.PresharedKey {
		set.PresharedKey = new(w.PresharedKey)
	}
	if movesEndpoint(w, l, d.live.Now) {
		set.Endpoint = new(w.Endpoint)
	}
	if w.Keepalive != l.Keepalive {
		set.Keepalive = new(w.Keepalive)
	}
	return set, set != unchanged
}

// Stale reports whether a live peer should have called by now, and has not: its last handshake is old, and it has a
// keepalive, or we sent and nothing came back. An idle tunnel is not stale.
func (p *Peer) Stale(now time.Time) bool { return p.old(now) && (p.Keepalive > 0 || p.Unanswered) }

// Talked reports whether a live peer has, or had until just now, a session in which it may have been talking.
func (p *Peer) Talked(now time.Time) bool { return !p.old(now) }

// old reports whether the last handshake is; one that never was is.
func (p *Peer) old(now time.Time) bool { return now.Sub(p.LastHandshake) > sessionAge }

// movesEndpoint decides whether the file's endpoint replaces the live one, which may have roamed:
//
//	the file says                             the live endpoint
//	nothing, or a name not resolved yet       stays
//	something else than when last applied     is replaced
//	the same as when last applied             stays, unless it is stale
//	something, and nobody remembers           stays, if the last handshake is young
//
// Stale means: the last handshake is old, and there should have been one, because the peer has a keepalive or
// because we sent and nothing came back. An idle tunnel is not stale.
func movesEndpoint(w, l *Peer, now time.Time) bool {
	switch {
	case !w.Endpoint.IsValid() || w.Endpoint == l.Endpoint:
		return false
	case !l.Endpoint.IsValid():
		return true
	case !l.Asked.IsZero() && l.Asked != w.Asked:
		return true
	case w.At(l.Endpoint):
		return false
	case l.Asked.IsZero():
		return l.old(now)
	default:
		return l.old(now) && (w.Keepalive > 0 || l.Unanswered)
	}
}

// At reports whether the endpoint that is wanted is the live one, whose zone the kernel does not tell.
func (p *Peer) At(live netip.AddrPort) bool {
	want := p.Endpoint
	if live.Addr().Zone() == "" {
		want = netip.AddrPortFrom(want.Addr().WithZone(""), want.Port())
	}
	return want == live
}

// diffPrefixes compares two lists in the order of netip.Prefix.Compare.
func diffPrefixes(want, live []netip.Prefix) (gained, lost []netip.Prefix) {
	if slices.Equal(want, live) {
		return nil, nil // nearly always
	}
	want, live = inOrder(want, netip.Prefix.Compare), inOrder(live, netip.Prefix.Compare)
	for len(want) > 0 || len(live) > 0 {
		switch {
		case len(live) == 0 || len(want) > 0 && want[0].Compare(live[0]) < 0:
			gained = append(gained, want[0])
			want = want[1:]
		case len(want) == 0 || want[0].Compare(live[0]) > 0:
			lost = append(lost, live[0])
			live = live[1:]
		default:
			want, live = want[1:], live[1:]
		}
	}
	return gained, lost
}

func comparePeers(a, b *Peer) int { return bytes.Compare(a.PublicKey[:], b.PublicKey[:]) }

// sorted returns peers, or a copy of them by public key if they are not in this order. A peer is large, and there may be
// ten thousand: their places are sorted first.
func sorted(peers []Peer) []Peer {
	at := make([]*Peer, len(peers))
	for i := range peers {
		at[i] = &peers[i]
	}
	if slices.IsSortedFunc(at, comparePeers) {
		return peers
	}
	slices.SortFunc(at, comparePeers)
	out := make([]Peer, len(at))
	for i, p := range at {
		out[i] = *p
	}
	return out
}
