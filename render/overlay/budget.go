package overlay

import (
	"fmt"
	"math"
	"net/netip"
	"slices"

	"wg-kube/templates/wgquick"
)

// How much is granted. wg-apply takes nothing of a proposal that is too large, and a default route can be split among
// as many objects as somebody may create. So all that is granted is added up, and what would be too much is refused to
// whoever asks for it.
//
// All WireGuardPeers together are granted a quarter of it at most, and so are all Secrets: half of it is there for
// Nodes, whatever those create who may write in a namespace. Of address space no object is granted more than a quarter.
//
// Incumbents come first, and in one round nothing is given back. So what was too much once is too much when it is
// judged again.

// maxPrefixes is how many one object is granted.
const maxPrefixes = 256

// maxWide is how much address space all are granted, in times the widest prefix of a family.
const maxWide = 16

const unlimited = math.MaxInt

// amount is so much of everything that is limited. The zero value is nothing.
type amount struct {
	peers, prefixes int
	text            int    // bytes of the file, or somewhat more
	wide            [2]int // public address space, IPv4 and IPv6, in parts of which the widest prefix has wideParts
}

const wideParts = 1 << 15

// private is the address space that no default route is needed for.
var private = [...]netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("fc00::/7"),
}

// amountOf is what a prefix takes. A /24, or a /32 of IPv6, and whatever is narrower is no address space worth counting:
// 65,536 of them are one of the widest. So nobody is ever refused its own few addresses for what others have.
func amountOf(p netip.Prefix) amount {
	a := amount{prefixes: 1, text: len("2001:0db8:0000:0000:0000:0000:0000:0000/128, ")}
	family, widest := 1, widest6
	if p.Addr().Is4() {
		family, widest = 0, widest4
	}
	wide := wideParts >> max(p.Bits()-widest, 0)
	if wide > 0 && !slices.ContainsFunc(private[:], func(q netip.Prefix) bool { return inside(p, q) }) {
		a.wide[family] = wide
	}
	return a
}

// amount is what c takes as a peer without prefixes.
func (c *candidate) amount() amount {
	const lines = 256 // bytes, without the name and the uid
	return amount{peers: 1, text: lines + len(c.origin.Name) + len(c.origin.UID)}
}

func (a amount) plus(b amount) amount {
	return amount{a.peers + b.peers, a.prefixes + b.prefixes, a.text + b.text, [2]int{a.wide[0] + b.wide[0], a.wide[1] + b.wide[1]}}
}

func (a amount) negative() amount {
	return amount{-a.peers, -a.prefixes, -a.text, [2]int{-a.wide[0], -a.wide[1]}}
}

func (a amount) quarter() amount {
	part := func(n int) int { return n/4 + min(n%4, 1) }
	return amount{part(a.peers), part(a.prefixes), part(a.text), [2]int{part(a.wide[0]), part(a.wide[1])}}
}

// over is the limit that a exceeds, "" if it is within most.
func (a amount) over(most amount) string {
	switch {
	case a.peers > most.peers:
		return fmt.Sprintf("%d peers", most.peers)
	case a.prefixes > most.prefixes:
		return fmt.Sprintf("%d prefixes", most.prefixes)
	case a.text > most.text:
		return fmt.Sprintf("%d MiB of the file", most.text>>20)
	case a.wide[0] > most.wide[0]:
		return fmt.Sprintf("%d x /%d of public IPv4", most.wide[0]/wideParts, widest4)
	case a.wide[1] > most.wide[1]:
		return fmt.Sprintf("%d x /%d of public IPv6", most.wide[1]/wideParts, widest6)
	}
	return ""
}

// budget is what is granted, and the most that may be: to all, to all of a kind that are no Nodes, to one object.
type budget struct {
	all    amount
	ofKind map[string]amount

	mostOfAll, mostOfKind, mostOfOne amount
}

func newBudget(p Policy) budget {
	most := amount{unlimited, unlimited, unlimited, [2]int{maxWide * wideParts, maxWide * wideParts}}
	if p.MaxPeers > 0 {
		most.peers = min(p.MaxPeers, unlimited/wgquick.PrefixesAPeer)
		most.prefixes = most.peers * wgquick.PrefixesAPeer
	}
	b := budget{ofKind: make(map[string]amount), mostOfAll: most, mostOfKind: most.quarter(), mostOfOne: most.quarter()}
	b.mostOfKind.text = wgquick.MaxSize / 4 // that there are very many Nodes is the word of whoever owns the cluster
	b.mostOfOne.prefixes = maxPrefixes
	return b
}

// withPrefixes is a and the prefixes of those peers that are not the owner's.
func (a amount) withPrefixes(peers []wgquick.Peer) amount {
	for _, p := range peers {
		for _, q := range p.AllowedIPs {
			if p.Origin.Kind != KindFragment {
				a = a.plus(amountOf(q))
			}
		}
	}
	return a
}

// roomFor reports whether p fits into the budget beside all that others have.
func (b *budget) roomFor(p, others amount) bool { return others.plus(p).over(b.mostOfAll) == "" }

func (b *budget) spend(kind string, a amount) {
	b.all = b.all.plus(a)
	if kind != KindNode {
		b.ofKind[kind] = b.ofKind[kind].plus(a)
	}
}

// against is why no more is granted to one of the kind, "" if it is.
func (b *budget) against(kind string, more amount) string {
	if over := b.all.plus(more).over(b.mostOfAll); over != "" {
		return "more than all together are granted: " + over
	}
	if kind == KindNode {
		return ""
	}
	if over := b.ofKind[kind].plus(more).over(b.mostOfKind); over != "" {
		return fmt.Sprintf("more than all %ss together are granted: %s", kind, over)
	}
	return ""
}

// againstOne is why one object of the kind is not granted so much, "" if it is.
func (b *budget) againstOne(kind string, a amount) string {
	if over := a.over(b.mostOfOne); over != "" {
		return fmt.Sprintf("more than one %s is granted: %s", kind, over)
	}
	return ""
}
