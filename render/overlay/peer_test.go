package overlay

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wg-kube/templates/wgquick"
)

// other is a peer that is no Node. each is as for node, without "ip=".
func other(kind, name string, each ...string) Peer {
	p := Peer{
		Kind: kind, Name: "ns/" + name, UID: "uid-" + name, PublicKey: key(name).String(),
		Created: time.Date(2026, 11, 1, 0, int(name[0]), 0, 0, time.UTC),
	}
	for _, e := range each {
		k, v, _ := strings.Cut(e, "=")
		switch k {
		case "public-key":
			p.PublicKey = v
		case "endpoint":
			p.Endpoint = v
		case "allowed-ips":
			p.AllowedIPs = strings.Split(v, ",")
		case "keepalive":
			p.Keepalive = v
		case "preshared":
			p.PresharedKey.Key = wgquick.SecretKey(key(v))
		case "waits":
			p.PresharedKey = Preshared{Err: errors.New(v), Waiting: true}
		}
	}
	return p
}

func crd(name string, each ...string) Peer    { return other(KindWireGuardPeer, name, each...) }
func secret(name string, each ...string) Peer { return other(KindSecret, name, each...) }

func unreadable(p Peer) Peer {
	p.Err = errors.New("not of the form")
	return p
}

func another(p Peer) Peer {
	p.UID = "another"
	return p
}

// TestPeers: peers that are no Nodes, of a hub that has judged before, or not.
func TestPeers(t *testing.T) {
	narrow := Policy{PeerCIDRs: map[string][]netip.Prefix{KindWireGuardPeer: prefixes("10.1.0.0/16"), KindSecret: prefixes("10.2.0.0/16")}}
	guarded := Policy{APIServer: []netip.Addr{netip.MustParseAddr("10.96.0.1")}}
	laptop := crd("m", "allowed-ips=10.1.0.0/24", "preshared=p", "endpoint=203.0.113.1:1", "keepalive=7")
	const m = "10.1.0.0/24 at 203.0.113.1:1 keepalive 7 preshared"
	for name, tc := range map[string]struct {
		policy        Policy
		before, after Snapshot
		want          map[string]string
		refused       []string
	}{
		"of each kind": {Policy{}, Snapshot{}, Snapshot{Nodes: []Node{node("a", "ip=10.0.0.1")}, Peers: []Peer{
			crd("b", "allowed-ips=10.1.0.0/24,fd00::/64", "endpoint=[2001:db8::1]:1"), secret("c", "allowed-ips=10.2.0.0/24", "preshared=p"), laptop}},
			map[string]string{"a": "10.0.0.1/32 at nowhere", "ns/b": "10.1.0.0/24,fd00::/64 at [2001:db8::1]:1 keepalive 25", "ns/c": "10.2.0.0/24 at nowhere preshared"},
			[]string{`WireGuardPeer/ns/m: allowedIPs "10.1.0.0/24": overlaps 10.1.0.0/24, held by WireGuardPeer/ns/b`}},
		"newcomers: Nodes, WireGuardPeers, Secrets, whatever their age": {Policy{}, Snapshot{}, Snapshot{
			Nodes: []Node{node("z", "allowed-ips=10.1.0.0/24")},
			Peers: []Peer{crd("y", "allowed-ips=10.1.0.0/25,10.2.0.0/24"), secret("a", "allowed-ips=10.1.0.0/26,10.2.0.0/25,10.3.0.0/24"), secret("b", "allowed-ips=10.3.0.0/25", "public-key="+key("z").String())}},
			map[string]string{"z": "10.1.0.0/24 at nowhere", "ns/y": "10.2.0.0/24 at nowhere", "ns/a": "10.3.0.0/24 at nowhere"},
			[]string{
				`Secret/ns/a: allowed-ips "10.1.0.0/26": overlaps 10.1.0.0/24, held by Node/z`,
				`Secret/ns/a: allowed-ips "10.2.0.0/25": overlaps 10.2.0.0/24, held by WireGuardPeer/ns/y`,
				`Secret/ns/b: allowed-ips "10.3.0.0/25": overlaps 10.3.0.0/24, held by Secret/ns/a`,
				`Secret/ns/b: public-key "(hidden)": held by Node/z`,
				`WireGuardPeer/ns/y: allowedIPs "10.1.0.0/25": overlaps 10.1.0.0/24, held by Node/z`}},
		"an incumbent Secret before a newcomer Node, and neither before a fragment": {Policy{},
			Snapshot{Peers: []Peer{secret("z", "allowed-ips=10.1.0.0/24,10.2.0.0/24")}},
			Snapshot{Peers: []Peer{secret("z", "allowed-ips=10.1.0.0/24,10.2.0.0/24")}, Nodes: []Node{node("a", "allowed-ips=10.1.0.0/24,10.5.0.0/24")},
				Fragments: []Fragment{{Name: "f.conf", Peers: []wgquick.Peer{{PublicKey: key("f"), AllowedIPs: prefixes("10.2.0.0/24")}}}}},
			map[string]string{"ns/z": "10.1.0.0/24 at nowhere", "a": "10.5.0.0/24 at nowhere", "f.conf": "10.2.0.0/24 at nowhere"},
			[]string{
				`Node/a: allowed-ips "10.1.0.0/24": overlaps 10.1.0.0/24, held by Secret/ns/z`,
				`Secret/ns/z: allowed-ips "10.2.0.0/24": overlaps 10.2.0.0/24, held by fragment/f.conf`}},
		"elements without end": {Policy{}, Snapshot{}, Snapshot{Peers: []Peer{
			secret("a", "allowed-ips=10.1.0.0/24"+strings.Repeat(",10.2.0.0/24", maxElements)), secret("b", "allowed-ips=10.2.0.0/24")}},
			map[string]string{"ns/b": "10.2.0.0/24 at nowhere"},
			[]string{`Secret/ns/a: allowed-ips "(4097 elements)": more than the 4096 that are looked at`}},
		"what each kind may claim at all": {narrow, Snapshot{}, Snapshot{Nodes: []Node{node("a", "ip=10.9.0.1")}, Peers: []Peer{
			crd("b", "allowed-ips=10.1.0.0/24,10.2.1.0/24"), secret("c", "allowed-ips=10.1.1.0/24,10.2.0.0/24")}},
			map[string]string{"a": "10.9.0.1/32 at nowhere", "ns/b": "10.1.0.0/24 at nowhere", "ns/c": "10.2.0.0/24 at nowhere"},
			[]string{
				`WireGuardPeer/ns/b: allowedIPs "10.2.1.0/24": lies outside of what peers may claim`,
				`Secret/ns/c: allowed-ips "10.1.1.0/24": lies outside of what peers may claim`}},
		"what nobody may": {guarded, Snapshot{}, Snapshot{Nodes: []Node{hub("h", "ip=10.224.0.5"), node("us", "ip=10.224.0.4")}, Peers: []Peer{
			crd("a", "allowed-ips=0.0.0.0/0,128.0.0.0/1,127.0.0.0/8,10.96.0.0/16,100.96.0.0/24,10.224.0.4/32,10.224.0.5/32,10.1.0.0/24"),
			crd("b", "allowed-ips=10.1.1.0/24", "endpoint=10.1.0.9:1"), crd("c", "allowed-ips=10.1.2.0/24", "public-key="+key("us").String()),
			secret("d", "allowed-ips=::/0", "public-key="+zeroKey)}},
			map[string]string{"ns/a": "10.1.0.0/24 at nowhere", "ns/b": "10.1.1.0/24 at nowhere"},
			[]string{
				`WireGuardPeer/ns/a: allowedIPs "0.0.0.0/0": a default route is not granted to a WireGuardPeer`,
				`WireGuardPeer/ns/a: allowedIPs "10.224.0.4/32": covers 10.224.0.4, an address of Node/us`,
				`WireGuardPeer/ns/a: allowedIPs "10.224.0.5/32": covers 10.224.0.5, an address of the hub Node/h`,
				`WireGuardPeer/ns/a: allowedIPs "10.96.0.0/16": covers the API server 10.96.0.1`,
				`WireGuardPeer/ns/a: allowedIPs "100.96.0.0/24": overlaps 100.96.0.1/32, held by Node/us`,
				`WireGuardPeer/ns/a: allowedIPs "127.0.0.0/8": overlaps 127.0.0.0/8 (loopback)`,
				`WireGuardPeer/ns/a: allowedIPs "128.0.0.0/1": wider than /8: a split of a default route is not granted to a WireGuardPeer`,
				`WireGuardPeer/ns/b: endpoint "10.1.0.9:1": lies inside 10.1.0.0/24, held by WireGuardPeer/ns/a`,
				`WireGuardPeer/ns/c: publicKey "` + key("us").String() + `": held by the node that says this`,
				`Secret/ns/d: allowed-ips "::/0": a default route is not granted to a Secret`,
				`Secret/ns/d: public-key "(hidden)": the zero key belongs to nobody`}},
		"what is missing, of newcomers": {Policy{}, Snapshot{}, Snapshot{Peers: []Peer{
			crd("a", "public-key=", "allowed-ips=10.1.0.0/24"), secret("b"), secret("c", "allowed-ips=,10.2.0.0/24"),
			crd("d", "allowed-ips=10.3.0.0/24", "waits=there is no Secret s of type Opaque yet"), crd("e", "allowed-ips=10.4.0.0/24", "keepalive=-1"), unreadable(crd("f"))}},
			map[string]string{"ns/c": "10.2.0.0/24 at nowhere", "ns/e": "10.4.0.0/24 at nowhere"},
			[]string{
				`WireGuardPeer/ns/a: publicKey: not set`,
				`Secret/ns/b: allowed-ips: not set`,
				`Secret/ns/c: allowed-ips: an empty element`,
				`WireGuardPeer/ns/d: presharedKeySecretRef: there is no Secret s of type Opaque yet`,
				`WireGuardPeer/ns/e: persistentKeepalive "-1": not a number of seconds from 0 to 65535`,
				`WireGuardPeer/ns/f: not of the form`}},
		"everything turns malformed": {Policy{}, Snapshot{Peers: []Peer{laptop}}, Snapshot{Peers: []Peer{
			crd("m", "public-key="+strings.Repeat("x", 45), "allowed-ips=10.1.0.0/33", "waits=not a key", "endpoint=x", "keepalive=x")}},
			map[string]string{"ns/m": m},
			[]string{
				`WireGuardPeer/ns/m: allowedIPs "10.1.0.0/33": not a CIDR`,
				`WireGuardPeer/ns/m: endpoint "x": not IP:port, with a port from 1 to 65535`,
				`WireGuardPeer/ns/m: persistentKeepalive "x": not a number of seconds from 0 to 65535`,
				`WireGuardPeer/ns/m: presharedKeySecretRef: not a key`,
				`WireGuardPeer/ns/m: publicKey "(hidden)": not a key: 44 characters of base64 are wanted`}},
		"a whole key where none belongs": {Policy{}, Snapshot{}, Snapshot{
			Nodes: []Node{node("a", "ip=10.0.0.1", "endpoint="+key("secret").String())},
			Peers: []Peer{crd("b", "allowed-ips="+key("secret").String()+",10.1.0.0/24"), secret("c", "allowed-ips=10.2.0.0/24,"+key("secret").String())}},
			map[string]string{"a": "10.0.0.1/32 at nowhere", "ns/b": "10.1.0.0/24 at nowhere", "ns/c": "10.2.0.0/24 at nowhere"},
			[]string{
				`Node/a: endpoint "(hidden)": not IP:port, with a port from 1 to 65535`,
				`WireGuardPeer/ns/b: allowedIPs "(hidden)": not a CIDR`,
				`Secret/ns/c: allowed-ips "(hidden)": not a CIDR`}},
		"its preshared key alone turns malformed": {Policy{}, Snapshot{Peers: []Peer{laptop}}, Snapshot{Peers: []Peer{
			crd("m", "allowed-ips=10.1.0.0/24", "waits=not a key", "endpoint=203.0.113.1:1", "keepalive=7")}},
			map[string]string{"ns/m": m},
			[]string{`WireGuardPeer/ns/m: presharedKeySecretRef: not a key`}},
		"half of it goes": {Policy{}, Snapshot{Peers: []Peer{laptop}}, Snapshot{Peers: []Peer{crd("m", "public-key=", "preshared=p", "endpoint=203.0.113.1:1", "keepalive=7")}},
			map[string]string{"ns/m": m},
			[]string{`WireGuardPeer/ns/m: allowedIPs: not set`, `WireGuardPeer/ns/m: publicKey: not set`}},
		"it cannot be read at all": {Policy{}, Snapshot{Peers: []Peer{laptop}}, Snapshot{Nodes: []Node{node("a", "allowed-ips=10.1.0.0/24")}, Peers: []Peer{unreadable(laptop)}},
			map[string]string{"ns/m": m},
			[]string{`Node/a: allowed-ips "10.1.0.0/24": overlaps 10.1.0.0/24, held by WireGuardPeer/ns/m`, `WireGuardPeer/ns/m: it cannot be read; what it had stays`, `WireGuardPeer/ns/m: not of the form`}},
		"its kind is not shown any more": {Policy{}, Snapshot{Peers: []Peer{laptop}}, Snapshot{Unread: whos(KindWireGuardPeer, "ns/m")},
			map[string]string{"ns/m": m}, []string{`WireGuardPeer/ns/m: it cannot be read; what it had stays`}},
		"another of the same name has no right to it": {Policy{}, Snapshot{Peers: []Peer{laptop}}, Snapshot{Peers: []Peer{another(unreadable(laptop))}},
			map[string]string{}, []string{`WireGuardPeer/ns/m: not of the form`}},
		"it goes":             {Policy{}, Snapshot{Peers: []Peer{laptop}}, Snapshot{}, map[string]string{}, nil},
		"a new preshared key": {Policy{}, Snapshot{Peers: []Peer{secret("m", "allowed-ips=10.1.0.0/24")}}, Snapshot{Peers: []Peer{secret("m", "allowed-ips=10.1.0.0/24", "preshared=p")}}, map[string]string{"ns/m": "10.1.0.0/24 at nowhere preshared"}, nil},
		"a preshared key stays with the key it was for": {Policy{},
			Snapshot{Peers: []Peer{secret("m", "allowed-ips=10.1.0.0/24"), secret("n", "allowed-ips=10.2.0.0/24")}},
			Snapshot{Peers: []Peer{secret("m", "allowed-ips=10.1.0.0/24", "public-key="+key("n").String(), "preshared=p"), secret("n", "allowed-ips=10.2.0.0/24")}},
			map[string]string{"ns/m": "10.1.0.0/24 at nowhere", "ns/n": "10.2.0.0/24 at nowhere"},
			[]string{`Secret/ns/m: public-key "(hidden)": held by Secret/ns/n`}},
		"a Node and a Secret of one name": {Policy{}, Snapshot{}, Snapshot{Nodes: []Node{node("a", "ip=10.0.0.1")}, Peers: []Peer{secret("a", "allowed-ips=10.2.0.0/24", "public-key="+key("y").String())}},
			map[string]string{"a": "10.0.0.1/32 at nowhere", "ns/a": "10.2.0.0/24 at nowhere"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			tc.policy.Prefix = kubePrefix
			var prev *wgquick.Config
			if len(tc.before.Peers) > 0 {
				prev, _ = build(t, us(Hub), tc.before, nil, tc.policy)
			}
			c, rejections := build(t, us(Hub), tc.after, prev, tc.policy)
			got := summary(c)
			for _, p := range c.Peers {
				if p.PersistentKeepalive == 7 {
					got[p.Origin.Name] += " keepalive 7"
				}
				if !p.PresharedKey.IsZero() {
					got[p.Origin.Name] += " preshared"
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("peers (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.refused, lines(rejections)); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTurn(t *testing.T) {
	p := Policy{Prefix: kubePrefix}
	s := Snapshot{Nodes: []Node{unready(hub("a")), hub("b"), hub("z"), node("c"), node("us", "hub=true")}}
	if got := Turn(us(Hub), s, p); got != 1 {
		t.Errorf("turn %d, want 1: after b", got)
	}
	s.Nodes[4].Ready = false
	if got := Turn(us(Hub), s, p); got != 3 {
		t.Errorf("turn %d, want 3: after b, z, a", got)
	}
}

func TestVerdicts(t *testing.T) {
	s := Snapshot{
		Nodes: []Node{node("a", "ip=10.0.0.1"), node("b", "allowed-ips=0.0.0.0/0")},
		Peers: []Peer{crd("c", "allowed-ips=10.1.0.0/24,10.0.0.0/24"), crd("d", "allowed-ips=10.0.0.1/32"), secret("e", "allowed-ips=10.2.0.0/24")},
	}
	s.Peers[0].Generation = 3
	c, rs := build(t, us(Hub), s, nil, Policy{Prefix: kubePrefix})
	var got []string
	for _, v := range Verdicts(s, c, rs) {
		got = append(got, fmt.Sprint(v.Origin, " ", v.Generation, v.Granted, lines(v.Rejections)))
	}
	want := []string{
		`Node/b 0 false [Node/b: allowed-ips "0.0.0.0/0": a default route is not granted to a Node]`,
		`WireGuardPeer/ns/c 3 true [WireGuardPeer/ns/c: allowedIPs "10.0.0.0/24": overlaps 10.0.0.1/32, held by Node/a]`,
		`WireGuardPeer/ns/d 0 false [WireGuardPeer/ns/d: allowedIPs "10.0.0.1/32": overlaps 10.0.0.1/32, held by Node/a]`,
		`Secret/ns/e 0 true []`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
