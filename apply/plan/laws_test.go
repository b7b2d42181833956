package plan

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"wg-kube/templates/wgquick"
)

func TestLaws(t *testing.T) {
	for seed := range uint64(1000) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { laws(t, seed) })
	}
}

// FuzzLaws is TestLaws with other seeds.
func FuzzLaws(f *testing.F) {
	f.Add(uint64(1000))
	f.Fuzz(laws)
}

// laws draws a file and a device, each from a small world in which they often meet, and checks the laws.
func laws(t *testing.T, seed uint64) {
	w := world{rand.New(rand.NewPCG(seed, 1))}
	u := Underlay{Tables: map[string]uint32{"lab": 77}, MTU: 1500}
	want, err := Want(w.config(), "wg0", u)
	if err != nil {
		return // a file that is refused has no plan
	}
	live := w.live(u)
	if !live.Exists {
		for i := range want.Peers {
			want.Peers[i].Talking = w.IntN(2) == 0
		}
	}
	checkLaws(t, want, live, Diff(want, live))
}

// checkLaws checks what holds for every plan p from live to want.
func checkLaws(t *testing.T, want Desired, live Live, p Plan) {
	t.Helper()
	frozen := live
	frozen.Addresses, frozen.Peers = slices.Clone(live.Addresses), slices.Clone(live.Peers)
	frozen.Routes, frozen.Rules = slices.Clone(live.Routes), slices.Clone(live.Rules)
	for i := range frozen.Peers {
		frozen.Peers[i].AllowedIPs = slices.Clone(live.Peers[i].AllowedIPs)
	}
	defer func() {
		if !reflect.DeepEqual(frozen, live) {
			t.Error("live was changed")
		}
	}()
	if again := Diff(want, live); !reflect.DeepEqual(p, again) {
		t.Errorf("not deterministic: %s", cmp.Diff(p.String(), again.String()))
	}
	end := live.After(p)
	if rest := Diff(want, end); !rest.Empty() {
		t.Errorf("something is left to do after\n%s:\n%s", p, rest)
	}
	checkReached(t, want, end)

	at := live.After(Plan{}) // in order
	for i, s := range p.Steps {
		before := at
		at = at.After(Plan{Interface: p.Interface, Steps: []Step{s}})
		checkNothingLost(t, want, live, at, p.Steps[:i+1])
		checkOnlyOurs(t, want, before, s)
	}
	if d := cmp.Diff(end, at, cmpopts.EquateEmpty(), cmp.AllowUnexported(netip.Prefix{}, netip.Addr{}), cmpopts.EquateComparable(netip.Prefix{}, netip.AddrPort{})); d != "" {
		t.Errorf("step by step leads elsewhere: %s", d)
	}
}

// checkReached compares the end with the file, without asking Diff.
func checkReached(t *testing.T, want Desired, end Live) {
	t.Helper()
	if !end.Exists || !end.Up || end.MTU != want.MTU || end.FwMark != want.FwMark || end.Firewall != want.Firewall {
		t.Errorf("device: %+v", end)
	}
	if len(end.Peers) != len(want.Peers) {
		t.Fatalf("%d peers, want %d", len(end.Peers), len(want.Peers))
	}
	for i, w := range want.Peers {
		l := end.Peers[i]
		if l.PublicKey != w.PublicKey || l.PresharedKey != w.PresharedKey || l.Keepalive != w.Keepalive || !slices.Equal(l.AllowedIPs, w.AllowedIPs) {
			t.Errorf("peer %v\nwant %v", l, w)
		}
	}
	for _, a := range want.Addresses {
		if !slices.Contains(end.Addresses, a) {
			t.Errorf("address %s is missing", a)
		}
	}
	if d := cmp.Diff(primaries(want.Addresses), primaries(end.Addresses), cmpopts.EquateComparable(netip.Prefix{})); d != "" {
		t.Errorf("order of the addresses: %s", d)
	}
	for _, a := range end.Addresses {
		if !slices.Contains(want.Addresses, a) && !(end.Userspace && a.Addr().IsLinkLocalUnicast()) {
			t.Errorf("address %s is left", a)
		}
	}
	for _, r := range want.Routes {
		if !hasRoute(end.Routes, r) {
			t.Errorf("route %v is missing", r)
		}
	}
	for _, r := range end.Routes {
		if r.Protocol == Protocol && !slices.ContainsFunc(want.Routes, func(w Route) bool { return w.key() == r.key() }) {
			t.Errorf("route %v is left", r)
		}
	}
	for _, v6 := range []bool{false, true} {
		if !defaultRules(want.Rules, v6) {
			continue
		}
		guide := slices.IndexFunc(end.Rules, func(r Rule) bool { return r.V6 == v6 && r.Guide() && r.Mark == want.FwMark })
		if guide < 0 || !slices.ContainsFunc(end.Rules, func(r Rule) bool {
			return r.V6 == v6 && r.Exemption() && r.Priority < end.Rules[guide].Priority
		}) {
			t.Errorf("rules: %v", end.Rules)
		}
	}
}

// primaries are the IPv4 addresses that a packet can come from by itself: the first of each subnet.
func primaries(addresses []netip.Prefix) (first []netip.Prefix) {
	for _, a := range addresses {
		if a.Addr().Is4() && !slices.ContainsFunc(first, func(b netip.Prefix) bool { return a.Masked() == b.Masked() }) {
			first = append(first, a)
		}
	}
	return first
}

func defaultRules(rules []Rule, v6 bool) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool { return r.V6 == v6 })
}

// checkNothingLost looks at a moment in the middle of a plan: what was there and is wanted is there.
func checkNothingLost(t *testing.T, want Desired, start, at Live, done []Step) {
	t.Helper()
	for _, w := range want.Peers {
		i := slices.IndexFunc(start.Peers, func(p Peer) bool { return p.PublicKey == w.PublicKey })
		if i < 0 {
			continue
		}
		j := slices.IndexFunc(at.Peers, func(p Peer) bool { return p.PublicKey == w.PublicKey })
		if j < 0 {
			t.Errorf("peer %s is lost after\n%s", w.Name, Plan{Steps: done})
			continue
		}
		for _, a := range w.AllowedIPs {
			if slices.Contains(start.Peers[i].AllowedIPs, a) && !slices.Contains(at.Peers[j].AllowedIPs, a) {
				t.Errorf("prefix %s of %s is lost after\n%s", a, w.Name, Plan{Steps: done})
			}
		}
	}
	v4 := func(a netip.Prefix) bool { return a.Addr().Is4() }
	flushed := slices.ContainsFunc(start.Addresses, v4) && !slices.ContainsFunc(want.Addresses, v4)
	for _, r := range want.Routes {
		if hasRoute(start.Routes, r) && !hasRoute(at.Routes, r) && !(flushed && v4(r.Dst)) {
			t.Errorf("route %v is lost after\n%s", r, Plan{Steps: done})
		}
	}
	for _, a := range want.Addresses {
		is := func(b netip.Prefix) bool { return a.Addr() == b.Addr() } // its length may change
		had := slices.Contains(start.Addresses, a)
		if had && !slices.ContainsFunc(at.Addresses, is) {
			t.Errorf("address %s is lost after\n%s", a, Plan{Steps: done})
		}
	}
}

// checkOnlyOurs holds each removal against the definition of what is ours.
func checkOnlyOurs(t *testing.T, want Desired, at Live, s Step) {
	t.Helper()
	switch s := s.(type) {
	case DelRoute:
		if p := s.Route.Protocol; p != Protocol && (p != protocolBoot || want.Table == "off" || at.Ours) {
			t.Errorf("removes the route of somebody else: %s", s)
		}
	case Greet:
		i := slices.IndexFunc(at.Peers, func(p Peer) bool { return p.PublicKey == s.PublicKey })
		if !at.Up || i < 0 || at.Peers[i].Keepalive != 0 || !at.Peers[i].Endpoint.IsValid() {
			t.Errorf("greets a peer that cannot be, or need not be: %s", s)
		}
	case DelRule:
		if p := s.Rule.Protocol; p != Protocol && (p != protocolBoot || want.Table != "auto") {
			t.Errorf("removes the rule of somebody else: %s", s)
		}
	case AddRoute:
		foreign := slices.ContainsFunc(at.Routes, func(r Route) bool {
			return r.key() == s.Route.key() && r.Metric == metric(r.Dst) && r.Protocol != protocolKernel
		})
		if foreign {
			t.Errorf("adds a route that is there: %s", s)
		}
		checkExempt(t, want, at, s.Route)
	}
}

// checkExempt holds that a default route takes nothing at any moment but what it is for: what other routes lead to
// was exempt before.
func checkExempt(t *testing.T, want Desired, at Live, r Route) {
	t.Helper()
	v6 := r.Dst.Addr().Is6()
	for _, guide := range want.Rules {
		if !r.isDefault() || guide.V6 != v6 || !guide.Guide() || guide.Table != r.Table {
			continue
		}
		exempt := slices.ContainsFunc(at.Rules, func(e Rule) bool {
			return e.V6 == v6 && e.Exemption() && slices.ContainsFunc(at.Rules, func(g Rule) bool {
				return g.V6 == v6 && g.Guide() && g.Mark == guide.Mark && g.Priority > e.Priority
			})
		})
		if !exempt {
			t.Errorf("a default route before its rules: %v", at.Rules)
		}
	}
}

// world draws from few values.
type world struct{ *rand.Rand }

func (w world) config() *wgquick.Config {
	c := &wgquick.Config{Interface: wgquick.Interface{
		MTU:        w.IntN(2) * 1400,
		ListenPort: uint16(w.IntN(3)),
		FwMark:     uint32(w.IntN(2) * w.IntN(2) * 9),
		Table:      []string{"", "", "", "auto", "off", "lab", "main", "9"}[w.IntN(8)],
	}}
	if w.IntN(4) > 0 {
		c.Interface.PrivateKey = wgquick.SecretKey{byte(w.IntN(2)), 1}
	}
	seen := map[netip.Addr]bool{}
	for range w.IntN(5) {
		if a := w.address(); !seen[a.Addr()] {
			seen[a.Addr()] = true
			c.Interface.Address = append(c.Interface.Address, a)
		}
	}
	for k := range byte(6) {
		if w.IntN(3) == 0 {
			continue
		}
		p := wgquick.Peer{
			Origin:              wgquick.Origin{Kind: "Node", Name: string('a' + rune(k))},
			PublicKey:           wgquick.PublicKey{k + 1, byte(w.IntN(2))},
			PresharedKey:        wgquick.SecretKey{byte(w.IntN(2))},
			PersistentKeepalive: uint16(w.IntN(2) * 25),
			Line:                int(k) + 1,
		}
		for range w.IntN(4) {
			p.AllowedIPs = append(p.AllowedIPs, w.prefix())
		}
		if w.IntN(2) == 0 {
			p.Endpoint = wgquick.Endpoint{Host: "192.0.2." + string('1'+rune(w.IntN(3))), Port: 51820}
		}
		c.Peers = append(c.Peers, p)
	}
	return c
}

func (w world) address() netip.Prefix {
	return pick(w, "10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24", "10.0.0.2/32", "10.1.0.1/16", "10.0.0.1/16", "10.9.0.0/31",
		"fd00::1/64", "fd00::1/128", "fd00::2/64", "fd00::3/80", "fe80::1/64")
}

func (w world) prefix() netip.Prefix {
	if w.IntN(12) == 0 {
		return pick(w, "0.0.0.0/0", "::/0")
	}
	return pick(w, "10.0.0.0/24", "10.0.0.0/16", "10.1.0.0/16", "10.0.0.9/32", "10.2.0.0/16", "10.3.0.0/16", "10.0.0.0/8",
		"fd00::/64", "fd00::1/128", "fd01::/64", "fd00::/16")
}

func pick(w world, from ...string) netip.Prefix {
	return netip.MustParsePrefix(from[w.IntN(len(from))])
}

// live is a device that once was as another file said, and to which things happened since.
func (w world) live(u Underlay) Live {
	var l Live
	if w.IntN(6) == 0 {
		l.Rules = w.rules()
		return l
	}
	if want, err := Want(w.config(), "wg0", u); err == nil {
		p := Diff(want, l)
		if w.IntN(4) == 0 {
			p.Steps = p.Steps[:w.IntN(len(p.Steps)+1)] // it stopped half way
		}
		l = l.After(p)
	}
	l.Now = now
	l.Up = l.Up && w.IntN(4) > 0
	l.Userspace = w.IntN(2) == 0
	if w.IntN(3) == 0 {
		l.Ours = false
		for i := range l.Routes {
			l.Routes[i].Protocol = protocolBoot
		}
		for i := range l.Rules {
			l.Rules[i].Protocol = protocolBoot
		}
	}
	for range w.IntN(4) {
		dst := w.prefix()
		r := Route{Table: []uint32{tableMain, tableMain, 9, 77}[w.IntN(4)], Dst: dst, Metric: metric(dst),
			Protocol: []int{protocolKernel, protocolBoot, Protocol, 4, 186}[w.IntN(5)]}
		if !slices.ContainsFunc(l.Routes, func(o Route) bool { return o.key() == r.key() && o.Protocol != protocolKernel }) {
			l.Routes = append(l.Routes, r)
		}
	}
	l.Routes = slices.DeleteFunc(l.Routes, func(r Route) bool {
		return w.IntN(5) == 0 || !l.Up && r.Protocol == protocolBoot // the kernel takes the routes with the link
	})
	l.Rules = slices.DeleteFunc(l.Rules, func(Rule) bool { return w.IntN(5) == 0 })
	l.Rules = append(l.Rules, w.rules()...)
	if w.IntN(3) == 0 {
		l.FwMark = []uint32{0, 9, 51820}[w.IntN(3)]
	}
	if n := len(l.Addresses); n > 0 && w.IntN(3) == 0 {
		l.Addresses = slices.Delete(l.Addresses, 0, 1+w.IntN(n))
	}
	if n := len(l.Addresses); n > 0 && w.IntN(3) == 0 {
		at := w.IntN(n)
		l.Addresses = slices.Concat(l.Addresses[at:], l.Addresses[:at])
	}
	if a := w.address(); !slices.ContainsFunc(l.Addresses, func(b netip.Prefix) bool { return a.Addr() == b.Addr() }) {
		l.Addresses = append(l.Addresses, a)
	}
	for i := range l.Peers {
		p := &l.Peers[i]
		if w.IntN(3) == 0 {
			p.Endpoint = netip.MustParseAddrPort("198.51.100.1:1")
		}
		if w.IntN(2) == 0 {
			p.Asked = wgquick.Endpoint{Host: "192.0.2.1", Port: 51820}
		}
		if w.IntN(2) == 0 {
			p.LastHandshake = now.Add(-time.Duration(w.IntN(400)) * time.Second)
		}
		p.Unanswered = w.IntN(3) == 0
	}
	w.Shuffle(len(l.Routes), func(i, j int) { l.Routes[i], l.Routes[j] = l.Routes[j], l.Routes[i] })
	w.Shuffle(len(l.Peers), func(i, j int) { l.Peers[i], l.Peers[j] = l.Peers[j], l.Peers[i] })
	return l
}

// rules are those of other devices, and some that were left behind.
func (w world) rules() (all []Rule) {
	for range w.IntN(3) {
		mark := []uint32{9, 51820, 4242}[w.IntN(3)]
		r := Rule{V6: w.IntN(2) == 0, Priority: 32000 + w.IntN(4), Protocol: []int{protocolBoot, Protocol, 4}[w.IntN(3)],
			Not: true, Mark: mark, Table: mark, Suppress: -1}
		if w.IntN(2) == 0 {
			r.Not, r.Mark, r.Table, r.Suppress = false, 0, tableMain, 0
		}
		if !slices.ContainsFunc(all, func(o Rule) bool { return o.V6 == r.V6 && o.Priority == r.Priority }) {
			all = append(all, r)
		}
	}
	return all
}

// hub is a file with a number of peers, each with a route and an endpoint of its own.
func hub(peers int) *wgquick.Config {
	c := &wgquick.Config{Interface: wgquick.Interface{
		PrivateKey: wgquick.SecretKey{7}, ListenPort: 51820,
		Address: []netip.Prefix{netip.MustParsePrefix("100.96.0.1/32")},
	}}
	for i := range uint32(peers) {
		var key wgquick.PublicKey
		binary.LittleEndian.PutUint32(key[:], i*2654435761) // in no order
		key[31] = 1
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 10<<24+i)
		c.Peers = append(c.Peers, wgquick.Peer{
			Origin:     wgquick.Origin{Kind: "Node", Name: "spoke"},
			PublicKey:  key,
			Endpoint:   wgquick.Endpoint{Host: netip.AddrFrom4([4]byte{198, 51, a[2], a[3]}).String(), Port: 51820},
			AllowedIPs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4(a), 32)},
		})
	}
	return c
}

func TestOneChangeCostsTheSameAtAnySize(t *testing.T) {
	for _, peers := range []int{10, 1000, 10000} {
		want, err := Want(hub(peers), "wg0", Underlay{})
		if err != nil {
			t.Fatal(err)
		}
		live := Live{}.After(Diff(want, Live{}))

		c := hub(peers)
		c.Peers[3].AllowedIPs = append(c.Peers[3].AllowedIPs, c.Peers[4].AllowedIPs...) // takes it from 4,
		c.Peers[4].AllowedIPs = []netip.Prefix{netip.MustParsePrefix("10.99.0.0/16")}   // which gets another,
		c.Peers[5].PresharedKey[0]++
		c.Peers = slices.Delete(c.Peers, 7, 8)
		if want, err = Want(c, "wg0", Underlay{}); err != nil {
			t.Fatal(err)
		}
		p := Diff(want, live)
		if len(p.Steps) != 6 {
			t.Errorf("%d peers: %d steps, want 6:\n%s", peers, len(p.Steps), p)
		}
	}
}

func BenchmarkWant(b *testing.B) {
	eachSize(b, func(b *testing.B, c *wgquick.Config) {
		for b.Loop() {
			if _, err := Want(c, "wg0", Underlay{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDiff(b *testing.B) {
	eachSize(b, func(b *testing.B, c *wgquick.Config) {
		want, err := Want(c, "wg0", Underlay{})
		if err != nil {
			b.Fatal(err)
		}
		live := Live{}.After(Diff(want, Live{}))
		want.Peers[1].Keepalive = 25
		for b.Loop() {
			if len(Diff(want, live).Steps) != 1 {
				b.Fatal("one step is wanted")
			}
		}
	})
}

func eachSize(b *testing.B, bench func(*testing.B, *wgquick.Config)) {
	for _, size := range []struct {
		name  string
		peers int
	}{{"10", 10}, {"100", 100}, {"1000", 1000}, {"10000", 10000}} {
		b.Run(size.name, func(b *testing.B) {
			b.ReportAllocs()
			bench(b, hub(size.peers))
		})
	}
}
