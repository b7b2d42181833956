package overlay

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wg-kube/templates/wgquick"
)

// TestBudget: what many claim together, before and after others came.
func TestBudget(t *testing.T) {
	// wide is so many /8, from N.0.0.0/8 on.
	wide := func(n, count int) string {
		var cidrs []string
		for range count {
			cidrs = append(cidrs, fmt.Sprintf("%d.0.0.0/8", n))
			n++
		}
		return strings.Join(cidrs, ",")
	}
	allowed := func(cidrs string) string { return "allowed-ips=" + cidrs }
	small := func(name string) string { return fmt.Sprintf("10.0.%d.0/24", name[0]) }
	nodes := func(names ...string) (ns []Node) {
		for _, n := range names {
			ns = append(ns, node(n, allowed(small(n))))
		}
		return ns
	}
	laptops := func(names ...string) (ps []Peer) {
		for _, n := range names {
			ps = append(ps, crd(n, allowed(small(n))))
		}
		return ps
	}
	static := Fragment{Name: "f.conf", Peers: []wgquick.Peer{{PublicKey: key("f"), AllowedIPs: prefixes("192.0.2.0/24", "192.0.3.0/24", "192.0.4.0/24", "192.0.5.0/24")}}}
	const four = "10.1.0.0/24,10.1.1.0/24,10.1.2.0/24,10.1.3.0/24"
	const five = four + ",10.1.4.0/24"
	const wgp, all, at = "more than all WireGuardPeers together are granted: ", "more than all together are granted: ", " at nowhere"
	for name, tc := range map[string]struct {
		maxPeers      int
		before, after Snapshot
		want          map[string]string
		refused       []string
	}{
		"a default route, of many tenants": {0, Snapshot{}, Snapshot{Nodes: []Node{node("n", allowed(wide(30, 1)))}, Peers: []Peer{
			crd("a", allowed(wide(12, 3))), crd("b", allowed(wide(15, 2))), secret("c", allowed(wide(20, 4))), secret("d", allowed("24.0.0.0/23,24.0.2.0/24"))}},
			map[string]string{"n": wide(30, 1) + at, "ns/a": wide(12, 3) + at, "ns/b": wide(15, 1) + at, "ns/c": wide(20, 4) + at, "ns/d": "24.0.2.0/24" + at}, []string{
				`WireGuardPeer/ns/b: allowedIPs "16.0.0.0/8": ` + wgp + `4 x /8 of public IPv4`,
				`Secret/ns/d: allowed-ips "24.0.0.0/23": more than all Secrets together are granted: 4 x /8 of public IPv4`}},
		"a default route, of many Nodes": {0, Snapshot{}, Snapshot{Nodes: []Node{
			node("a", allowed(wide(20, 4))), node("b", allowed(wide(24, 4))), node("c", allowed(wide(28, 4))), node("d", allowed(wide(32, 3))), node("e", allowed(wide(36, 2)+",198.51.100.7/32"))}},
			map[string]string{"a": wide(20, 4) + at, "b": wide(24, 4) + at, "c": wide(28, 4) + at, "d": wide(32, 3) + at, "e": wide(36, 1) + ",198.51.100.7/32" + at},
			[]string{`Node/e: allowed-ips "37.0.0.0/8": ` + all + `16 x /8 of public IPv4`}},
		"IPv6 by itself, and incumbents first": {0, Snapshot{Peers: []Peer{crd("m", allowed("2001::/16,2002::/16,2003::/16,2600::/16"))}}, Snapshot{Peers: []Peer{
			crd("m", allowed("2001::/16,2002::/16,2003::/16,2600::/16,2604::/16,40.0.0.0/8")), crd("a", allowed("2601::/31,2602::/32"))}},
			map[string]string{"ns/m": "40.0.0.0/8,2001::/16,2002::/16,2003::/16,2600::/16" + at, "ns/a": "2602::/32" + at}, []string{
				`WireGuardPeer/ns/a: allowedIPs "2601::/31": ` + wgp + `4 x /16 of public IPv6`,
				`WireGuardPeer/ns/m: allowedIPs "2604::/16": more than one WireGuardPeer is granted: 4 x /16 of public IPv6`}},
		"what is private": {0, Snapshot{}, Snapshot{Peers: []Peer{
			crd("a", allowed(wide(20, 4)+",10.0.0.0/8,100.64.0.0/16,172.16.0.0/12,192.168.0.0/17")), crd("b", allowed("100.0.0.0/10,192.168.128.0/17,fc00::/16,fd00::/16,fd01::/16,fd02::/16,fd03::/16"))}},
			map[string]string{"ns/a": "10.0.0.0/8," + wide(20, 4) + ",100.64.0.0/16,172.16.0.0/12,192.168.0.0/17" + at, "ns/b": "192.168.128.0/17,fc00::/16,fd00::/16,fd01::/16,fd02::/16,fd03::/16" + at},
			[]string{`WireGuardPeer/ns/b: allowedIPs "100.0.0.0/10": ` + wgp + `4 x /8 of public IPv4`}},

		"newcomers: Nodes, and a few others": {4, Snapshot{}, Snapshot{Nodes: nodes("v", "w", "x", "y"), Peers: laptops("a", "b")},
			map[string]string{"v": small("v") + at, "w": small("w") + at, "x": small("x") + at, "y": small("y") + at},
			[]string{`WireGuardPeer/ns/a: ` + all + `4 peers`, `WireGuardPeer/ns/b: ` + all + `4 peers`}},
		"incumbents of each kind before a Node": {4, Snapshot{Nodes: nodes("m", "n"), Peers: append(laptops("o"), secret("p", allowed(small("p"))))},
			Snapshot{Nodes: nodes("m", "n", "a"), Peers: append(laptops("o", "b"), secret("p", allowed(small("p"))))},
			map[string]string{"m": small("m") + at, "n": small("n") + at, "ns/o": small("o") + at, "ns/p": small("p") + at},
			[]string{`Node/a: ` + all + `4 peers`, `WireGuardPeer/ns/b: ` + all + `4 peers`}},
		"a tenant leaves room": {8, Snapshot{Peers: laptops("c", "d", "e")}, Snapshot{Nodes: nodes("m", "n"), Peers: laptops("a", "c", "d", "e")},
			map[string]string{"m": small("m") + at, "n": small("n") + at, "ns/c": small("c") + at, "ns/d": small("d") + at},
			[]string{`WireGuardPeer/ns/a: ` + wgp + `2 peers`, `WireGuardPeer/ns/e: ` + wgp + `2 peers`}},
		"a place is free again": {8, Snapshot{Peers: laptops("c", "d", "e")}, Snapshot{Peers: laptops("d", "e")},
			map[string]string{"ns/d": small("d") + at, "ns/e": small("e") + at}, nil},
		"an incumbent with a new key": {4, Snapshot{Peers: laptops("c", "d")}, Snapshot{Peers: []Peer{crd("c", allowed("10.0.7.0/24"), "public-key="+key("new").String())}},
			map[string]string{"ns/c": "10.0.7.0/24" + at}, nil},
		"prefixes": {4, Snapshot{}, Snapshot{Nodes: []Node{node("z", allowed("10.9.0.0/24,10.9.1.0/24"))}, Peers: []Peer{
			crd("a", allowed(five))}},
			map[string]string{"z": "10.9.0.0/24,10.9.1.0/24" + at, "ns/a": four + at},
			[]string{`WireGuardPeer/ns/a: allowedIPs "10.1.4.0/24": ` + wgp + `4 prefixes`}},
		"the owner's peers and prefixes count": {2, Snapshot{Nodes: []Node{node("m", allowed(five)), nodes("n")[0]}}, Snapshot{Fragments: []Fragment{static}, Nodes: []Node{
			node("m", allowed(five)), nodes("n")[0]}},
			map[string]string{"f.conf": joined(static.Peers[0].AllowedIPs) + at, "m": four + at}, []string{
				`Node/m: allowed-ips "10.1.4.0/24": ` + all + `8 prefixes`,
				`Node/n: ` + all + `2 peers`,
				`Node/n: allowed-ips "10.0.110.0/24": ` + all + `8 prefixes`}},
		"also beside who cannot be read": {2, Snapshot{Nodes: []Node{node("m", allowed(five))}}, Snapshot{Fragments: []Fragment{static}, Unread: whos(KindNode, "m")},
			map[string]string{"f.conf": joined(static.Peers[0].AllowedIPs) + at, "m": four + at}, []string{`Node/m: it cannot be read; what it had stays`}},
		"whoever is refused takes no place": {1, Snapshot{}, Snapshot{Nodes: []Node{node("a", allowed("100.96.0.0/24")), nodes("b")[0]}},
			map[string]string{"b": small("b") + at}, []string{
				`Node/a: ` + all + `1 peers`,
				`Node/a: allowed-ips "100.96.0.0/24": overlaps 100.96.0.1/32, held by Node/us`}},
		"those that cannot be read": {4, Snapshot{Peers: laptops("c"), Nodes: nodes("m", "n")}, Snapshot{Unread: append(whos(KindWireGuardPeer, "ns/c"), whos(KindNode, "m")...), Nodes: nodes("a", "n", "o"), Peers: laptops("b")},
			map[string]string{"ns/c": small("c") + at, "m": small("m") + at, "n": small("n") + at, "a": small("a") + at}, []string{
				`Node/m: it cannot be read; what it had stays`,
				`WireGuardPeer/ns/b: ` + all + `4 peers`,
				`WireGuardPeer/ns/c: it cannot be read; what it had stays`,
				`Node/o: ` + all + `4 peers`}},
	} {
		t.Run(name, func(t *testing.T) {
			p := Policy{Prefix: kubePrefix, MaxPeers: tc.maxPeers}
			var prev *wgquick.Config
			if tc.before.Nodes != nil || tc.before.Peers != nil {
				prev, _ = build(t, us(Hub), tc.before, nil, p)
			}
			c, rejections := build(t, us(Hub), tc.after, prev, p)
			if diff := cmp.Diff(tc.want, summary(c)); diff != "" {
				t.Errorf("peers (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.refused, lines(rejections)); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
			for _, r := range rejections {
				if strings.Contains(r.Reason, "granted") != (r.Cause == TooMuch) {
					t.Errorf("%s: the cause is %q", r, r.Cause)
				}
			}
		})
	}
}

// Several hubs that advertise one range are granted it once.
func TestBudgetOfHubs(t *testing.T) {
	const ranges = "allowed-ips=11.0.0.0/8,21.0.0.0/8,22.0.0.0/8,30.0.0.0/8"
	nodes := []Node{unready(hub("a", ranges)), hub("b", ranges), hub("c", ranges), hub("d", ranges), hub("e", ranges)}
	p := Policy{Prefix: kubePrefix, MaxPeers: 5}
	c, rejections := build(t, ourSite(), Snapshot{Nodes: nodes}, nil, p)
	if rejections != nil || len(c.Peers) != 5 || len(c.Peers[1].AllowedIPs) != 4 {
		t.Fatalf("%v, refused %v", summary(c), lines(rejections))
	}
	nodes[1].Ready = false
	c, rejections = build(t, ourSite(), Snapshot{Nodes: nodes}, c, p)
	if rejections != nil || len(c.Peers[2].AllowedIPs) != 4 {
		t.Errorf("taken over: %v, refused %v", summary(c), lines(rejections))
	}

	flag := ourSite()
	flag.HubAllowedIPs = prefixes("10.1.0.0/16", "10.2.0.0/16")
	near := node("n", "site=lab", "vpc-ip=172.31.0.1", "allowed-ips=10.1.0.0/32,10.1.1.0/32,10.1.2.0/32,10.1.3.0/32,10.1.4.0/32,10.1.5.0/32,10.1.6.0/32")
	c, rejections = build(t, flag, Snapshot{Nodes: []Node{hub("h"), near}}, nil, Policy{Prefix: kubePrefix, MaxPeers: 2})
	if len(c.Peers[0].AllowedIPs) != 2 || len(c.Peers[1].AllowedIPs) != 6 || len(rejections) != 1 {
		t.Errorf("beside what our own flag sends to the hub: %v, refused %v", summary(c), lines(rejections))
	}
}

// A podCIDR takes what is in its way, and nothing else.
func TestBudgetOfPods(t *testing.T) {
	p := Policy{Prefix: kubePrefix, MaxPeers: 2}
	with := func(each ...string) string {
		return "allowed-ips=10.1.0.0/32,10.1.1.0/32,10.1.2.0/32,10.1.3.0/32,10.1.4.0/32" + strings.Join(each, ",")
	}
	m := node("m", "pods=10.244.1.0/24", with(",10.1.5.0/32,10.1.6.0/32"))
	prev, _ := build(t, ourMesh(), Snapshot{Nodes: []Node{m}}, nil, p)
	newcomer := node("n", "pods=10.244.2.0/24", "pods=fd44:2::/64")
	c, rejections := build(t, ourMesh(), Snapshot{Nodes: []Node{m, newcomer}}, prev, p)
	if len(rejections) != 1 || summary(c)["m"] != summary(prev)["m"] {
		t.Errorf("without room: %v, refused %v", summary(c), lines(rejections))
	}
	m = node("m", "pods=10.244.1.0/24", with())
	want := map[string]string{"m": "10.1.0.0/32,10.1.1.0/32,10.1.2.0/32,10.1.3.0/32,10.1.4.0/32,10.244.1.0/24 at nowhere", "n": "10.244.2.0/24,fd44:2::/64 at nowhere"}
	if c, rejections = build(t, ourMesh(), Snapshot{Nodes: []Node{m, newcomer}}, c, p); cmp.Diff(want, summary(c)) != "" || rejections != nil {
		t.Errorf("there is room: %v, refused %v", summary(c), lines(rejections))
	}

	a := node("a", "pods=20.0.0.0/8", "pods=21.0.0.0/8", "pods=22.0.0.0/8", "pods=23.0.0.0/8", "pods=24.0.0.0/8", "pods=10.244.1.0/24")
	_, rejections = build(t, ourMesh(), Snapshot{Nodes: []Node{a}}, nil, Policy{Prefix: kubePrefix})
	refused := []string{`Node/a: podCIDRs "24.0.0.0/8": more than one Node is granted: 4 x /8 of public IPv4`}
	if diff := cmp.Diff(refused, lines(rejections)); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

// TestTenantsWithoutEnd: those who may write in the namespaces of WireGuardPeers and Secrets create whatever they like,
// in names as long as there are. There is room for Nodes, and the file is none that wg-apply refuses as a whole.
func TestTenantsWithoutEnd(t *testing.T) {
	long := func(kind string, i int) Peer {
		k := key(kind)
		k[0], k[1], k[2] = 1, byte(i>>8), byte(i)
		return Peer{
			Kind: kind, Name: fmt.Sprintf("%s/%s%05d", strings.Repeat("n", 63), strings.Repeat("x", 248), i), UID: strings.Repeat("u", 36),
			PublicKey: k.String(), Endpoint: "[2001:db8:1111:2222:3333:4444:5555:6666]:51820", Keepalive: "65535", PresharedKey: Preshared{Key: wgquick.SecretKey(k)},
		}
	}
	// tenant has so many objects with so many prefixes of their own each.
	tenant := func(kind string, count, each int) (ps []Peer) {
		for i := range count {
			p := long(kind, i)
			for n := range each {
				p.AllowedIPs = append(p.AllowedIPs, fmt.Sprintf("fd%02d:1111:2222:3333:4444:5555:%x:%x/128", len(kind), 0x1000+i, 0x1000+n))
			}
			ps = append(ps, p)
		}
		return ps
	}
	p := Policy{Prefix: kubePrefix, MaxPeers: 1024}
	var nodes []Node
	for i := range p.MaxPeers / 2 {
		n := node(fmt.Sprintf("n%d", i), fmt.Sprintf("allowed-ips=100.64.%d.%d/32,10.%d.%d.0/24", i>>8, i&255, i>>8, i&255))
		k := key("n")
		k[1], k[2] = byte(i>>8), byte(i)
		n.Annotations[kubePrefix+AnnotationPublicKey] = k.String()
		nodes = append(nodes, n)
	}
	for name, peers := range map[string][]Peer{
		"prefixes": slices.Concat(tenant(KindWireGuardPeer, 17, 256), tenant(KindSecret, 17, 256)),
		"objects":  slices.Concat(tenant(KindWireGuardPeer, 1100, 1), tenant(KindSecret, 1100, 1)),
		"both":     slices.Concat(tenant(KindWireGuardPeer, 257, 5), tenant(KindSecret, 257, 5)),
	} {
		t.Run(name, func(t *testing.T) {
			prev, rejections := Build(us(Hub), Snapshot{Peers: peers}, nil, p)
			affordable(t, us(Hub), prev, p)
			if len(rejections) == 0 {
				t.Error("nobody is refused anything")
			}
			c, _ := Build(us(Hub), Snapshot{Nodes: nodes, Peers: peers}, prev, p)
			affordable(t, us(Hub), c, p)
			if n := len(c.Peers) - len(prev.Peers); n != len(nodes) {
				t.Errorf("%d of %d Nodes found room beside %d others", n, len(nodes), len(prev.Peers))
			}
		})
	}
	c, rejections := Build(us(Hub), Snapshot{Peers: tenant(KindWireGuardPeer, 7500, 1)}, nil, Policy{Prefix: kubePrefix}) // any number
	b, err := c.Marshal()
	if err != nil || len(b) > wgquick.MaxSize/4 || len(rejections) == 0 {
		t.Errorf("%d bytes, of %d peers: %v", len(b), len(c.Peers), err)
	}
}

// TestNodesThatNameWithoutEnd keep nobody busy: whoever has a kubelet's credentials may call its Node a hub, and say that
// it has very many addresses.
func TestNodesThatNameWithoutEnd(t *testing.T) {
	var names strings.Builder
	machine := node("m", "allowed-ips=")
	for i := range 400_000 { // more than there is room for, so that what grows by the square does not end
		fmt.Fprintf(&names, "1.%d.%d.%d,", i>>16, i>>8&255, i&255)
		machine.InternalIPs = append(machine.InternalIPs, netip.AddrFrom4([4]byte{2, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	machine.Annotations[kubePrefix+AnnotationAllowedIPs] = names.String() + "1.6.0.0/16"
	for name, tc := range map[string]struct {
		node Node
		prev []wgquick.Peer
	}{
		"a hub":                        {hub("h", "allowed-ips="+names.String()+"1.6.0.0/16"), nil},
		"a spoke that is a peer alone": {machine, has("m")},
	} {
		t.Run(name, func(t *testing.T) {
			built := make(chan *wgquick.Config, 1)
			go func() {
				s := Snapshot{Nodes: []Node{tc.node, node("a", "allowed-ips=10.1.0.0/24")}}
				c, _ := Build(us(Hub), s, &wgquick.Config{Peers: tc.prev}, Policy{Prefix: kubePrefix})
				built <- c
			}()
			select {
			case c := <-built:
				if got := summary(c)["a"]; got != "10.1.0.0/24 at nowhere" {
					t.Errorf("another has %q", got)
				}
			case <-time.After(time.Minute):
				t.Fatal("it takes a minute")
			}
		})
	}
}

// No line of a peer is longer than what it is taken for.
func TestAmountOfText(t *testing.T) {
	keepalive := uint16(math.MaxUint16)
	c := candidate{
		origin: wgquick.Origin{Kind: KindWireGuardPeer, Name: "ns/name", UID: "uid"}, key: key("k"), presharedKey: wgquick.SecretKey(key("p")),
		endpoint: netip.MustParseAddrPort("[2001:1db8:1111:2222:3333:4444:5555:6666]:51820"), keepalive: &keepalive,
		prefixes: prefixes("2001:1db8:1111:2222:3333:4444:5555:6666/128", "2001:1db8:1111:2222:3333:4444:5555:7777/128"),
	}
	text, err := (&wgquick.Config{Peers: []wgquick.Peer{c.peer(Self{})}}).Marshal()
	most := c.amount().plus(amountOf(c.prefixes[0])).plus(amountOf(c.prefixes[1])).text
	if n := len(text) - len("[Interface]\n"); err != nil || n > most {
		t.Errorf("%d bytes, more than %d: %v\n%s", n, most, err, text)
	}
}
