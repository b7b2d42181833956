package plan

import (
	"cmp"
	"net/netip"
	"slices"

	"wg-kube/templates/wgquick"
)

// Most is as much of a file as the machine can have.
type Most struct {
	Config  *wgquick.Config // the file without what is refused
	Want    Desired         // what that means
	Refused wgquick.Faults  // what is left out, and why, in the order of the lines
}

// Kept is what is not left out for the sake of an endpoint, nor of a claim beside it.
type Kept struct {
	Prefixes map[netip.Prefix]bool      // that hold an endpoint: it is the endpoint that goes
	Peers    map[wgquick.PublicKey]bool // with the last of their prefixes gone, they stay
}

// WantMost is Want for a file in which many have had their say: what one of them cannot have costs no other anything.
// A prefix that is at fault is left out, from whoever lists it, and with the last of its prefixes a peer; and of an
// endpoint inside the subnet of an Address, or in a prefix that is kept, the endpoint. The error is wgquick.Faults about
// the file as a whole.
func WantMost(c *wgquick.Config, iface string, u Underlay, keep Kept) (Most, error) {
	m := Most{Config: c}
	for round := 1; ; round++ { // a prefix that goes may leave what it covered to a wider one
		want, found := read(m.Config, iface, u, keep, round > mostRounds)
		if len(found) == 0 {
			m.Want = want
			slices.SortStableFunc(m.Refused, func(a, b wgquick.Fault) int { return cmp.Compare(a.Line, b.Line) })
			return m, nil
		}
		if ofTheWhole(found) {
			return Most{}, inOrderOfLines(found)
		}
		m.Refused = append(m.Refused, inOrderOfLines(found)...)
		m.Config = without(m.Config, found, keep)
	}
}

// mostRounds is in how many one prefix around an endpoint goes after the other, narrowest first: the peer with that
// endpoint may go with one of them, and the wider ones stay. Nobody who is honest has as many, and after that they all go,
// as whoever lies could have one for each bit of an address, and each round is a look at the whole file.
const mostRounds = 4

// without is c without what is at fault.
func without(c *wgquick.Config, found []fault, keep Kept) *wgquick.Config {
	prefixes, endpoints := map[netip.Prefix]bool{}, map[wgquick.PublicKey]bool{}
	for _, f := range found {
		if f.prefix.IsValid() {
			prefixes[f.prefix] = true
		} else {
			endpoints[f.peer] = true
		}
	}
	left := *c
	left.Peers = nil
	for _, p := range c.Peers {
		had := len(p.AllowedIPs)
		p.AllowedIPs = slices.DeleteFunc(slices.Clone(p.AllowedIPs), func(a netip.Prefix) bool { return prefixes[unmap(a).Masked()] })
		if endpoints[p.PublicKey] {
			p.Endpoint = wgquick.Endpoint{}
		}
		if had == 0 || len(p.AllowedIPs) > 0 || keep.Peers[p.PublicKey] {
			left.Peers = append(left.Peers, p)
		}
	}
	return &left
}
