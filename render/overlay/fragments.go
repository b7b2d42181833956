package overlay

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"wg-kube/templates/wgquick"
)

// staticPeers merges the fragments, by name. They are the owner's word: all that is refused is what no device can
// hold, the same key or the same prefix twice, and more names than are resolved. A fragment that cannot be read keeps the peers it has in last.
func staticPeers(self Self, fragments []Fragment, last []wgquick.Peer) ([]wgquick.Peer, []Rejection) {
	var peers []wgquick.Peer
	var rejections []Rejection
	keys := make(map[wgquick.PublicKey]string)
	prefixes := make(map[netip.Prefix]string)
	names := 0
	for _, f := range inOrder(fragments) {
		origin := wgquick.Origin{Kind: KindFragment, Name: f.Name}
		refuse := func(cause Cause, key, value, reason string) {
			if f.Err == nil { // else the one thing to say is that it cannot be read
				rejections = append(rejections, Rejection{Origin: origin, Cause: cause, Field: key, Value: value, Reason: reason})
			}
		}
		if !plain(f.Name) {
			refuse(Malformed, "", "", "its name has characters other than letters, digits and -._:@+")
			continue
		}
		stated := f.Peers
		if f.Err != nil {
			rejections = append(rejections, Rejection{Origin: origin, Cause: Malformed, Reason: f.Err.Error()})
			stated = peersOf(origin, last)
		}
		for _, peer := range stated {
			k := peer.PublicKey
			switch {
			case k.IsZero():
				refuse(Malformed, "PublicKey", "", "not set")
				continue
			case k == self.PublicKey:
				refuse(Held, "PublicKey", k.String(), "held by the node that says this")
				continue
			case keys[k] != "":
				refuse(Held, "PublicKey", k.String(), "held by "+keys[k])
				continue
			}
			keys[k] = origin.String()
			peer.Origin, peer.Line, peer.Hub, peer.Held, peer.Unjudged = origin, 0, false, time.Time{}, nil
			var granted []netip.Prefix
			own := make(map[netip.Prefix]bool, len(peer.AllowedIPs))
			for _, p := range peer.AllowedIPs {
				p = p.Masked()
				switch {
				case own[p]:
				case prefixes[p] != "":
					refuse(Held, "AllowedIPs", p.String(), "held by "+prefixes[p])
				default:
					own[p] = true
					prefixes[p] = origin.String()
					granted = append(granted, p)
				}
			}
			peer.AllowedIPs = granted
			if _, address := peer.Endpoint.AddrPort(); !address && !peer.Endpoint.IsZero() {
				if names++; names > wgquick.MaxNames {
					refuse(TooMuch, "Endpoint", peer.Endpoint.String(), fmt.Sprintf("more than %d endpoints that are names; write an address", wgquick.MaxNames))
					peer.Endpoint = wgquick.Endpoint{}
				}
			}
			peers = append(peers, peer)
		}
	}
	return peers, rejections
}

// inOrder sorts fragments by name, and two of one name, which come from two folders, by what is in them.
func inOrder(fragments []Fragment) []Fragment {
	return slices.SortedStableFunc(slices.Values(fragments), func(a, b Fragment) int {
		if n := cmp.Compare(a.Name, b.Name); n != 0 {
			return n
		}
		return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
}

func peersOf(origin wgquick.Origin, last []wgquick.Peer) []wgquick.Peer {
	var own []wgquick.Peer
	for _, p := range last {
		if p.Origin == origin {
			own = append(own, p)
		}
	}
	return own
}
