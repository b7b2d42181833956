package apply

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"wg-kube/apply/plan"
	"wg-kube/templates/status"
	"wg-kube/templates/wgquick"
)

// FileHead is the first line of every file in force that wg-apply writes. A file without it was made by hand,
// and is never overwritten.
const FileHead = "Written by wg-apply from a proposal, and again whenever that changes: an edit here is lost."

// Allowed is all that a proposal may say. The rest of wg-quick's vocabulary is root's alone: a hook is a command,
// Table and FwMark reach beyond the interface, and the private key never leaves this side.
func Allowed() wgquick.Allow {
	return wgquick.Allow{
		Interface: []string{"Address", "ListenPort", "MTU"},
		Peer:      []string{"PublicKey", "PresharedKey", "Endpoint", "AllowedIPs", "PersistentKeepalive"},
	}
}

// Guard is how far a proposal may go without a person.
type Guard struct {
	From      string    // the path of the proposal, for the head of the file
	MaxShrink float64   // the part of the peers, or of the prefixes, that may go within Window; see few
	MaxPeers  int       // how many peers there may be, and wgquick.PrefixesAPeer times as many prefixes; zero: any number
	Keep      bool      // what would go stays for now, though nobody need accept it: see unrecorded
	Now       time.Time // what is held from now on is held since

	Window time.Duration    // see past
	Past   [][]wgquick.Peer // what was in force within it, at one moment or another
}

// few is the number of peers, or of prefixes, that may always go, as long as a peer, a prefix and a hub are left.
const few = 3

// mostAddresses is how many a proposal may have: the kernel compares each that is added with all that are there.
const mostAddresses = 256

// tooMuch is why a proposal is larger than the guard lets it be. wg-render proposes no more: whoever lies in its name can.
func (g Guard) tooMuch(c *wgquick.Config) error {
	prefixes := 0
	for _, p := range c.Peers {
		prefixes += len(p.AllowedIPs)
	}
	switch addresses, names := len(c.Interface.Address), len(hostnames(c)); {
	case addresses > mostAddresses:
		return fmt.Errorf("%s: %d addresses: more than %d", g.From, addresses, mostAddresses)
	case names > wgquick.MaxNames:
		return fmt.Errorf("%s: %d endpoints that are names: more than %d", g.From, names, wgquick.MaxNames)
	case g.MaxPeers == 0:
	case len(c.Peers) > g.MaxPeers:
		return fmt.Errorf("%s: %d peers: more than %d, which --max-peers allows", g.From, len(c.Peers), g.MaxPeers)
	case prefixes > g.MaxPeers*wgquick.PrefixesAPeer:
		return fmt.Errorf("%s: %d prefixes: more than %d, %d for each of --max-peers", g.From, prefixes, g.MaxPeers*wgquick.PrefixesAPeer, wgquick.PrefixesAPeer)
	}
	return nil
}

// Held is one peer, or some prefixes of one, that the proposal no longer has and that is kept.
type Held = status.Held

// Promote returns the next file in force. It is the proposal, with the private key of the file in force, and with
// the peers and prefixes in it whose removal waits for a person.
//
// A change that leaves no peer, no prefix or none of the hubs, or after which more than MaxShrink of the peers or of the prefixes are
// gone (and more than few), of those in force now or of those at any moment of the Past, has its removals held, and
// why says so; what it adds goes through. What is held stays held, however the proposal changes, until it is back in
// the proposal or is accepted. A prefix that another peer has in the proposal has moved and is not lost; nor is a peer
// that came back under its name with a new key.
//
// Lines are those of the proposal; what is held has none.
//
// inForce is never nil: where there is no file yet it is an interface with nothing but its private key. The error is
// that of a proposal that makes no sense here; what no file can say is for Marshal to find.
func Promote(inForce, proposal *wgquick.Config, g Guard) (next *wgquick.Config, held []Held, why string, err error) {
	if err := g.tooMuch(proposal); err != nil {
		return nil, nil, "", err
	}
	next = &wgquick.Config{
		Head: fileHead(g.From, proposal.Head),
		Interface: wgquick.Interface{
			PrivateKey: inForce.Interface.PrivateKey,
			Address:    proposal.Interface.Address,
			ListenPort: proposal.Interface.ListenPort,
			MTU:        proposal.Interface.MTU,
			Line:       proposal.Interface.Line,
		},
		Peers:   slices.Clone(proposal.Peers),
		Refused: passedOn(proposal.Refused),
		End:     true,
	}
	if len(next.Interface.Address) == 0 && len(inForce.Interface.Address) > 0 {
		return nil, nil, "", fmt.Errorf("%s: [Interface]: Address: missing, and the interface has one", g.From)
	}
	for i := range next.Peers {
		next.Peers[i].Held, next.Peers[i].Unjudged = time.Time{}, nil // not the proposal's to say
	}
	rs, why := waiting(inForce, proposal, g)
	since := g.Now.UTC().Truncate(time.Second)
	if why == "" {
		since = time.Time{}
	}
	return next, hold(next, rs, since), why, nil
}

// butOurselves is a proposal without the peer that has our own key, if there is one: the kernel leaves it out without a
// word. What that lists is then nobody's, and is measured so.
func butOurselves(proposal *wgquick.Config, key wgquick.SecretKey) (*wgquick.Config, wgquick.Faults) {
	if key.IsZero() {
		return proposal, nil
	}
	own := key.Public()
	at := slices.IndexFunc(proposal.Peers, func(p wgquick.Peer) bool { return p.PublicKey == own })
	if at < 0 {
		return proposal, nil
	}
	we := proposal.Peers[at]
	left := *proposal
	left.Peers = slices.Concat(proposal.Peers[:at], proposal.Peers[at+1:])
	return &left, wgquick.Faults{{Line: we.Line, Section: "Peer", Peer: cmp.Or(we.Origin.Name, own.String()), Key: "PublicKey",
		Msg: "the key of this interface itself: no device takes it as a peer"}}
}

// removal is what a proposal takes away from one peer in force.
type removal struct {
	peer     wgquick.Peer
	heir     int            // the index of the same peer in the proposal; -1: it is gone
	prefixes []netip.Prefix // those that nobody has in the proposal
}

// taken is a proposal as it looks to those that it takes something from. The maps are made where they are asked for:
// nearly always the two files have the same peers, in the same order.
type taken struct {
	peers   []wgquick.Peer
	byKey   func() map[wgquick.PublicKey]int // indices
	claimed func() map[netip.Prefix]bool
}

func takenBy(proposal *wgquick.Config) taken {
	peers := proposal.Peers
	return taken{
		peers: peers,
		byKey: sync.OnceValue(func() map[wgquick.PublicKey]int {
			all := make(map[wgquick.PublicKey]int, len(peers))
			for i := range peers {
				all[peers[i].PublicKey] = i
			}
			return all
		}),
		claimed: sync.OnceValue(func() map[netip.Prefix]bool {
			all := make(map[netip.Prefix]bool, len(peers))
			for i := range peers {
				for _, a := range peers[i].AllowedIPs {
					all[a] = true
				}
			}
			return all
		}),
	}
}

// from is what the proposal takes away from peers, in their order.
func (t taken) from(peers []wgquick.Peer) []removal {
	heir := t.heirs(peers)
	var out []removal
	for i := range peers {
		r := removal{heir: heir[i]}
		if r.heir >= 0 && slices.Equal(peers[i].AllowedIPs, t.peers[r.heir].AllowedIPs) {
			continue
		}
		for _, a := range peers[i].AllowedIPs {
			if !t.claimed()[a] {
				r.prefixes = append(r.prefixes, a)
			}
		}
		if r.heir < 0 || len(r.prefixes) > 0 {
			r.peer = peers[i]
			out = append(out, r)
		}
	}
	return out
}

// heirs finds for each peer the same one in the proposal: by its key, or else, when its key has changed, by an origin
// that only one peer has on each side. -1: there is none.
func (t taken) heirs(peers []wgquick.Peer) []int {
	next, out := t.peers, make([]int, len(peers))
	at := 0
	for i := range peers {
		if at == len(next) || next[at].PublicKey != peers[i].PublicKey {
			j, ok := t.byKey()[peers[i].PublicKey]
			if !ok {
				out[i] = -1
				continue
			}
			at = j
		}
		out[i] = at
		at++
	}
	if !slices.Contains(out, -1) {
		return out // nearly always
	}
	byOrigin, count := make(map[wgquick.Origin]int, len(next)), make(map[wgquick.Origin]int, len(next))
	for i := range next {
		byOrigin[next[i].Origin] = i
		count[next[i].Origin]++
	}
	known, had := make(map[wgquick.PublicKey]bool, len(peers)), make(map[wgquick.Origin]int, len(peers))
	for i := range peers {
		known[peers[i].PublicKey] = true
		had[peers[i].Origin]++
	}
	for i := range peers {
		if p := &peers[i]; out[i] < 0 && p.Origin != (wgquick.Origin{}) && count[p.Origin] == 1 && had[p.Origin] == 1 {
			if j := byOrigin[p.Origin]; !known[next[j].PublicKey] {
				out[i] = j
			}
		}
	}
	return out
}

// waiting returns the removals that have to wait: those that already do, and all of them when with the others too much
// would be gone. why is empty if nothing is held that was not before.
func waiting(inForce, proposal *wgquick.Config, g Guard) (rs []removal, why string) {
	t := takenBy(proposal)
	rs = t.from(inForce.Peers)
	var held, fresh []removal
	for _, r := range rs {
		if r.peer.Held.IsZero() {
			fresh = append(fresh, r)
		} else {
			held = append(held, r)
		}
	}
	if len(fresh) == 0 {
		return held, ""
	}
	if why = g.tooFew(inForce.Peers, rs, t); why != "" {
		return rs, why + " would go"
	}
	if g.Keep {
		return rs, ""
	}
	return held, ""
}

// tooFew says of what the proposal leaves too little, of what is in force now or was lately, and "" if it does not. What
// waits already is not there, as far as this is concerned.
func (g Guard) tooFew(inForce []wgquick.Peer, rs []removal, t taken) string {
	waits := map[wgquick.PublicKey]bool{}
	for i := range inForce {
		if !inForce[i].Held.IsZero() {
			waits[inForce[i].PublicKey] = true
		}
	}
	if what := g.shrinks(inForce, rs, waits); what != "" {
		return what + " at once"
	}
	for _, was := range g.Past {
		if what := g.shrinks(was, t.from(was), waits); what != "" {
			return what + " of the last " + strings.Replace(g.Window.String(), "m0s", "m", 1)
		}
	}
	has := func(p wgquick.Peer) bool { return len(p.AllowedIPs) > 0 }
	hub := func(p wgquick.Peer) bool { return p.Hub && has(p) }
	loses := func(r removal) bool { return len(r.prefixes) > 0 && !waits[r.peer.PublicKey] }
	switch {
	case len(t.peers) == 0:
		return "the last peer"
	case !slices.ContainsFunc(t.peers, has) && slices.ContainsFunc(rs, loses):
		return "the last prefix"
	case !slices.ContainsFunc(t.peers, hub) && slices.ContainsFunc(rs, func(r removal) bool { return r.peer.Hub && loses(r) }):
		return "the last hub"
	}
	return ""
}

// shrinks says how much of peers goes with rs, if that is too much.
func (g Guard) shrinks(peers []wgquick.Peer, rs []removal, waits map[wgquick.PublicKey]bool) string {
	var all, gone, prefixes, lost int
	for i := range peers {
		if !waits[peers[i].PublicKey] {
			all++
			prefixes += len(peers[i].AllowedIPs)
		}
	}
	for _, r := range rs {
		if waits[r.peer.PublicKey] {
			continue
		}
		if r.heir < 0 {
			gone++
		}
		lost += len(r.prefixes)
	}
	tooMuch := func(n, of int) bool { return n > few && float64(n) > g.MaxShrink*float64(of) }
	switch {
	case tooMuch(gone, all):
		return fmt.Sprintf("%d of %d peers", gone, all)
	case tooMuch(lost, prefixes):
		return fmt.Sprintf("%d of %d prefixes", lost, prefixes)
	}
	return ""
}

// costs reports whether the machine leaves too little of what was there, most being what it can have of next; or not
// all that is held.
func (g Guard) costs(next, most *wgquick.Config, was [][]wgquick.Peer) bool {
	t, last := takenBy(most), was[len(was)-1]
	g.Past = was
	return g.tooFew(last, t.from(last), t) != "" ||
		slices.ContainsFunc(t.from(next.Peers), func(r removal) bool { return !r.peer.Held.IsZero() })
}

// kept is what is not to go for the sake of an endpoint in next: every prefix that was there or is held, and every peer
// that was there and is not held.
func kept(next *wgquick.Config, was [][]wgquick.Peer) plan.Kept {
	k := plan.Kept{Prefixes: map[netip.Prefix]bool{}, Peers: map[wgquick.PublicKey]bool{}}
	for _, peers := range was {
		for i := range peers {
			k.Peers[peers[i].PublicKey] = true
			for _, a := range peers[i].AllowedIPs {
				k.Prefixes[a] = true
			}
		}
	}
	for i := range next.Peers {
		if p := &next.Peers[i]; !p.Held.IsZero() {
			delete(k.Peers, p.PublicKey)
		}
	}
	return k
}

// hold puts what waits back into next, and returns what of it is held, in the order of that file. since is for what
// waits from now on; zero: for no person.
func hold(next *wgquick.Config, rs []removal, since time.Time) []Held {
	if len(rs) == 0 {
		return nil // the order is the proposal's
	}
	lost := map[wgquick.PublicKey][]netip.Prefix{} // prefixes; none: the whole peer
	for _, r := range rs {
		since := since
		if !r.peer.Held.IsZero() {
			since = r.peer.Held
		}
		if r.heir < 0 {
			p := r.peer
			p.AllowedIPs, p.Held, p.Unjudged, p.Line = r.prefixes, since, nil, 0
			next.Peers = append(next.Peers, p)
			lost[p.PublicKey] = nil
			continue
		}
		p := &next.Peers[r.heir]
		p.AllowedIPs, p.Held = slices.Concat(p.AllowedIPs, r.prefixes), since
		lost[p.PublicKey] = r.prefixes
	}
	slices.SortStableFunc(next.Peers, byName)
	var held []Held
	for _, p := range next.Peers {
		if prefixes, ok := lost[p.PublicKey]; ok && !p.Held.IsZero() {
			held = append(held, Held{PublicKey: p.PublicKey, Peer: p.Origin.String(), Since: p.Held, Prefixes: prefixes})
		}
	}
	return held
}

// byName is the order of the peers in a file. Those that somebody wrote by hand come first, as they came.
func byName(a, b wgquick.Peer) int {
	order := cmp.Or(cmp.Compare(a.Origin.Name, b.Origin.Name), cmp.Compare(a.Origin.Kind, b.Origin.Kind))
	if order == 0 && a.Origin.Name != "" {
		return bytes.Compare(a.PublicKey[:], b.PublicKey[:])
	}
	return order
}

// Ours reports whether wg-apply wrote c.
func Ours(c *wgquick.Config) bool { return len(c.Head) > 0 && c.Head[0] == FileHead }

// fileHead tells a person who opens the file what it is and what to edit instead. What the proposal says of where
// it comes from is passed on.
func fileHead(from string, proposal []string) []string {
	head := []string{
		FileHead,
		"The proposal: " + from,
		"To take this file over by hand, leave its interface out of --proposed.",
	}
	if len(proposal) > 0 && proposal[0] == wgquick.ProposalHead {
		proposal = proposal[1:]
	}
	return append(head, passedOn(proposal)...)
}

// passedOn is as much of what a proposal says in comments as wg-render ever does, and a little more: the rest is not for
// people.
func passedOn(comments []string) []string {
	const lines, bytes = 128, 2048
	long := func(s string) bool { return len(s) > bytes }
	if len(comments) > lines || slices.ContainsFunc(comments, long) {
		comments = slices.DeleteFunc(slices.Clone(comments[:min(len(comments), lines)]), long)
	}
	return comments
}
