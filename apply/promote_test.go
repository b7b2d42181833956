package apply

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"wg-kube/templates/wgquick"
)

var (
	now     = time.Date(2026, 11, 21, 22, 0, 0, 0, time.UTC)
	earlier = now.Add(-time.Hour)
	guard   = Guard{From: "/var/lib/wg-render/wg0.conf", MaxShrink: 0.5, Now: now, Window: 10 * time.Minute}
)

func key(n int) (k wgquick.PublicKey) {
	binary.BigEndian.PutUint32(k[:], uint32(n))
	k[31] = 1
	return k
}

func prefix(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 32)
}

// peer is node-N with key N and the prefixes that are named, or prefix N.
func peer(n int, prefixes ...int) wgquick.Peer {
	p := wgquick.Peer{
		Origin:    wgquick.Origin{Kind: "Node", Name: fmt.Sprintf("node-%02d", n)},
		PublicKey: key(n),
	}
	if prefixes == nil {
		prefixes = []int{n}
	}
	for _, a := range prefixes {
		p.AllowedIPs = append(p.AllowedIPs, prefix(a))
	}
	return p
}

func heldSince(p wgquick.Peer, t time.Time) wgquick.Peer {
	p.Held = t
	return p
}

func peers(from, to int) (out []wgquick.Peer) {
	for n := from; n <= to; n++ {
		out = append(out, peer(n))
	}
	return out
}

func config(peers ...wgquick.Peer) *wgquick.Config {
	return &wgquick.Config{
		Interface: wgquick.Interface{
			PrivateKey: wgquick.SecretKey{8, 1},
			Address:    []netip.Prefix{netip.MustParsePrefix("10.99.0.1/24")},
			ListenPort: 51820,
		},
		Peers: peers,
		End:   true,
	}
}

func proposal(peers ...wgquick.Peer) *wgquick.Config {
	c := config(peers...)
	c.Interface.PrivateKey = wgquick.SecretKey{}
	return c
}

// picture is the peers of a file in a form that reads at a glance: a line each, with its prefixes and what is held.
func picture(c *wgquick.Config) (lines []string) {
	for _, p := range c.Peers {
		line := fmt.Sprintf("%s %x", p.Origin.Name, p.PublicKey[3])
		for _, a := range p.AllowedIPs {
			line += " " + a.String()
		}
		if !p.Held.IsZero() {
			line += " held " + p.Held.Format("15:04")
		}
		lines = append(lines, line)
	}
	return lines
}

func TestPromote(t *testing.T) {
	rekeyed := peer(1)
	rekeyed.PublicKey = key(0x11)
	fragment := func(n int) wgquick.Peer {
		p := peer(n)
		p.Origin = wgquick.Origin{Kind: "fragment", Name: "static"}
		return p
	}
	hub := func(n int, prefixes ...int) wgquick.Peer {
		p := peer(n, prefixes...)
		p.Hub = true
		return p
	}
	bare := hub(2)
	bare.AllowedIPs = nil
	tests := []struct {
		name              string
		inForce, proposal []wgquick.Peer
		want              []string
		held              int
	}{
		{"the first one", nil, peers(1, 2), []string{"node-01 1 10.0.0.1/32", "node-02 2 10.0.0.2/32"}, 0},
		{"one of two goes", peers(1, 2), peers(1, 1), []string{"node-01 1 10.0.0.1/32"}, 0},
		{"three of four go: few enough", peers(1, 4), peers(4, 4), []string{"node-04 4 10.0.0.4/32"}, 0},
		{"the only one goes", peers(1, 1), nil, []string{"node-01 1 10.0.0.1/32 held 22:00"}, 1},
		{"the only one is replaced", peers(1, 1), peers(2, 2), []string{"node-02 2 10.0.0.2/32"}, 0},
		{"four of eight go: half", peers(1, 8), peers(5, 8), []string{
			"node-05 5 10.0.0.5/32", "node-06 6 10.0.0.6/32", "node-07 7 10.0.0.7/32", "node-08 8 10.0.0.8/32"}, 0},
		{"four of six go, one comes", peers(1, 6), append(peers(1, 2), peer(9)), []string{
			"node-01 1 10.0.0.1/32", "node-02 2 10.0.0.2/32",
			"node-03 3 10.0.0.3/32 held 22:00", "node-04 4 10.0.0.4/32 held 22:00",
			"node-05 5 10.0.0.5/32 held 22:00", "node-06 6 10.0.0.6/32 held 22:00",
			"node-09 9 10.0.0.9/32"}, 4},
		{"what is held stays held, since then, among many new ones",
			[]wgquick.Peer{peer(1), heldSince(peer(2), earlier)}, peers(3, 6), []string{
				"node-02 2 10.0.0.2/32 held 21:00",
				"node-03 3 10.0.0.3/32", "node-04 4 10.0.0.4/32", "node-05 5 10.0.0.5/32", "node-06 6 10.0.0.6/32"}, 1},
		{"what is held comes back", []wgquick.Peer{peer(1), heldSince(peer(2), earlier)}, peers(1, 2),
			[]string{"node-01 1 10.0.0.1/32", "node-02 2 10.0.0.2/32"}, 0},
		{"a proposal cannot say that a peer is held", peers(1, 1), []wgquick.Peer{heldSince(peer(1), earlier)},
			[]string{"node-01 1 10.0.0.1/32"}, 0},
		{"four of five prefixes go", []wgquick.Peer{peer(1, 1, 2, 3, 4, 5)}, []wgquick.Peer{peer(1, 1, 9)},
			[]string{"node-01 1 10.0.0.1/32 10.0.0.9/32 10.0.0.2/32 10.0.0.3/32 10.0.0.4/32 10.0.0.5/32 held 22:00"}, 1},
		{"all prefixes move to another peer", []wgquick.Peer{peer(1, 1, 2, 3, 4, 5)}, []wgquick.Peer{peer(1, 6), peer(2, 1, 2, 3, 4, 5)},
			[]string{"node-01 1 10.0.0.6/32", "node-02 2 10.0.0.1/32 10.0.0.2/32 10.0.0.3/32 10.0.0.4/32 10.0.0.5/32"}, 0},
		{"a held peer gives a prefix to whom the proposal gives it", []wgquick.Peer{peer(1), heldSince(peer(2, 2, 3), earlier)},
			[]wgquick.Peer{peer(1, 1, 2)}, []string{"node-01 1 10.0.0.1/32 10.0.0.2/32", "node-02 2 10.0.0.3/32 held 21:00"}, 1},
		{"a new key under the same name is no removal", peers(1, 1), []wgquick.Peer{rekeyed}, []string{"node-01 11 10.0.0.1/32"}, 0},
		{"the last hub goes, a neighbour stays", []wgquick.Peer{hub(1), peer(2)}, peers(2, 2),
			[]string{"node-01 1 10.0.0.1/32 held 22:00", "node-02 2 10.0.0.2/32"}, 1},
		{"one of two hubs goes", []wgquick.Peer{hub(1), hub(2), peer(3)}, []wgquick.Peer{hub(2), peer(3)},
			[]string{"node-02 2 10.0.0.2/32", "node-03 3 10.0.0.3/32"}, 0},
		{"another hub is there without a prefix", []wgquick.Peer{hub(1), peer(3)}, []wgquick.Peer{bare, peer(3)},
			[]string{"node-01 1 10.0.0.1/32 held 22:00", "node-02 2", "node-03 3 10.0.0.3/32"}, 1},
		{"the last hub is a neighbour now, with less", []wgquick.Peer{hub(1, 1, 4), peer(2)}, []wgquick.Peer{peer(1), peer(2)},
			[]string{"node-01 1 10.0.0.1/32 10.0.0.4/32 held 22:00", "node-02 2 10.0.0.2/32"}, 1},
		{"a hub that is a neighbour now, with all of it", []wgquick.Peer{hub(1), peer(2)}, peers(1, 2),
			[]string{"node-01 1 10.0.0.1/32", "node-02 2 10.0.0.2/32"}, 0},
		{"peers of one fragment are not each other's heirs",
			[]wgquick.Peer{fragment(1), fragment(2), fragment(3), fragment(4), fragment(5)}, []wgquick.Peer{fragment(6)}, []string{
				"static 1 10.0.0.1/32 held 22:00", "static 2 10.0.0.2/32 held 22:00", "static 3 10.0.0.3/32 held 22:00",
				"static 4 10.0.0.4/32 held 22:00", "static 5 10.0.0.5/32 held 22:00", "static 6 10.0.0.6/32"}, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			next, held, _, err := Promote(config(tt.inForce...), proposal(tt.proposal...), guard)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, picture(next)); diff != "" {
				t.Errorf("peers (-want +got):\n%s", diff)
			}
			if len(held) != tt.held {
				t.Errorf("%d held, want %d: %v", len(held), tt.held, held)
			}
		})
	}
}

func TestPromoteInterface(t *testing.T) {
	inForce := config()
	inForce.Interface.FwMark, inForce.Interface.PostUp = 7, []string{"true"}
	p := proposal()
	p.Head = []string{wgquick.ProposalHead, "From a test."}
	p.Refused = []string{"Node/x: public-key: no key"}
	p.Interface.ListenPort, p.Interface.MTU = 1, 1400
	next, _, _, err := Promote(inForce, p, guard)
	if err != nil {
		t.Fatal(err)
	}
	want := wgquick.Interface{PrivateKey: inForce.Interface.PrivateKey, Address: p.Interface.Address, ListenPort: 1, MTU: 1400}
	if !cmp.Equal(want, next.Interface, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })) {
		t.Errorf("the interface is %+v", next.Interface)
	}
	if !Ours(next) || !slices.Contains(next.Head, "From a test.") || slices.Contains(next.Head, wgquick.ProposalHead) {
		t.Errorf("head: %q", next.Head)
	}
	if !slices.Equal(next.Refused, p.Refused) {
		t.Errorf("refused: %q", next.Refused)
	}
}

// What is wrong with a peer is found in the proposal, so it is said of its lines there.
func TestPromoteKeepsLines(t *testing.T) {
	p := proposal(peers(1, 1)...)
	p.Interface.Line, p.Peers[0].Line = 3, 7
	was := config(peer(2))
	was.Peers[0].Held, was.Peers[0].Line = earlier, 99
	next, _, _, err := Promote(was, p, guard)
	if err != nil {
		t.Fatal(err)
	}
	if next.Interface.Line != 3 || next.Peers[0].Line != 7 || next.Peers[1].Line != 0 {
		t.Errorf("lines %d, %d, %d", next.Interface.Line, next.Peers[0].Line, next.Peers[1].Line)
	}
}

func TestPromoteKeepsAnAddress(t *testing.T) {
	p := proposal(peers(1, 1)...)
	p.Interface.Address = nil
	if _, _, _, err := Promote(config(peers(1, 1)...), p, guard); err == nil {
		t.Error("a proposal without Address takes it off the interface")
	}
}

// FuzzPromote draws two files from bytes and checks what must hold for any two.
func FuzzPromote(f *testing.F) {
	f.Add([]byte{}, []byte{}, []byte{})
	f.Add([]byte{1, 2, 3, 4, 5, 6}, []byte{1}, []byte{})
	f.Add([]byte{1, 2, 3, 4, 5, 6, 0x81}, []byte{7, 8, 9, 10, 11, 12, 13, 14}, []byte{1, 2, 3, 4})
	f.Add([]byte{0x81, 0x42, 3}, []byte{0x41, 0xc2}, []byte{0x42})
	f.Add([]byte{1, 2, 3, 4}, []byte{1, 2, 3, 9}, []byte{1, 2, 3, 4, 5, 6, 7})
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		inForce, p := config(draw(a)...), proposal(draw(b)...)
		g := guard
		g.Past = [][]wgquick.Peer{draw(c)}
		for i := range p.Peers {
			p.Peers[i].Held = time.Time{}
		}
		next, held, why, err := Promote(inForce, p, g)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := next.Marshal(); err != nil {
			t.Error(err)
		}
		later := g
		later.Now = now.Add(time.Hour)
		again, heldAgain, whyAgain, err := Promote(next, p, later)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(picture(next), picture(again)); diff != "" {
			t.Errorf("promoting again changes something (-once +twice):\n%s", diff)
		}
		if diff := cmp.Diff(held, heldAgain, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("promoting again holds something else (-once +twice):\n%s", diff)
		}
		if whyAgain != "" || why != "" && len(held) == 0 {
			t.Errorf("%d are held because %q, and again because %q", len(held), why, whyAgain)
		}
		alone, _, _, err := Promote(inForce, p, guard)
		if err != nil {
			t.Fatal(err)
		}
		if len(next.Peers) < len(alone.Peers) {
			t.Errorf("with a past less is held: %q, without %q", picture(next), picture(alone))
		}
		has := map[netip.Prefix]wgquick.PublicKey{}
		there := map[wgquick.PublicKey]bool{}
		for _, q := range next.Peers {
			if there[q.PublicKey] {
				t.Errorf("%s is there twice", q.Origin)
			}
			there[q.PublicKey] = true
			for _, a := range q.AllowedIPs {
				has[a] = q.PublicKey
			}
		}
		for _, q := range p.Peers {
			for _, a := range q.AllowedIPs {
				if has[a] != q.PublicKey {
					t.Errorf("%s does not get %s, which the proposal gives it", q.Origin, a)
				}
			}
			if !there[q.PublicKey] {
				t.Errorf("%s is in the proposal and does not get through", q.Origin)
			}
		}
		for _, h := range held {
			if !there[h.PublicKey] {
				t.Errorf("%s is held and gone", h.Peer)
			}
		}
		if len(inForce.Peers) > 0 && len(next.Peers) == 0 {
			t.Error("no peer is left")
		}
		rest, goes := accepted(next, p, held)
		g.Past = nil
		all, _, _, err := Promote(rest, p, g)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(picture(p), picture(all)); diff != "" || goes != (len(held) > 0) {
			t.Errorf("what is accepted is not the proposal: %t (-proposal +accepted):\n%s", goes, diff)
		}
		g = guard
		g.Keep = true
		kept, _, _, err := Promote(inForce, p, g)
		if err != nil {
			t.Fatal(err)
		}
		if lost := takenBy(kept).from(inForce.Peers); len(lost) > 0 {
			t.Errorf("what was to be kept is gone: %v", lost)
		}
	})
}

// draw makes a file's peers of bytes: the low bits choose the peer (each fifth is a hub), bit 6 more prefixes, bit 7 that it is held.
func draw(b []byte) (out []wgquick.Peer) {
	seen := map[int]bool{}
	for i, c := range b {
		n := int(c & 0x1f)
		if seen[n] || i > 64 {
			continue
		}
		seen[n] = true
		p := peer(n)
		if c&0x40 != 0 {
			p = peer(n, n, n+100, n+200)
		}
		p.Hub = n%5 == 0
		if c&0x80 != 0 {
			p.Held = earlier
		}
		if c&0x20 != 0 {
			p.Origin = wgquick.Origin{Kind: "fragment", Name: "static"}
		}
		out = append(out, p)
	}
	slices.SortStableFunc(out, byName)
	return out
}

func TestMarksAreNotTheProposalsToSet(t *testing.T) {
	marked := peer(1)
	marked.Held, marked.Unjudged = earlier, marked.AllowedIPs
	next, _, _, err := Promote(config(peer(1)), proposal(marked), guard)
	if err != nil || !next.Peers[0].Held.IsZero() || next.Peers[0].Unjudged != nil {
		t.Errorf("%+v, %v", next.Peers, err)
	}
}

func TestPromoteBounds(t *testing.T) {
	g := guard
	g.MaxPeers = 3
	addresses := func(n int) *wgquick.Config {
		c := proposal(peer(1))
		for c.Interface.Address = nil; n > 0; n-- {
			c.Interface.Address = append(c.Interface.Address, prefix(n))
		}
		return c
	}
	for name, c := range map[string]struct {
		proposal *wgquick.Config
		want     string
	}{
		"as many as there may be": {proposal(peer(1, 1, 2, 3, 4, 5, 6), peer(2, 7, 8, 9), peer(3, 10, 11, 12)), ""},
		"a peer too many":         {proposal(peers(1, 4)...), "/var/lib/wg-render/wg0.conf: 4 peers: more than 3, which --max-peers allows"},
		"a prefix too many": {proposal(peer(1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)),
			"/var/lib/wg-render/wg0.conf: 13 prefixes: more than 12, 4 for each of --max-peers"},
		"as many addresses as there may be": {addresses(256), ""},
		"an address too many":               {addresses(257), "/var/lib/wg-render/wg0.conf: 257 addresses: more than 256"},
	} {
		_, _, _, err := Promote(config(), c.proposal, g)
		if got := fmt.Sprint(err); got != c.want && (err != nil || c.want != "") {
			t.Errorf("%s: %s, want %q", name, got, c.want)
		}
	}
}

// Comments cost nothing but room: a proposal full of them is no larger in force than one that tells people something.
func TestCommentsWithoutEndAreNotPassedOn(t *testing.T) {
	c := proposal(peers(1, 2)...)
	c.Head = append(c.Head, wgquick.ProposalHead, "For the hub.", strings.Repeat("x", 1<<20))
	for n := range 10_000 {
		c.Head = append(c.Head, fmt.Sprint("head ", n))
		c.Refused = append(c.Refused, fmt.Sprint("Node/x: nothing ", n))
	}
	next, _, _, err := Promote(config(), c, guard)
	must(t, err)
	b, err := next.Marshal()
	must(t, err)
	if len(b) > 16<<10 || next.Head[3] != "For the hub." || len(next.Refused) < 100 {
		t.Errorf("%d bytes, %q, %d refused", len(b), next.Head[:4], len(next.Refused))
	}
}

// The file in force is larger than the proposal: by its head, the key, and what is held. It is never one that cannot be
// read again.
func TestAFileThatIsTooLargeIsNotWritten(t *testing.T) {
	f := newHouse(t, "wg0").newIface("wg0", func() {}).files
	c := config(peers(1, 2)...)
	for _, tt := range []struct {
		size int
		says string
	}{{wgquick.MaxSize - 1000, ""}, {wgquick.MaxSize, "not taken: with what is held the file in force has 16777"}} {
		c.Head = []string{strings.Repeat("x", tt.size)}
		if err := f.writeDown(&draft{config: c}); (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%d bytes: %v", tt.size, err)
		}
	}
	c.Head = make([]string, 1<<20)
	if err := f.writeDown(&draft{config: c}); err == nil || !strings.Contains(err.Error(), "more than 1048576 lines") {
		t.Errorf("a million lines: %v", err)
	}
}

// What a peer with our own key lists is nobody's: no device takes it. So a proposal takes it away from whoever has it.
func TestOurOwnKeyHoldsNothing(t *testing.T) {
	h := newHouse(t, "wg0")
	h.write(t, h.proposal("wg0"), renderedOf(t, peers(1, 8)...))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	bare := peers(1, 8)
	ourselves := wgquick.Peer{PublicKey: i.status.PublicKey, Origin: wgquick.Origin{Kind: "Node", Name: "liar"}}
	for n := range bare {
		ourselves.AllowedIPs = append(ourselves.AllowedIPs, bare[n].AllowedIPs...)
		bare[n].AllowedIPs = nil
	}
	renamed := slices.Concat(peers(1, 4), []wgquick.Peer{ourselves})
	for n := range renamed[:4] {
		renamed[n].AllowedIPs = nil
	}
	for name, proposed := range map[string][]wgquick.Peer{
		"all prefixes": append(slices.Clone(bare), ourselves), "half of the peers": renamed, "it alone": {ourselves},
	} {
		h.write(t, h.proposal("wg0"), renderedOf(t, proposed...))
		h.look(t, i, true)
		h.look(t, i, true)
		s := h.status(t, "wg0")
		if routes := h.routes("wg0"); len(routes) != 8 || h.kernel.peers("wg0") != 8 || len(s.Held) != 8 {
			t.Errorf("%s: %d peers with %q, held: %v", name, h.kernel.peers("wg0"), routes, s.Held)
		}
		if len(s.Refused) != 1 || !strings.Contains(s.Refused[0], "[Peer] liar: PublicKey: the key of this interface itself") {
			t.Errorf("%s: refused: %q", name, s.Refused)
		}
	}
	h.write(t, h.proposal("wg0"), renderedOf(t, peers(1, 8)...))
	if h.look(t, i, true); len(h.status(t, "wg0").Held)+len(h.status(t, "wg0").Refused) > 0 {
		t.Errorf("%+v", h.status(t, "wg0"))
	}
}
