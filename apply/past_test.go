package apply

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wg-kube/templates/wgquick"
)

func TestPromoteMeasuresAgainstThePast(t *testing.T) {
	renamed := func(from, to int) (out []wgquick.Peer) { // the same names with other keys
		for _, p := range peers(from, to) {
			p.PublicKey[0] = 0xff
			out = append(out, p)
		}
		return out
	}
	many := func(prefixes int) wgquick.Peer {
		p := peer(1)
		for n := range prefixes - 1 {
			p.AllowedIPs = append(p.AllowedIPs, prefix(1000+n))
		}
		return p
	}
	bare := func(ps []wgquick.Peer) []wgquick.Peer {
		for n := range ps {
			ps[n].AllowedIPs = nil
		}
		return ps
	}
	held := func(ps ...wgquick.Peer) (out []wgquick.Peer) {
		for _, p := range ps {
			out = append(out, heldSince(p, earlier))
		}
		return out
	}
	for _, tt := range []struct {
		name              string
		past              [][]wgquick.Peer
		inForce, proposal []wgquick.Peer
		held              int
		why               string
	}{
		{"half of all, at once", nil, peers(1, 1000), peers(501, 1000), 0, ""},
		{"one more", nil, peers(1, 1000), peers(502, 1000), 501, "501 of 1000 peers at once would go"},
		{"half was gone, and a quarter goes", [][]wgquick.Peer{peers(1, 1000)}, peers(501, 1000), peers(751, 1000), 250, "750 of 1000 peers of the last 10m would go"},
		{"half was gone, and one goes", [][]wgquick.Peer{peers(1, 1000)}, peers(501, 1000), peers(502, 1000), 1, "501 of 1000 peers of the last 10m would go"},
		{"one after the other, to a half", [][]wgquick.Peer{peers(1, 10)}, peers(5, 10), peers(6, 10), 0, ""},
		{"and beyond", [][]wgquick.Peer{peers(1, 10)}, peers(6, 10), peers(7, 10), 1, "6 of 10 peers of the last 10m would go"},
		{"three of four were few enough", [][]wgquick.Peer{peers(1, 4)}, peers(3, 4), peers(4, 4), 0, ""},
		{"the last of four", [][]wgquick.Peer{peers(1, 4)}, peers(4, 4), nil, 1, "4 of 4 peers of the last 10m would go"},
		{"the last of three", [][]wgquick.Peer{peers(1, 3)}, peers(3, 3), nil, 1, "the last peer would go"},
		{"what is back is not gone", [][]wgquick.Peer{peers(1, 10)}, peers(1, 7), slices.Concat(peers(1, 2), peers(6, 10)), 0, ""},
		{"a crowd of new ones makes nobody less", [][]wgquick.Peer{peers(1, 10)}, peers(1, 1000), peers(6, 1000), 0, ""},
		{"and none of those that were there before", [][]wgquick.Peer{peers(1, 10)}, peers(1, 1000), peers(7, 1000), 6, "6 of 10 peers of the last 10m would go"},
		{"what came within the window counts in what is in force", [][]wgquick.Peer{peers(1, 10)}, peers(1, 1000), peers(1, 10), 990, "990 of 1000 peers at once would go"},
		{"or in what was since", [][]wgquick.Peer{peers(1, 10), peers(1, 1000)}, peers(1, 600), peers(1, 400), 200, "600 of 1000 peers of the last 10m would go"},
		{"new keys under the same names", [][]wgquick.Peer{peers(1, 10)}, peers(1, 10), renamed(1, 10), 0, ""},
		{"new keys do not hide who is gone", [][]wgquick.Peer{peers(1, 10)}, renamed(1, 5), renamed(1, 4), 1, "6 of 10 peers of the last 10m would go"},
		{"prefixes, from many to one, in steps", [][]wgquick.Peer{{many(100)}}, []wgquick.Peer{many(50)}, []wgquick.Peer{many(40)}, 1, "60 of 100 prefixes of the last 10m would go"},
		{"prefixes, from many to one", nil, []wgquick.Peer{many(100)}, []wgquick.Peer{many(1)}, 1, "99 of 100 prefixes at once would go"},
		{"the last prefix of the only peer", nil, peers(1, 1), bare(peers(1, 1)), 1, "the last prefix would go"},
		{"the last prefixes of three", nil, peers(1, 3), bare(peers(1, 2)), 3, "the last prefix would go"},
		{"one without a prefix, of those who have none", nil, bare(peers(1, 2)), bare(peers(1, 1)), 0, ""},
		{"the last but one", nil, peers(1, 2), slices.Concat(bare(peers(1, 1)), peers(2, 2)), 0, ""},
		{"prefixes, all of them", nil, peers(1, 10), bare(peers(1, 10)), 10, "10 of 10 prefixes at once would go"},
		{"what is held counts no more", [][]wgquick.Peer{peers(1, 10)}, slices.Concat(held(peers(1, 6)...), peers(7, 10)), peers(9, 10), 6, ""},
		{"until too much of the rest would be gone", [][]wgquick.Peer{peers(1, 20)}, slices.Concat(held(peers(1, 11)...), peers(16, 20)), peers(17, 20), 12, "5 of 9 peers of the last 10m would go"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := guard
			g.Past = tt.past
			_, held, why, err := Promote(config(tt.inForce...), proposal(tt.proposal...), g)
			if err != nil || len(held) != tt.held || why != tt.why {
				t.Errorf("%d held, want %d: %q, want %q: %v", len(held), tt.held, why, tt.why, err)
			}
		})
	}
}

// What is accepted is what somebody has seen: the file marks it, and the status says what of it. What a proposal drops
// beside that came after it was seen.
func TestAcceptIsForWhatWasSeen(t *testing.T) {
	marked := func(ps ...wgquick.Peer) (out []wgquick.Peer) {
		for _, p := range ps {
			out = append(out, heldSince(p, earlier))
		}
		return out
	}
	whole := func(from, to int) (seen []Held) {
		for _, p := range peers(from, to) {
			seen = append(seen, Held{PublicKey: p.PublicKey, Since: earlier})
		}
		return seen
	}
	part := func(n int, prefixes ...int) (seen []Held) {
		return []Held{{PublicKey: key(n), Since: earlier, Prefixes: peer(n, prefixes...).AllowedIPs}}
	}
	all := func(n int) string { return fmt.Sprintf("%d without 10.0.0.%d/32", n, n) }
	for _, tt := range []struct {
		name              string
		seen              []Held
		inForce, proposal []wgquick.Peer
		gone              []string // of those that were marked
		peers, held       int
		why               string
	}{
		{"what is held goes", whole(1, 2), slices.Concat(marked(peers(1, 2)...), peers(7, 10)), peers(7, 10), []string{all(1), all(2)}, 4, 0, ""},
		{"and the last one, if it is", whole(1, 2), marked(peers(1, 2)...), nil, []string{all(1), all(2)}, 0, 0, ""},
		{"a little more goes with it", whole(1, 1), slices.Concat(marked(peer(1)), peers(7, 10)), peers(9, 10), []string{all(1)}, 2, 0, ""},
		{"much more does not", whole(1, 1), slices.Concat(marked(peer(1)), peers(7, 16)), peers(13, 16), []string{all(1)}, 10, 6, "6 of 10 peers at once would go"},
		{"nor do all", whole(1, 1), slices.Concat(marked(peer(1)), peers(7, 8)), nil, []string{all(1)}, 2, 2, "the last peer would go"},
		{"what is back stays", whole(1, 2), slices.Concat(marked(peers(1, 2)...), peers(7, 8)), slices.Concat(peers(2, 2), peers(7, 8)), []string{all(1)}, 3, 0, ""},
		{"what is marked and was not seen is still held", whole(1, 1), slices.Concat(marked(peers(1, 2)...), peers(7, 8)), peers(7, 8), []string{all(1)}, 3, 1, ""},
		{"nothing is marked", whole(1, 9), peers(1, 10), peers(10, 10), nil, 10, 9, "9 of 10 peers at once would go"},
		{"nothing was seen", nil, slices.Concat(marked(peer(1)), peers(7, 8)), peers(7, 8), nil, 3, 1, ""},
		{"it was held at another time", []Held{{PublicKey: key(1), Since: now}}, slices.Concat(marked(peer(1)), peers(7, 8)), peers(7, 8), nil, 3, 1, ""},
		{"prefixes", part(1, 2, 3), slices.Concat(marked(peer(1, 1, 2, 3)), peers(7, 8)), slices.Concat(peers(1, 1), peers(7, 8)),
			[]string{"1 without 10.0.0.2/32 10.0.0.3/32"}, 3, 0, ""},
		{"prefixes, and then another one", part(1, 2), slices.Concat(marked(peer(1, 1, 2, 3)), peers(7, 8)), slices.Concat(peers(1, 1), peers(7, 8)),
			[]string{"1 without 10.0.0.2/32"}, 3, 1, ""},
		{"prefixes, and then the peer", part(1, 2, 3), slices.Concat(marked(peer(1, 1, 2, 3)), peers(7, 8)), peers(7, 8),
			[]string{"1 without 10.0.0.2/32 10.0.0.3/32"}, 3, 1, ""},
		{"prefixes that another has by now", part(1, 2, 3), slices.Concat(marked(peer(1, 1, 2, 3)), peers(7, 8)), slices.Concat(peers(1, 1), []wgquick.Peer{peer(7, 7, 2)}, peers(8, 8)),
			[]string{"1 without 10.0.0.3/32"}, 3, 0, ""},
		{"a peer that is back with less", whole(1, 1), slices.Concat(marked(peer(1, 1, 2, 3)), peers(7, 8)), slices.Concat(peers(1, 1), peers(7, 8)),
			[]string{"1 without 10.0.0.2/32 10.0.0.3/32"}, 3, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inForce := config(tt.inForce...)
			rest, goes := accepted(inForce, proposal(tt.proposal...), tt.seen)
			var gone []string
			for _, r := range takenBy(rest).from(inForce.Peers) {
				line := fmt.Sprint(r.peer.PublicKey[3], " without")
				for _, a := range r.prefixes {
					line += " " + a.String()
				}
				gone = append(gone, line)
			}
			if !slices.Equal(gone, tt.gone) || goes != (len(gone) > 0) {
				t.Errorf("%q is gone, want %q: %t", gone, tt.gone, goes)
			}
			next, held, why, err := Promote(rest, proposal(tt.proposal...), guard)
			if err != nil || len(next.Peers) != tt.peers || len(held) != tt.held || why != tt.why {
				t.Errorf("%d peers, %d held, want %d, %d: %q, want %q: %v", len(next.Peers), len(held), tt.peers, tt.held, why, tt.why, err)
			}
		})
	}
}

// Between the look of a person and the command a proposal may be another one. A proposal that lets all that is held come
// back for a moment has nothing else accepted instead.
func TestAcceptOfWhatNobodyHasSeen(t *testing.T) {
	h, _, propose := housePast(t)
	propose(1, 20)
	propose(15, 20)
	propose(1, 20) // all that was held is back
	h.write(t, h.proposal("wg0"), rendered(t, 20))
	said, err := h.Accept(t.Context(), "wg0")
	if err == nil || len(said) != 2+19 || !strings.Contains(said[len(said)-1], "held, as it came later (19 of 20 peers at once would go): Node/node-19") {
		t.Errorf("%v, %d lines: %q", err, len(said), said)
	}
	must(t, h.Once(t.Context(), "wg0"))
	if n := h.kernel.peers("wg0"); n != 20 {
		t.Errorf("%d peers: what nobody has seen is accepted", n)
	}
	_, err = h.Accept(t.Context(), "wg0")
	must(t, err)
	must(t, h.Once(t.Context(), "wg0"))
	if n := h.kernel.peers("wg0"); n != 1 {
		t.Errorf("%d peers: what is held now is not accepted", n)
	}
}

// numbers are those of rendered, from and to included.
func numbers(from, to int) (out []int) {
	for n := from; n <= to; n++ {
		out = append(out, n)
	}
	return out
}

// house with a clock that only tests move.
func housePast(t *testing.T) (h *house, pass func(time.Duration), propose func(from, to int) int) {
	h = newHouse(t, "wg0")
	at := now
	h.clock = func() time.Time { return at }
	h.ShrinkWindow = 10 * time.Minute
	return h, func(d time.Duration) { at = at.Add(d) }, func(from, to int) int {
		t.Helper()
		h.write(t, h.proposal("wg0"), rendered(t, numbers(from, to)...))
		must(t, h.Once(t.Context(), "wg0")) // each a process of its own, as from cron
		return len(h.status(t, "wg0").Held)
	}
}

func TestADrainByHalvesIsHeld(t *testing.T) {
	h, pass, propose := housePast(t)
	propose(1, 1000)
	for _, step := range []struct {
		from, held int
		why        string
	}{
		{501, 0, ""},
		{750, 249, "749 of 1000 peers of the last 10m would go"},
		{875, 374, "625 of 751 peers of the last 10m would go"},
		{1000, 499, "125 of 126 peers at once would go"},
	} {
		held := propose(step.from, 1000)
		if why := h.status(t, "wg0").HeldWhy; held != step.held || why != step.why {
			t.Fatalf("from %d on: %d held because %q, want %d, %q", step.from, held, why, step.held, step.why)
		}
		pass(time.Second)
	}
	if n := h.kernel.peers("wg0"); n != 500 {
		t.Errorf("%d peers are left", n)
	}
	_, err := h.Accept(t.Context(), "wg0")
	must(t, err)
	must(t, h.Once(t.Context(), "wg0"))
	if n, s := h.kernel.peers("wg0"), h.status(t, "wg0"); n != 1 || len(s.Held) > 0 || s.HeldWhy != "" {
		t.Errorf("accepted: %d peers, %d held because %q", n, len(s.Held), s.HeldWhy)
	}
	propose(1000, 1019)
	if held := propose(1010, 1019); held != 0 {
		t.Errorf("after accept the measure is not a new one: %d held, %q", held, h.status(t, "wg0").HeldWhy)
	}
	if held := propose(1011, 1019); held != 1 {
		t.Errorf("after accept nothing is measured any more: %d held", held)
	}
}

// A daemon sees that another command has accepted, and one that is started again goes by what the one before it left.
func TestADaemonMeasuresLikeCommands(t *testing.T) {
	h, _, propose := housePast(t)
	i := h.newIface("wg0", func() {})
	look := func(from int) int {
		t.Helper()
		h.write(t, h.proposal("wg0"), rendered(t, numbers(from, 40)...))
		h.look(t, i, false)
		return len(h.status(t, "wg0").Held)
	}
	look(1)
	look(16)
	if held := propose(22, 40); held != 6 {
		t.Errorf("a command: %d held", held)
	}
	i = h.newIface("wg0", func() {})
	if held := look(25); held != 9 {
		t.Errorf("a new daemon: %d held", held)
	}
	_, err := h.Accept(t.Context(), "wg0")
	must(t, err)
	if held := look(32); held != 0 {
		t.Errorf("half of what was accepted: %d held because %q", held, h.status(t, "wg0").HeldWhy)
	}
}

// What has just come is measured as well, and each interface by itself.
func TestWhatHasJustComeIsMeasured(t *testing.T) {
	h, _, propose := housePast(t)
	h.Proposed = []string{"wg0", "wg1"}
	put := func(iface string, ps ...wgquick.Peer) (held int) {
		t.Helper()
		h.write(t, h.proposal(iface), renderedOf(t, ps...))
		must(t, h.Once(t.Context(), iface))
		return len(h.status(t, iface).Held)
	}
	propose(1, 3)
	propose(1, 40)
	propose(21, 40)
	if held := put("wg1", peers(41, 60)...); held != 0 {
		t.Errorf("another interface: %d held", held)
	}
	if held := propose(31, 40); held != 10 {
		t.Errorf("half of 40 peers is gone, and half of the rest: %d held", held)
	}
	if held := put("wg1", peers(51, 60)...); held != 0 {
		t.Errorf("another interface: %d held", held)
	}

	h, _, _ = housePast(t)
	put("wg0", peer(1), peer(2))
	put("wg0", peer(1, numbers(1, 100)...), peer(2, 200))
	put("wg0", peer(1, numbers(51, 100)...), peer(2, 200))
	if held := put("wg0", peer(1, numbers(76, 100)...), peer(2, 200)); held != 1 {
		t.Errorf("half of 100 prefixes is gone, and half of the rest: %d held", held)
	}
}

// A person who edits the file in force between two proposals has accepted nothing: what was there still counts, and
// what is not in the proposal waits.
func TestAnEditIsNoAccept(t *testing.T) {
	h, _, propose := housePast(t)
	propose(1, 40)
	propose(21, 40)
	b, err := os.ReadFile(h.inForce("wg0"))
	must(t, err)
	c, err := wgquick.Parse("wg0.conf", b)
	must(t, err)
	c.Peers = append(c.Peers[:5:5], peer(99))
	b, err = c.Marshal()
	must(t, err)
	h.write(t, h.inForce("wg0"), string(b))
	if held := propose(31, 40); held != 6 || h.kernel.peers("wg0") != 16 {
		t.Errorf("%d held, %d peers: the five that the person left, the one that he added, and the ten", held, h.kernel.peers("wg0"))
	}
}

func TestASlowDrainPasses(t *testing.T) {
	h, pass, propose := housePast(t)
	propose(1, 100)
	for n := 1; n <= 60; n++ { // one a minute
		pass(time.Minute)
		if held := propose(n+1, 100); held != 0 {
			t.Fatalf("at minute %d %d are held: %s", n, held, h.status(t, "wg0").HeldWhy)
		}
	}
	for n := 61; n <= 100; n++ { // until it is most of what was there a moment ago
		pass(time.Minute)
		if propose(n+1, 100) > 0 {
			if why := h.status(t, "wg0").HeldWhy; n < 75 {
				t.Errorf("at minute %d: %s", n, why)
			}
			return
		}
	}
	t.Error("the last peer went")
}

func TestAClockThatJumps(t *testing.T) {
	for name, jump := range map[string]time.Duration{"ahead": 3 * time.Minute, "back": -365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			h, pass, propose := housePast(t)
			propose(1, 40)
			propose(16, 40)
			pass(jump)
			if held := propose(23, 40); held != 7 {
				t.Errorf("what went before the jump is forgotten: %d held", held)
			}
			propose(1, 40)
			pass(time.Hour)
			if held := propose(16, 40); held != 0 {
				t.Errorf("an hour later it still counts: %d held because %q", held, h.status(t, "wg0").HeldWhy)
			}
			pass(time.Hour)
			if held := propose(23, 40); held != 0 {
				t.Errorf("two hours later it still counts: %d held because %q", held, h.status(t, "wg0").HeldWhy)
			}
		})
	}
}

// Whatever is proposed, in whatever order and at whatever pace: of no file that was in force within the window is much
// more than half gone. It may be three fifths, where a quarter of it was so new that no file with it was kept.
func TestNoWayAroundThePast(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 0))
		p := past{path: t.TempDir() + "/wg0.past", window: 10 * time.Minute}
		inForce, next, at := config(peers(1, 20+r.IntN(80))...), 1000, now
		type was struct {
			at    time.Time
			peers []wgquick.Peer
		}
		var all []was
		for range 60 {
			at = at.Add(time.Duration(r.IntN(90)) * time.Second)
			var wants []wgquick.Peer
			drop := r.Float64() // the greedy one as often as the modest one
			for _, p := range inForce.Peers {
				if r.Float64() > drop/float64(1+r.IntN(8)) {
					wants = append(wants, p)
				}
			}
			for range r.IntN(1 + min(100, len(inForce.Peers))/(1+r.IntN(8))) {
				next++
				wants = append(wants, peer(next))
			}
			g := guard
			var err error
			g.Past, err = p.at("", at)
			must(t, err)
			g.Now = at
			then, _, _, err := Promote(inForce, proposal(wants...), g)
			must(t, err)
			must(t, p.leave("", inForce.Peers, at))
			all = append(all, was{at, inForce.Peers})
			inForce = then
			stays := map[wgquick.PublicKey]bool{}
			for _, p := range inForce.Peers {
				stays[p.PublicKey] = true
			}
			for _, f := range all {
				gone := 0
				for _, p := range f.peers {
					if !stays[p.PublicKey] {
						gone++
					}
				}
				if at.Sub(f.at) <= p.window && gone > max(few, len(f.peers)*3/5+1) {
					t.Fatalf("seed %d: of %d peers %s ago %d are gone", seed, len(f.peers), at.Sub(f.at), gone)
				}
			}
		}
	}
}

func TestThePastIsSmall(t *testing.T) {
	p := past{path: t.TempDir() + "/wg0.past", window: 10 * time.Minute}
	at := now
	for n := 1; n <= 400; n++ { // one more each ten seconds
		at = at.Add(10 * time.Second)
		must(t, p.leave("", peers(1, n), at))
		if all, err := p.at("", at); err != nil || len(all) > 24 {
			t.Fatalf("%d files are kept: %v", len(all), err)
		}
	}
	all, err := (&past{path: p.path, window: p.window}).at("", at)
	if err != nil || len(all) != 3 {
		t.Errorf("%d are read back, of a window and a half: %v", len(all), err)
	}
	fi, err := os.Stat(p.path)
	must(t, err)
	if fi.Mode().Perm() != 0o640 {
		t.Errorf("mode %o", fi.Mode().Perm())
	}
	must(t, os.WriteFile(p.path, []byte("{"), 0o600))
	if all, err := p.at("", at); err != nil || len(all) != 0 {
		t.Errorf("what cannot be understood: %d, %v", len(all), err)
	}
	must(t, p.leave("", peers(1, 4), at))
	if all, err := (&past{path: p.path, window: p.window}).at("", at); err != nil || fmt.Sprint(all) != fmt.Sprint([][]wgquick.Peer{peers(1, 4)}) {
		t.Errorf("%v, %v", all, err)
	}
}

// A crowd with long names, which grows in many steps, does not make what was there before too much to be kept.
func TestACrowdMakesNothingForgotten(t *testing.T) {
	h := newHouse(t, "wg0")
	at := now
	h.ShrinkWindow, h.clock = 10*time.Minute, func() time.Time { return at }
	i := h.newIface("wg0", func() {})
	i.files.past.most = 1 << 16
	propose := func(ps ...wgquick.Peer) {
		at = at.Add(time.Second)
		h.write(t, h.proposal("wg0"), renderedOf(t, ps...))
		h.look(t, i, true)
	}
	propose(peers(1, 8)...)
	crowd := peers(11, 40)
	for n := range crowd {
		crowd[n].Origin.Name += strings.Repeat("x", 500)
		crowd[n].AllowedIPs = nil
	}
	for step := range 9 {
		for n := range 1 << step {
			crowd[n%30].AllowedIPs = append(crowd[n%30].AllowedIPs, prefix(1000*(1+step)+n))
		}
		if propose(append(peers(1, 8), crowd...)...); h.kernel.peers("wg0") != 38 {
			t.Fatalf("step %d: %d peers: what takes nothing from anybody goes on: %q", step, h.kernel.peers("wg0"), h.status(t, "wg0").Refused)
		}
	}
	if s := h.status(t, "wg0"); len(s.Refused) != 1 || !strings.Contains(s.Refused[0], "kept of what was in force") {
		t.Errorf("it is not said: %q", s.Refused)
	}
	if fi, err := os.Stat(i.files.past.path); err != nil || fi.Size() > 1<<16 {
		t.Errorf("%v, %v", fi.Size(), err)
	}
	propose(crowd...)
	if h.kernel.peers("wg0") != 38 {
		t.Errorf("%d peers: the eight of before are gone", h.kernel.peers("wg0"))
	}
	i = h.newIface("wg0", func() {}) // a restart
	if propose(crowd...); h.kernel.peers("wg0") != 38 {
		t.Errorf("%d peers after a restart", h.kernel.peers("wg0"))
	}
}

// TestWhatIsHeldIsOfThePast: it may come back, a few at a time, and these few go again; when the past that it was held
// for is over, it is still there to be measured by.
func TestWhatIsHeldIsOfThePast(t *testing.T) {
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	p := past{path: filepath.Join(t.TempDir(), "wg0.past"), window: 10 * time.Minute}
	inForce := config(peers(1, 100)...)
	propose := func(after time.Duration, ps []wgquick.Peer) {
		t.Helper()
		at = at.Add(after)
		g := guard
		g.Now = at
		var err error
		g.Past, err = p.at("", at)
		must(t, err)
		next, _, _, err := Promote(inForce, proposal(ps...), g)
		must(t, err)
		must(t, p.leave("", inForce.Peers, at))
		inForce = next
	}
	propose(0, nil)
	for range 2 {
		propose(16*time.Minute, peers(1, 1))
		for n := 2; n < 100; n += 3 {
			propose(time.Second, slices.Concat(peers(1, 1), peers(n, n+2)))
			propose(time.Second, peers(1, 1))
		}
	}
	if len(inForce.Peers) < 90 {
		t.Errorf("%d of 100 peers are left", len(inForce.Peers))
	}
	if len(p.moments) > 5 {
		t.Errorf("%d moments are kept", len(p.moments))
	}
}

// TestAClockThatIsSetBackOnce, for commands that come and go and know only the file: what went by the clock of before
// counts no longer than anything else.
func TestAClockThatIsSetBackOnce(t *testing.T) {
	path, at := filepath.Join(t.TempDir(), "wg0.past"), time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	leave := func(from int) (moments int) {
		t.Helper()
		p := past{path: path, window: 10 * time.Minute}
		was, err := p.at("", at)
		must(t, err)
		must(t, p.leave("", peers(from, 40), at))
		return len(was)
	}
	leave(1)
	at = at.AddDate(-1, 0, 0)
	if n := leave(2); n != 1 {
		t.Errorf("%d moments just after", n)
	}
	at = at.Add(time.Hour)
	if n := leave(3); n != 0 {
		t.Errorf("%d moments an hour later", n)
	}
}
