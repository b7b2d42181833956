package overlay

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wg-kube/templates/wgquick"
)

// node is a spoke as the tests below want most of them. each is KEY=VALUE, an annotation or, for the labels, a label;
// "ip=" is an InternalIP, "pods=" a podCIDR. A Node is a minute older than the next by its first letter.
func node(name string, each ...string) Node {
	n := Node{
		Name: name, UID: "uid-" + name, Ready: true,
		Created:     time.Date(2026, 11, 1, 0, int(name[0]), 0, 0, time.UTC),
		Labels:      map[string]string{kubePrefix + LabelPeer: "true"},
		Annotations: map[string]string{kubePrefix + AnnotationPublicKey: key(name).String()},
	}
	for _, e := range each {
		k, v, _ := strings.Cut(e, "=")
		switch k {
		case "ip":
			n.InternalIPs = append(n.InternalIPs, netip.MustParseAddr(v))
		case "pods":
			n.PodCIDRs = append(n.PodCIDRs, netip.MustParsePrefix(v))
		case LabelHub, LabelPeer, LabelSite:
			n.Labels[kubePrefix+k] = v
		default:
			n.Annotations[kubePrefix+k] = v
		}
	}
	return n
}

func hub(name string, each ...string) Node {
	return node(name, append([]string{"peer=", "hub=true"}, each...)...)
}

func external(n Node, ips ...string) Node {
	for _, ip := range ips {
		n.ExternalIPs = append(n.ExternalIPs, netip.MustParseAddr(ip))
	}
	return n
}

// key is the key of whoever has that name.
func key(name string) (k wgquick.PublicKey) {
	copy(k[:], strings.Repeat(name, 32))
	return k
}

// ofNodes narrows what Nodes may claim.
func ofNodes(cidrs ...string) map[string][]netip.Prefix {
	return map[string][]netip.Prefix{KindNode: prefixes(cidrs...)}
}

// us is this node in the tests below.
func us(role Role) Self {
	return Self{
		Node: "us", Role: role, Interface: "wg0", ListenPort: 51820, Keepalive: 25, PublicKey: key("us"),
		Address: prefixes("100.96.0.1/32"), AllowedIPs: prefixes("100.96.0.0/16"),
	}
}

func ourMesh() Self {
	s := us(Mesh)
	s.Address, s.AllowedIPs = nil, nil
	return s
}

func ourSite() Self {
	s := us(Spoke)
	s.Address, s.AllowedIPs, s.Site = prefixes("100.96.9.9/32"), prefixes("100.96.9.9/32", "10.9.0.0/24"), "lab"
	s.VPCIP = netip.MustParseAddr("172.31.0.9")
	return s
}

// TestClaims: what Nodes claim of a node that knows nobody yet, what they get, and what they are told.
func TestClaims(t *testing.T) {
	ours := node("us", "ip=10.224.0.4")
	withHub := ourSite()
	withHub.HubAllowedIPs = prefixes("0.0.0.0/0")
	for name, tc := range map[string]struct {
		self    Self
		policy  Policy
		nodes   []Node
		want    map[string]string
		refused []string
	}{
		"a default route, v4 and v6": {us(Hub), Policy{}, []Node{node("a", "allowed-ips=0.0.0.0/0,::/0,10.1.0.0/24")},
			map[string]string{"a": "10.1.0.0/24 at nowhere"}, []string{
				`Node/a: allowed-ips "0.0.0.0/0": a default route is not granted to a Node`,
				`Node/a: allowed-ips "::/0": a default route is not granted to a Node`}},
		"a default route in halves": {us(Hub), Policy{}, []Node{node("a", "allowed-ips=0.0.0.0/1,128.0.0.0/1,8000::/1")},
			map[string]string{}, []string{
				`Node/a: allowed-ips "0.0.0.0/1": wider than /8: a split of a default route is not granted to a Node`,
				`Node/a: allowed-ips "128.0.0.0/1": wider than /8: a split of a default route is not granted to a Node`,
				`Node/a: allowed-ips "8000::/1": wider than /16: a split of a default route is not granted to a Node`}},
		"a default route in many parts": {us(Hub), Policy{}, []Node{node("a", "allowed-ips=11.0.0.0/8,12.0.0.0/8,13.0.0.0/8,14.0.0.0/8,15.0.0.0/8,16.0.0.0/8,2001:db8::/32")},
			map[string]string{"a": "11.0.0.0/8,12.0.0.0/8,13.0.0.0/8,14.0.0.0/8,2001:db8::/32 at nowhere"}, []string{
				`Node/a: allowed-ips "15.0.0.0/8": more than one Node is granted: 4 x /8 of public IPv4; and 1 more`}},
		"loopback, multicast, link-local": {us(Hub), Policy{}, []Node{node("a", "allowed-ips=127.0.0.1/32,224.0.0.5/32,169.254.169.254/32,fe80::/64,ff02::1/128,::1/128,0.1.2.3/32,255.255.255.255/32")},
			map[string]string{}, []string{
				`Node/a: allowed-ips "0.1.2.3/32": overlaps 0.0.0.0/8 (this network)`,
				`Node/a: allowed-ips "127.0.0.1/32": overlaps 127.0.0.0/8 (loopback)`,
				`Node/a: allowed-ips "169.254.169.254/32": overlaps 169.254.0.0/16 (link-local)`,
				`Node/a: allowed-ips "224.0.0.5/32": overlaps 224.0.0.0/4 (multicast)`,
				`Node/a: allowed-ips "255.255.255.255/32": overlaps 240.0.0.0/4 (reserved, broadcast)`,
				`Node/a: allowed-ips "::1/128": overlaps ::1/128 (loopback)`,
				`Node/a: allowed-ips "fe80::/64": overlaps fe80::/10 (link-local)`,
				`Node/a: allowed-ips "ff02::1/128": overlaps ff00::/8 (multicast)`}},
		"reserved": {us(Hub), Policy{}, []Node{node("a", "allowed-ips=239.0.0.0/8,240.0.0.0/8,254.1.0.0/16,255.0.0.0/8")},
			map[string]string{}, []string{
				`Node/a: allowed-ips "239.0.0.0/8": overlaps 224.0.0.0/4 (multicast)`,
				`Node/a: allowed-ips "240.0.0.0/8": overlaps 240.0.0.0/4 (reserved, broadcast)`,
				`Node/a: allowed-ips "254.1.0.0/16": overlaps 240.0.0.0/4 (reserved, broadcast)`,
				`Node/a: allowed-ips "255.0.0.0/8": overlaps 240.0.0.0/4 (reserved, broadcast)`}},
		"v4 in the clothes of v6": {us(Hub), Policy{}, []Node{node("a", "allowed-ips=::ffff:10.0.0.1/128,::ffff:10.0.0.2")},
			map[string]string{}, []string{
				`Node/a: allowed-ips "::ffff:10.0.0.1/128": overlaps ::ffff:0.0.0.0/96 (IPv4-mapped)`,
				`Node/a: allowed-ips "::ffff:10.0.0.2/128": overlaps ::ffff:0.0.0.0/96 (IPv4-mapped)`}},
		"the API server": {us(Hub), Policy{APIServer: []netip.Addr{netip.MustParseAddr("10.96.0.1")}}, []Node{node("a", "allowed-ips=10.96.0.0/16")},
			map[string]string{}, []string{`Node/a: allowed-ips "10.96.0.0/16": covers the API server 10.96.0.1`}},
		"what two hubs lead to": {leads("100.96.0.0/16", "100.96.4.4/32"), Policy{}, []Node{hub("h", "allowed-ips=100.96.0.0/16,100.96.4.4/32"), node("a", "allowed-ips=100.96.4.4")},
			map[string]string{"a": "100.96.4.4/32 at nowhere"}, nil},
		"what another hub leads to beside its range, and more hosts than one in it": {us(Hub), Policy{}, []Node{
			hub("h", "allowed-ips=100.96.0.0/16,100.96.8.0/24,100.97.0.1/32"), node("a", "allowed-ips=100.96.8.0/24,100.97.0.1/32")},
			map[string]string{"a": "100.96.8.0/24,100.97.0.1/32 at nowhere"}, nil},
		"what another hub has of its own": {us(Hub), Policy{}, []Node{
			hub("h", "allowed-ips=100.96.0.0/16,100.96.0.9/32", "endpoint=203.0.113.9:51820"), node("a", "allowed-ips=100.96.0.9,203.0.113.9,100.96.4.4")},
			map[string]string{"a": "100.96.4.4/32 at nowhere"}, []string{
				`Node/a: allowed-ips "100.96.0.9/32": covers 100.96.0.9, an address of the hub Node/h`,
				`Node/a: allowed-ips "203.0.113.9/32": covers 203.0.113.9, an address of the hub Node/h`}},
		"our own address, our machine's, another hub's": {us(Hub), Policy{}, []Node{ours, hub("h", "ip=10.224.0.5"), node("a", "allowed-ips=100.96.0.0/24,10.224.0.4/32,10.224.0.5")},
			map[string]string{}, []string{
				`Node/a: allowed-ips "10.224.0.4/32": covers 10.224.0.4, an address of Node/us`,
				`Node/a: allowed-ips "10.224.0.5/32": covers 10.224.0.5, an address of the hub Node/h`,
				`Node/a: allowed-ips "100.96.0.0/24": overlaps 100.96.0.1/32, held by Node/us`}},
		"what hubs say of themselves, and this one does": {us(Hub), Policy{}, []Node{
			hub("us", "public-key="+key("us").String(), "endpoint=here", "allowed-ips=100.96.0.0/16,x"),
			hub("f", "public-key="+key("us").String(), "endpoint=127.0.0.1:1", "allowed-ips=0.0.0.0/0,100.96.0.0/16"),
			hub("g", "public-key=", "vpc-ip=x"), hub("h", "public-key=x", "endpoint=203.0.113.7:51820", "allowed-ips=203.0.113.0/24")},
			map[string]string{}, []string{
				`Node/f: allowed-ips "0.0.0.0/0": a default route is not granted to a Node`,
				`Node/f: endpoint "127.0.0.1:1": lies inside 127.0.0.0/8 (loopback)`,
				`Node/f: public-key "` + key("us").String() + `": held by the node that says this`,
				`Node/h: allowed-ips "203.0.113.0/24": covers 203.0.113.7, where this Node is reached`,
				`Node/h: public-key "x": not a key: 44 characters of base64 are wanted`,
				`Node/us: allowed-ips "x": not a CIDR`,
				`Node/us: endpoint "here": not IP:port, with a port from 1 to 65535`}},
		"outside of what peers may claim": {us(Hub), Policy{PeerCIDRs: ofNodes("100.96.0.0/16")}, []Node{node("a", "allowed-ips=100.96.0.2/32,100.0.0.0/8,10.1.1.0/24")},
			map[string]string{"a": "100.96.0.2/32 at nowhere"}, []string{
				`Node/a: allowed-ips "10.1.1.0/24": lies outside of what peers may claim`,
				`Node/a: allowed-ips "100.0.0.0/8": lies outside of what peers may claim`}},
		"what an older one claims: equal, inside, around": {us(Hub), Policy{}, []Node{
			node("z", "allowed-ips=10.1.0.0/16"), node("y", "allowed-ips=10.1.1.0/24"), node("x", "allowed-ips=10.0.0.0/8"), node("a", "allowed-ips=10.1.0.0/16")},
			map[string]string{"a": "10.1.0.0/16 at nowhere"}, []string{
				`Node/x: allowed-ips "10.0.0.0/8": overlaps 10.1.0.0/16, held by Node/a`,
				`Node/y: allowed-ips "10.1.1.0/24": overlaps 10.1.0.0/16, held by Node/a`,
				`Node/z: allowed-ips "10.1.0.0/16": overlaps 10.1.0.0/16, held by Node/a`}},
		"its own prefixes may nest, repeat, have host bits": {us(Hub), Policy{}, []Node{node("a", "allowed-ips=10.1.0.0/16, 10.1.2.3/24 ,\n\t10.1.2.0/24,10.1.2.9/32")},
			map[string]string{"a": "10.1.0.0/16,10.1.2.0/24,10.1.2.9/32 at nowhere"}, nil},
		"another's endpoint": {us(Hub), Policy{}, []Node{node("a", "ip=100.96.1.1", "endpoint=203.0.113.9:1"), node("b", "allowed-ips=203.0.113.0/24,100.96.1.2/32")},
			map[string]string{"a": "100.96.1.1/32 at 203.0.113.9:1 keepalive 25", "b": "100.96.1.2/32 at nowhere"}, []string{
				`Node/b: allowed-ips "203.0.113.0/24": covers 203.0.113.9, the endpoint of Node/a`}},
		"endpoints that would loop": {us(Hub), Policy{}, []Node{
			node("a", "allowed-ips=10.1.0.0/16", "endpoint=10.1.2.3:1"), node("b", "ip=10.2.0.1", "endpoint=10.1.0.5:1"), node("c", "ip=10.2.0.2", "endpoint=100.96.0.1:1")},
			map[string]string{"a": "10.1.0.0/16 at nowhere", "b": "10.2.0.1/32 at nowhere", "c": "10.2.0.2/32 at nowhere"}, []string{
				`Node/a: endpoint "10.1.2.3:1": lies inside 10.1.0.0/16, which this Node claims`,
				`Node/b: endpoint "10.1.0.5:1": lies inside 10.1.0.0/16, held by Node/a`,
				`Node/c: endpoint "100.96.0.1:1": lies inside 100.96.0.1/32, held by Node/us`}},
		"endpoints of no use": {us(Hub), Policy{}, []Node{
			node("a", "ip=10.0.0.1", "endpoint=127.0.0.1:1"), node("b", "ip=10.0.0.2", "endpoint=203.0.113.1:0"), node("c", "ip=10.0.0.3", "endpoint=example.com:1"),
			node("d", "ip=10.0.0.4", "endpoint=[fe80::1%eth0]:1"), node("e", "ip=10.0.0.5", "endpoint=203.0.113.1:1\nAllowedIPs = 0.0.0.0/0")},
			map[string]string{"a": "10.0.0.1/32 at nowhere", "b": "10.0.0.2/32 at nowhere", "c": "10.0.0.3/32 at nowhere", "d": "10.0.0.4/32 at nowhere", "e": "10.0.0.5/32 at nowhere"}, []string{
				`Node/a: endpoint "127.0.0.1:1": lies inside 127.0.0.0/8 (loopback)`,
				`Node/b: endpoint "203.0.113.1:0": not IP:port, with a port from 1 to 65535`,
				`Node/c: endpoint "example.com:1": not IP:port, with a port from 1 to 65535`,
				`Node/d: endpoint "[fe80::1%eth0]:1": not IP:port, with a port from 1 to 65535`,
				`Node/e: endpoint "203.0.113.1:1\nAllowedIPs = 0.0.0.0/0": not IP:port, with a port from 1 to 65535`}},
		"keys that are not theirs": {us(Hub), Policy{}, []Node{
			node("a", "ip=10.0.0.1"), node("b", "ip=10.0.0.2", "public-key="+key("a").String()), node("c", "ip=10.0.0.3", "public-key="+key("us").String()),
			node("d", "ip=10.0.0.4", "public-key="+zeroKey), node("e", "ip=10.0.0.5", "public-key="), node("f", "ip=10.0.0.6", "public-key= "+key("f").String()+"\n")},
			map[string]string{"a": "10.0.0.1/32 at nowhere", "f": "10.0.0.6/32 at nowhere"}, []string{
				`Node/b: public-key "` + key("a").String() + `": held by Node/a`,
				`Node/c: public-key "` + key("us").String() + `": held by the node that says this`,
				`Node/d: public-key "` + zeroKey + `": the zero key belongs to nobody`,
				`Node/e: public-key: not set yet`}},
		"many elements, and few that differ": {us(Hub), Policy{}, []Node{node("a", "allowed-ips=10.0.1.0/24"+strings.Repeat(",\x00,", 1000))},
			map[string]string{"a": "10.0.1.0/24 at nowhere"}, []string{
				`Node/a: allowed-ips: an empty element between commas`,
				`Node/a: allowed-ips "\x00": not a CIDR`}},
		"elements without end": {us(Hub), Policy{}, []Node{node("a", "allowed-ips=10.0.1.0/24"+strings.Repeat(",10.0.2.0/24", maxElements)), node("b", "allowed-ips=10.0.2.0/24")},
			map[string]string{"b": "10.0.2.0/24 at nowhere"}, []string{
				`Node/a: allowed-ips "(4097 elements)": more than the 4096 that are looked at`}},
		"addresses as some write them": {us(Hub), Policy{}, []Node{node("a", "allowed-ips=FD00:0010::/32,012.7.1.1,0x0a.7.1.1,10.7,168230913,10.7.0.0/+16,10.7.0.0/4294967304,fd00::1%eth0/64,10.7.0.0/255.255.0.0\r\n")},
			map[string]string{"a": "fd00:10::/32 at nowhere"}, []string{
				`Node/a: allowed-ips "012.7.1.1": not a CIDR`,
				`Node/a: allowed-ips "0x0a.7.1.1": not a CIDR`,
				`Node/a: allowed-ips "10.7": not a CIDR`,
				`Node/a: allowed-ips "10.7.0.0/+16": not a CIDR`,
				`Node/a: allowed-ips "10.7.0.0/255.255.0.0": not a CIDR`,
				`Node/a: allowed-ips "10.7.0.0/4294967304": not a CIDR`,
				`Node/a: allowed-ips "168230913": not a CIDR`,
				`Node/a: allowed-ips "fd00::1%eth0/64": not a CIDR`}},
		"endpoints in the clothes of v6": {us(Hub), Policy{}, []Node{
			node("a", "ip=10.7.0.1", "endpoint=[::ffff:127.0.0.1]:1"), node("b", "ip=10.7.0.2", "endpoint=[::FFFF:100.96.0.1]:1"), node("c", "ip=::ffff:100.96.0.1")},
			map[string]string{"a": "10.7.0.1/32 at nowhere", "b": "10.7.0.2/32 at nowhere"}, []string{
				`Node/a: endpoint "127.0.0.1:1": lies inside 127.0.0.0/8 (loopback)`,
				`Node/b: endpoint "100.96.0.1:1": lies inside 100.96.0.1/32, held by Node/us`,
				`Node/c: allowed-ips "100.96.0.1/32": overlaps 100.96.0.1/32, held by Node/us`}},
		"elements that do not parse": {us(Hub), Policy{}, []Node{node("a", "allowed-ips=10.0.0.0/33,,10.0.1.0/24,x,")},
			map[string]string{"a": "10.0.1.0/24 at nowhere"}, []string{
				`Node/a: allowed-ips: an empty element between commas`,
				`Node/a: allowed-ips "10.0.0.0/33": not a CIDR`,
				`Node/a: allowed-ips "x": not a CIDR`}},
		"a Node without addresses": {us(Hub), Policy{}, []Node{node("a")},
			map[string]string{}, []string{`Node/a: allowed-ips: not set, and the Node has no InternalIP yet`}},
		"labels that are not quite true": {us(Hub), Policy{}, []Node{node("a", "peer=True", "ip=10.0.0.1"), node("b", "peer=true ", "ip=10.0.0.2"), node("us", "ip=10.0.0.3")},
			map[string]string{}, nil},
		"names that would break a line": {us(Hub), Policy{}, []Node{node("a\n[Peer]", "ip=10.0.0.1"), node("b", "ip=10.0.0.2"), node("b", "ip=10.0.0.3")},
			map[string]string{"b": "10.0.0.2/32 at nowhere"}, []string{
				`Node/"a\n[Peer]": its name or uid has characters that no Node's has`,
				`Node/b: there is another Node of this name`}},

		"a mesh node meets peers and hubs, and routes their pods": {ourMesh(), Policy{}, []Node{
			node("us", "ip=10.224.0.1", "pods=10.244.0.0/24"), hub("h", "pods=10.244.1.0/24", "ip=10.224.0.2", "endpoint=10.224.0.2:51820"),
			node("a", "pods=10.244.2.0/24", "pods=fd44:2::/64", "ip=10.224.0.3", "endpoint=203.0.113.3:51820", "allowed-ips=100.96.0.3"),
			node("b", "pods=10.244.3.0/24", "peer=false")},
			map[string]string{"h": "10.244.1.0/24 at 10.224.0.2:51820 keepalive 25", "a": "10.224.0.3/32,10.244.2.0/24,100.96.0.3/32,fd44:2::/64 at 203.0.113.3:51820 keepalive 25"}, nil},
		"a podCIDR is a claim": {ourMesh(), Policy{PeerCIDRs: ofNodes("10.0.0.0/8")}, []Node{
			node("us", "ip=10.224.0.1", "pods=10.244.0.0/24"), node("a", "pods=10.244.0.0/16"), node("b", "pods=0.0.0.0/0"), node("c", "pods=10.224.0.0/24"),
			node("d", "pods=192.168.0.0/16"), node("e", "pods=10.244.5.0/24"), node("f", "pods=10.244.5.0/24")},
			map[string]string{"e": "10.244.5.0/24 at nowhere"}, []string{
				`Node/a: podCIDRs "10.244.0.0/16": overlaps 10.244.0.0/24, held by Node/us`,
				`Node/b: podCIDRs "0.0.0.0/0": a default route is not granted to a Node`,
				`Node/c: podCIDRs "10.224.0.0/24": covers 10.224.0.1, an address of Node/us`,
				`Node/d: podCIDRs "192.168.0.0/16": lies outside of what peers may claim`,
				`Node/f: podCIDRs "10.244.5.0/24": overlaps 10.244.5.0/24, held by Node/e`}},
		"the pods of this node, around, inside and equal": {us(Hub), Policy{}, []Node{node("us", "ip=10.224.0.1", "pods=10.244.0.0/24", "pods=fd44::/64"),
			node("a", "allowed-ips=10.244.0.0/16"), node("b", "allowed-ips=10.244.0.128/25,10.244.1.0/24"), node("c", "allowed-ips=fd44::/64")},
			map[string]string{"b": "10.244.1.0/24 at nowhere"}, []string{
				`Node/a: allowed-ips "10.244.0.0/16": overlaps 10.244.0.0/24, held by Node/us`,
				`Node/b: allowed-ips "10.244.0.128/25": overlaps 10.244.0.0/24, held by Node/us`,
				`Node/c: allowed-ips "fd44::/64": overlaps fd44::/64, held by Node/us`}},
		"pods and services of others, with --peer-cidrs": {us(Hub), Policy{PeerCIDRs: ofNodes("100.96.0.0/16")}, []Node{
			node("a", "allowed-ips=10.244.1.128/25,10.96.0.10,100.96.1.1"), node("b", "pods=10.244.1.0/24", "ip=100.96.1.2")},
			map[string]string{"a": "100.96.1.1/32 at nowhere", "b": "100.96.1.2/32 at nowhere"}, []string{
				`Node/a: allowed-ips "10.244.1.128/25": lies outside of what peers may claim`,
				`Node/a: allowed-ips "10.96.0.10/32": lies outside of what peers may claim`}},
		"an address in a site that others are told": {us(Hub), Policy{}, []Node{
			node("a", "ip=10.0.0.1", "vpc-ip=x\ny"), node("b", "ip=10.0.0.2", "vpc-ip=127.0.0.1"), node("c", "ip=10.0.0.3", "vpc-ip=172.31.0.3", "listen-port=0")},
			map[string]string{"a": "10.0.0.1/32 at nowhere", "b": "10.0.0.2/32 at nowhere", "c": "10.0.0.3/32 at nowhere"}, []string{
				`Node/a: vpc-ip "x\ny": not an IP address`,
				`Node/b: vpc-ip "127.0.0.1": lies inside 127.0.0.0/8 (loopback)`,
				`Node/c: listen-port "0": not a port from 1 to 65535`}},
		"an endpoint inside the overlay that a newcomer's prefix would cover": {us(Hub), Policy{}, []Node{
			node("a", "allowed-ips=203.0.113.6/32", "endpoint=100.96.3.3:7"), node("b", "allowed-ips=100.96.3.0/24")},
			map[string]string{"a": "203.0.113.6/32 at nowhere", "b": "100.96.3.0/24 at nowhere"}, []string{
				`Node/a: endpoint "100.96.3.3:7": lies inside 100.96.3.0/24, held by Node/b`}},
		"an endpoint inside the range of a hub whose node IP is its address in it": {us(Hub), Policy{}, []Node{
			hub("us", "ip=100.96.0.1"), node("a", "allowed-ips=10.1.0.0/24", "endpoint=100.96.3.3:7")},
			map[string]string{"a": "10.1.0.0/24 at nowhere"}, []string{
				`Node/a: endpoint "100.96.3.3:7": lies inside 100.96.0.0/16, in which our own address is`}},
		"an endpoint beside us, in a range as wide as the network below": {Self{Node: "us", Role: Hub, PublicKey: key("us"), Keepalive: 25,
			Address: prefixes("10.96.0.1/32"), AllowedIPs: prefixes("10.0.0.0/8")}, Policy{}, []Node{
			hub("us", "ip=10.1.0.1"), node("a", "allowed-ips=10.96.0.2/32", "endpoint=10.1.2.3:7")},
			map[string]string{"a": "10.96.0.2/32 at 10.1.2.3:7 keepalive 25"}, nil},
		"an endpoint anywhere, where a hub leads to everywhere": {leads("0.0.0.0/0"), Policy{}, []Node{node("a", "allowed-ips=10.1.0.0/24", "endpoint=203.0.113.5:7")},
			map[string]string{"a": "10.1.0.0/24 at 203.0.113.5:7 keepalive 25"}, nil},
		"a podCIDR of another is of no meaning outside of a mesh": {us(Hub), Policy{}, []Node{node("a", "pods=10.244.1.0/24", "ip=100.96.1.1")},
			map[string]string{"a": "100.96.1.1/32 at nowhere"}, nil},
		"a mesh node at an endpoint of its own pods": {ourMesh(), Policy{}, []Node{node("a", "pods=10.244.1.0/24", "pods=fd44:1::/64", "endpoint=10.244.1.1:1")},
			map[string]string{"a": "fd44:1::/64 at 10.244.1.1:1 keepalive 25"}, []string{
				`Node/a: podCIDRs "10.244.1.0/24": covers 10.244.1.1, where this Node is reached`}},
		"a mesh node without a podCIDR": {ourMesh(), Policy{}, []Node{node("a", "ip=10.224.0.2", "endpoint=10.224.0.2:1")},
			map[string]string{}, []string{`Node/a: allowed-ips: not set, and the Node has no podCIDR yet`}},

		"a spoke meets hubs and its site alone": {ourSite(), Policy{}, []Node{
			hub("h", "allowed-ips=100.96.0.0/16", "endpoint=203.0.113.7:51820"), node("a", "site=lab", "ip=100.96.1.1", "vpc-ip=172.31.0.1"),
			node("b", "site=lab", "ip=100.96.1.2", "vpc-ip=172.31.0.2", "endpoint=203.0.113.9:999"), node("c", "site=rome", "ip=100.96.1.3", "vpc-ip=172.31.0.3"), node("d", "ip=100.96.1.4")},
			map[string]string{"h": "100.96.0.0/16 at 203.0.113.7:51820 keepalive 25", "a": "100.96.1.1/32 at 172.31.0.1:51820 keepalive 25", "b": "100.96.1.2/32 at 172.31.0.2:999 keepalive 25"}, nil},
		"a neighbour listens where it says": {ourSite(), Policy{}, []Node{
			node("a", "site=lab", "ip=100.96.1.1", "vpc-ip=172.31.0.1", "listen-port=51831"),
			node("b", "site=lab", "ip=100.96.1.2", "vpc-ip=172.31.0.2", "listen-port=51831", "endpoint=203.0.113.9:999"),
			node("c", "site=lab", "ip=100.96.1.3", "vpc-ip=172.31.0.3", "listen-port=65536", "endpoint=203.0.113.9:999")},
			map[string]string{"a": "100.96.1.1/32 at 172.31.0.1:51831 keepalive 25", "b": "100.96.1.2/32 at 172.31.0.2:51831 keepalive 25", "c": "100.96.1.3/32 at 172.31.0.3:51820 keepalive 25"},
			[]string{`Node/c: listen-port "65536": not a port from 1 to 65535`}},
		"a hub that is of our site is a hub": {ourSite(), Policy{}, []Node{node("h", "hub=true", "site=lab", "vpc-ip=172.31.0.1", "allowed-ips=100.96.0.0/16")},
			map[string]string{"h": "100.96.0.0/16 at nowhere"}, nil},
		"hubs by name": {ourSite(), Policy{Hubs: []string{"h"}}, []Node{
			hub("h", "allowed-ips=100.96.0.0/16"), hub("g", "allowed-ips=10.0.0.0/8", "ip=10.224.0.5"), hub("a", "peer=true", "site=lab", "allowed-ips=100.96.1.1", "vpc-ip=172.31.0.1"),
			node("b", "site=lab", "allowed-ips=10.224.0.5", "vpc-ip=172.31.0.2")},
			map[string]string{"h": "100.96.0.0/16 at nowhere", "b": "10.224.0.5/32 at 172.31.0.2:51820 keepalive 25"}, []string{
				`Node/a: hub: none of those that --hub names`,
				`Node/g: hub: none of those that --hub names`}},
		"hubs by key": {ourSite(), Policy{HubKeys: []wgquick.PublicKey{key("h")}}, []Node{
			hub("h", "allowed-ips=100.96.0.0/16"), hub("g", "allowed-ips=100.96.0.0/16"), node("b", "site=lab", "ip=100.96.1.1", "vpc-ip=172.31.0.2")},
			map[string]string{"h": "100.96.0.0/16 at nowhere", "b": "100.96.1.1/32 at 172.31.0.2:51820 keepalive 25"}, []string{
				`Node/g: public-key "` + key("g").String() + `": none of those that --hub-public-key names`}},
		"a neighbour that is the older one has the hub's key": {ourSite(), Policy{}, []Node{
			node("b", "site=lab", "public-key="+key("h").String(), "ip=100.96.1.1", "vpc-ip=172.31.0.2"), hub("h", "allowed-ips=100.96.0.0/16")},
			map[string]string{"h": "100.96.0.0/16 at nowhere"}, []string{
				`Node/b: public-key "` + key("h").String() + `": held by Node/h`}},
		"a neighbour has a hub's key before there is that hub": {ourSite(), Policy{HubKeys: []wgquick.PublicKey{key("h")}}, []Node{
			node("b", "site=lab", "public-key="+key("h").String(), "ip=100.96.1.1", "vpc-ip=172.31.0.2")},
			map[string]string{}, []string{
				`Node/b: public-key "` + key("h").String() + `": a hub's: --hub-public-key names it`}},
		"a neighbour that is the older one takes where hubs are met": {ourSite(), Policy{}, []Node{
			node("b", "site=lab", "allowed-ips=203.0.113.8/32,203.0.113.9/32,100.96.1.1/32", "vpc-ip=172.31.0.2"),
			external(hub("h", "allowed-ips=100.96.0.0/16", "endpoint=203.0.113.8:51820"), "203.0.113.9")},
			map[string]string{"h": "100.96.0.0/16 at 203.0.113.8:51820 keepalive 25", "b": "100.96.1.1/32 at 172.31.0.2:51820 keepalive 25"}, []string{
				`Node/b: allowed-ips "203.0.113.8/32": covers 203.0.113.8, the endpoint of Node/h`,
				`Node/b: allowed-ips "203.0.113.9/32": covers 203.0.113.9, an address of the hub Node/h`}},
		"hubs by name and key": {ourSite(), Policy{Hubs: []string{"h", "g"}, HubKeys: []wgquick.PublicKey{key("h"), key("f")}}, []Node{
			hub("h", "allowed-ips=100.96.0.0/16"), hub("g", "allowed-ips=10.0.0.0/8"), hub("f", "allowed-ips=10.0.0.0/8")},
			map[string]string{"h": "100.96.0.0/16 at nowhere"}, []string{
				`Node/f: hub: none of those that --hub names`,
				`Node/g: public-key "` + key("g").String() + `": none of those that --hub-public-key names`}},
		"a hub says nothing yet": {ourSite(), Policy{}, []Node{hub("h", "ip=10.224.0.4")},
			map[string]string{}, []string{`Node/h: allowed-ips: not set yet`}},
		"a hub takes all": {ourSite(), Policy{}, []Node{hub("h", "allowed-ips=0.0.0.0/0,128.0.0.0/1,203.0.113.0/24,100.96.0.0/16", "endpoint=203.0.113.7:51820")},
			map[string]string{"h": "100.96.0.0/16 at 203.0.113.7:51820 keepalive 25"}, []string{
				`Node/h: allowed-ips "0.0.0.0/0": a default route is not granted to a Node`,
				`Node/h: allowed-ips "128.0.0.0/1": wider than /8: a split of a default route is not granted to a Node`,
				`Node/h: allowed-ips "203.0.113.0/24": covers 203.0.113.7, where this Node is reached`}},
		"a hub takes what is ours, and a newcomer in its site takes the hub's": {ourSite(), Policy{}, []Node{node("a", "site=lab", "allowed-ips=10.1.0.0/24", "vpc-ip=172.31.0.1"),
			hub("h", "allowed-ips=10.9.0.0/24,10.1.0.0/24,10.1.0.7/32,172.31.0.0/16,10.1.0.0/16")},
			map[string]string{"h": "10.1.0.0/16,10.1.0.0/24,10.1.0.7/32,172.31.0.0/16 at nowhere"}, []string{
				`Node/a: allowed-ips "10.1.0.0/24": overlaps 10.1.0.0/24, held by Node/h`,
				`Node/a: vpc-ip "172.31.0.1": lies inside 172.31.0.0/16, held by Node/h`,
				`Node/h: allowed-ips "10.9.0.0/24": overlaps 10.9.0.0/24, held by Node/us`}},
		"a neighbour that is the older one takes the hub's own address": {ourSite(), Policy{}, []Node{
			node("a", "site=lab", "allowed-ips=100.96.0.1/32,100.96.0.0/30,100.96.4.2/32", "vpc-ip=172.31.0.1"), hub("h", "allowed-ips=100.96.0.0/16,100.96.0.1/32")},
			map[string]string{"a": "100.96.4.2/32 at 172.31.0.1:51820 keepalive 25", "h": "100.96.0.0/16,100.96.0.1/32 at nowhere"}, []string{
				`Node/a: allowed-ips "100.96.0.0/30": overlaps 100.96.0.1/32, held by Node/h`,
				`Node/a: allowed-ips "100.96.0.1/32": overlaps 100.96.0.1/32, held by Node/h`}},
		"the owner sends all to the hub": {withHub, Policy{}, []Node{hub("h", "endpoint=203.0.113.7:51820"), node("a", "site=lab", "ip=100.96.1.1", "vpc-ip=172.31.0.1")},
			map[string]string{"h": "0.0.0.0/0 at 203.0.113.7:51820 keepalive 25", "a": "100.96.1.1/32 at 172.31.0.1:51820 keepalive 25"}, nil},
		"several hubs, one range": {ourSite(), Policy{}, []Node{
			unready(hub("f", "allowed-ips=100.96.0.0/16,100.96.0.5/32")), hub("g", "allowed-ips=100.96.0.0/16,100.96.0.6/32"), hub("h", "allowed-ips=100.96.0.0/16")},
			map[string]string{"f": "100.96.0.5/32 at nowhere", "g": "100.96.0.0/16,100.96.0.6/32 at nowhere", "h": " at nowhere"}, nil},
		"several hubs, what the owner sends": {withHub, Policy{}, []Node{unready(hub("f")), hub("g", "allowed-ips=100.96.0.0/16")},
			map[string]string{"f": " at nowhere", "g": "0.0.0.0/0 at nowhere"}, nil},
		"neighbours that cannot be reached": {ourSite(), Policy{}, []Node{
			hub("a", "allowed-ips=100.96.0.0/16"), node("b", "site=lab", "ip=100.96.1.1"), node("c", "site=lab", "ip=100.96.1.2", "vpc-ip=here"),
			node("d", "site=lab", "ip=100.96.1.3", "vpc-ip=100.96.0.1"), node("e", "site=lab", "ip=172.31.0.5", "vpc-ip=172.31.0.5"), node("f", "site=lab", "ip=100.96.1.4", "vpc-ip=::1")},
			map[string]string{"a": "100.96.0.0/16 at nowhere"}, []string{
				`Node/b: vpc-ip: not set yet`,
				`Node/c: vpc-ip "here": not an IP address`,
				`Node/d: vpc-ip "100.96.0.1": lies inside 100.96.0.0/16, held by Node/a`,
				`Node/e: allowed-ips "172.31.0.5/32": covers 172.31.0.5, where this Node is reached`,
				`Node/f: vpc-ip "::1": lies inside ::1/128 (loopback)`}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.policy.Prefix = kubePrefix
			c, rejections := build(t, tc.self, Snapshot{Nodes: tc.nodes}, nil, tc.policy)
			if diff := cmp.Diff(tc.want, summary(c)); diff != "" {
				t.Errorf("peers (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.refused, lines(rejections)); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCauses: the words in which refusals are counted.
func TestCauses(t *testing.T) {
	self, policy := ourSite(), Policy{Prefix: kubePrefix, Hubs: []string{"h"}, APIServer: []netip.Addr{netip.MustParseAddr("10.96.0.1")}, PeerCIDRs: ofNodes("0.0.0.0/1", "128.0.0.0/1")}
	neighbour := func(allowed ...string) Node {
		return node("a", append([]string{"site=lab", "vpc-ip=172.31.0.1"}, allowed...)...)
	}
	var many []string
	for n := range maxPrefixes + 1 {
		many = append(many, fmt.Sprintf("10.1.%d.%d", n>>8, n&255))
	}
	for name, tc := range map[string]struct {
		node Node
		want Cause
	}{
		"no prefix":                {neighbour("allowed-ips=x"), Malformed},
		"no key":                   {neighbour("public-key=x", "ip=10.1.0.1"), Malformed},
		"a name of another line":   {node("a\nb", "site=lab"), Malformed},
		"a default route":          {neighbour("allowed-ips=0.0.0.0/0"), Never},
		"the zero key":             {neighbour("public-key="+zeroKey, "ip=10.1.0.1"), Never},
		"loopback":                 {node("a", "site=lab", "ip=10.1.0.1", "vpc-ip=127.0.0.1"), Never},
		"the API server":           {neighbour("allowed-ips=10.96.0.0/16"), Excluded},
		"outside of --peer-cidrs":  {neighbour("allowed-ips=2001:db8::1"), Excluded},
		"a hub that is not named":  {hub("g"), Excluded},
		"our own prefix":           {neighbour("allowed-ips=10.9.0.7"), Held},
		"our own key":              {neighbour("public-key="+key("us").String(), "ip=10.1.0.1"), Held},
		"its endpoint in a tunnel": {node("a", "site=lab", "ip=10.1.0.1", "vpc-ip=10.9.0.7"), Loop},
		"around its own endpoint":  {neighbour("allowed-ips=172.31.0.0/16"), Loop},
		"very many":                {neighbour("allowed-ips=" + strings.Join(many, ",")), TooMuch},
		"very wide":                {neighbour("allowed-ips=20.0.0.0/8,21.0.0.0/8,22.0.0.0/8,23.0.0.0/8,24.0.0.0/9"), TooMuch},
	} {
		t.Run(name, func(t *testing.T) {
			_, rejections := build(t, self, Snapshot{Nodes: []Node{tc.node}}, nil, policy)
			if len(rejections) != 1 || rejections[0].Cause != tc.want {
				t.Errorf("%v, want %s", rejections, tc.want)
			}
		})
	}
}

// TestIncumbents: a cluster that stands, and what changes in it.
func TestIncumbents(t *testing.T) {
	before := []Node{
		node("m", "allowed-ips=10.1.0.0/24,10.1.1.0/24", "endpoint=203.0.113.1:1"),
		node("n", "allowed-ips=10.2.0.0/24"),
	}
	const m, n = "10.1.0.0/24,10.1.1.0/24 at 203.0.113.1:1 keepalive 25", "10.2.0.0/24 at nowhere"
	for name, tc := range map[string]struct {
		after   []Node
		want    map[string]string
		refused []string
	}{
		"an older thief of prefix and key": {
			append(before[:2:2], node("a", "allowed-ips=10.1.0.0/25,10.2.0.0/24"), node("b", "ip=10.3.0.1", "public-key="+key("m").String())),
			map[string]string{"m": m, "n": n}, []string{
				`Node/a: allowed-ips "10.1.0.0/25": overlaps 10.1.0.0/24, held by Node/m`,
				`Node/a: allowed-ips "10.2.0.0/24": overlaps 10.2.0.0/24, held by Node/n`,
				`Node/b: public-key "` + key("m").String() + `": held by Node/m`}},
		"an older endpoint inside what is held": {
			append(before[:2:2], node("a", "ip=10.3.0.1", "endpoint=10.2.0.7:1")),
			map[string]string{"a": "10.3.0.1/32 at nowhere", "m": m, "n": n}, []string{
				`Node/a: endpoint "10.2.0.7:1": lies inside 10.2.0.0/24, held by Node/n`}},
		"an older one that says it is a hub at a held address": {
			append(before[:2:2], hub("a", "ip=10.2.0.7")),
			map[string]string{"m": m, "n": n}, nil},
		"an incumbent widens over another": {
			[]Node{before[0], node("n", "allowed-ips=10.2.0.0/24,10.1.0.0/16,203.0.113.0/24")},
			map[string]string{"m": m, "n": n}, []string{
				`Node/n: allowed-ips "10.1.0.0/16": overlaps 10.1.0.0/24, held by Node/m`,
				`Node/n: allowed-ips "203.0.113.0/24": covers 203.0.113.1, the endpoint of Node/m`}},
		"everything turns malformed": {
			[]Node{node("m", "public-key=x", "allowed-ips=10.1.0.0/24,10.1.1.0/33", "endpoint=x"), before[1]},
			map[string]string{"m": m, "n": n}, []string{
				`Node/m: allowed-ips "10.1.1.0/33": not a CIDR`,
				`Node/m: endpoint "x": not IP:port, with a port from 1 to 65535`,
				`Node/m: public-key "x": not a key: 44 characters of base64 are wanted`}},
		"malformed, of a Node of the same name with another uid": {
			[]Node{renewed(node("m", "public-key=x", "allowed-ips=10.1.0.0/24")), before[1]},
			map[string]string{"n": n}, []string{
				`Node/m: public-key "x": not a key: 44 characters of base64 are wanted`}},
		"a new key that another holds leaves the old one": {
			[]Node{node("m", "public-key="+key("n").String(), "allowed-ips=10.1.0.0/24,10.1.1.0/24", "endpoint=203.0.113.1:1"), before[1]},
			map[string]string{"m": m, "n": n}, []string{
				`Node/m: public-key "` + key("n").String() + `": held by Node/n`}},
		"a new key keeps the prefixes from an older thief": {
			[]Node{node("m", "public-key="+key("new").String(), "allowed-ips=10.1.0.0/24,10.1.1.0/24", "endpoint=203.0.113.1:1"), before[1], node("a", "allowed-ips=10.1.0.0/24")},
			map[string]string{"m": m, "n": n}, []string{
				`Node/a: allowed-ips "10.1.0.0/24": overlaps 10.1.0.0/24, held by Node/m`}},
		"keys move along a chain": {
			[]Node{node("m", "public-key="+key("n").String(), "allowed-ips=10.1.0.0/24"), node("n", "public-key="+key("new").String(), "allowed-ips=10.2.0.0/24"), node("a", "public-key="+key("m").String(), "ip=10.3.0.1")},
			map[string]string{"m": "10.1.0.0/24 at nowhere", "n": n, "a": "10.3.0.1/32 at nowhere"}, nil},
		"claims withdrawn go, and are free": {
			[]Node{node("m", "allowed-ips=10.1.0.0/24"), node("a", "allowed-ips=10.1.1.0/24,10.2.0.0/24")},
			map[string]string{"m": "10.1.0.0/24 at nowhere", "a": "10.1.1.0/24,10.2.0.0/24 at nowhere"}, nil},
		"no label, no key, no valid prefix: out, whatever it had": {
			[]Node{node("m", "peer=false", "allowed-ips=10.1.0.0/24"), node("n", "allowed-ips=0.0.0.0/0"), node("a", "allowed-ips=10.2.0.0/24")},
			map[string]string{"a": "10.2.0.0/24 at nowhere"}, []string{
				`Node/n: allowed-ips "0.0.0.0/0": a default route is not granted to a Node`}},
		"an incumbent that loses all its claims frees its key": {
			[]Node{before[0], node("n", "allowed-ips=10.1.0.0/24"), node("a", "ip=10.3.0.1", "public-key="+key("n").String())},
			map[string]string{"m": m, "a": "10.3.0.1/32 at nowhere"}, []string{
				`Node/n: allowed-ips "10.1.0.0/24": overlaps 10.1.0.0/24, held by Node/m`,
				`Node/n: public-key "` + key("n").String() + `": held by Node/a`}},
	} {
		t.Run(name, func(t *testing.T) {
			p := Policy{Prefix: kubePrefix}
			prev, _ := build(t, us(Hub), Snapshot{Nodes: before}, nil, p)
			c, rejections := build(t, us(Hub), Snapshot{Nodes: tc.after}, prev, p)
			if diff := cmp.Diff(tc.want, summary(c)); diff != "" {
				t.Errorf("peers (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.refused, lines(rejections)); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhoCalls: nobody takes the address from which a peer calls; but a peer calls from where it likes, so a tenant's is no
// reason to keep a Node out.
func TestWhoCalls(t *testing.T) {
	const from = "198.51.100.7"
	laptop := Peer{Kind: KindSecret, Name: "ns/laptop", UID: "1", PublicKey: key("l").String(), AllowedIPs: []string{"10.200.0.1/32"}}
	caller, thief := node("a", "allowed-ips=10.1.0.0/24"), node("t", "allowed-ips=10.2.0.0/24,198.51.100.0/24")
	tenant := Peer{Kind: KindSecret, Name: "ns/thief", UID: "2", PublicKey: key("x").String(), AllowedIPs: []string{"198.51.100.7/32"}}
	office := Fragment{Name: "office", Peers: []wgquick.Peer{{PublicKey: key("f"), AllowedIPs: prefixes("10.3.0.0/24")}}}
	for name, tc := range map[string]struct {
		before, now Snapshot
		met         []Met
		want        []string
	}{
		"a Node calls":        {Snapshot{Nodes: []Node{caller}}, Snapshot{Nodes: []Node{caller, thief}}, []Met{{key("a"), wgquick.Origin{}, netip.MustParseAddr(from)}}, []string{`Node/t: allowed-ips "198.51.100.0/24": covers 198.51.100.7, from where Node/a calls`}},
		"as IPv6":             {Snapshot{Nodes: []Node{caller}}, Snapshot{Nodes: []Node{caller, thief}}, []Met{{key("a"), wgquick.Origin{}, netip.MustParseAddr("::ffff:" + from)}}, []string{`Node/t: allowed-ips "198.51.100.0/24": covers 198.51.100.7, from where Node/a calls`}},
		"a tenant calls":      {Snapshot{Peers: []Peer{laptop}}, Snapshot{Nodes: []Node{thief}, Peers: []Peer{laptop}}, []Met{{key("l"), wgquick.Origin{}, netip.MustParseAddr(from)}}, nil},
		"one tenant, another": {Snapshot{Peers: []Peer{laptop}}, Snapshot{Peers: []Peer{laptop, tenant}}, []Met{{key("l"), wgquick.Origin{}, netip.MustParseAddr(from)}}, []string{`Secret/ns/thief: allowed-ips "198.51.100.7/32": covers 198.51.100.7, from where Secret/ns/laptop calls`}},
		"both behind one address": {Snapshot{Nodes: []Node{caller}, Peers: []Peer{laptop}}, Snapshot{Nodes: []Node{caller, thief}, Peers: []Peer{laptop}},
			[]Met{{key("l"), wgquick.Origin{}, netip.MustParseAddr(from)}, {key("a"), wgquick.Origin{}, netip.MustParseAddr(from)}}, []string{`Node/t: allowed-ips "198.51.100.0/24": covers 198.51.100.7, from where Node/a calls`}},
		"a fragment's peer calls": {Snapshot{Fragments: []Fragment{office}}, Snapshot{Nodes: []Node{thief}, Fragments: []Fragment{office}}, []Met{{key("f"), wgquick.Origin{}, netip.MustParseAddr(from)}}, []string{`Node/t: allowed-ips "198.51.100.0/24": covers 198.51.100.7, from where fragment/office calls`}},
		"nobody of ours":          {Snapshot{Nodes: []Node{caller}}, Snapshot{Nodes: []Node{caller, thief}}, []Met{{key("z"), wgquick.Origin{}, netip.MustParseAddr(from)}}, nil},
		"with the key before":     {Snapshot{Nodes: []Node{caller}}, Snapshot{Nodes: []Node{node("a", "public-key="+key("b").String(), "allowed-ips=10.1.0.0/24"), thief}}, []Met{{key("a"), wgquick.Origin{Kind: KindNode, Name: "a", UID: "uid-a"}, netip.MustParseAddr(from)}}, []string{`Node/t: allowed-ips "198.51.100.0/24": covers 198.51.100.7, from where Node/a calls`}},
		"with a key that another has now": {Snapshot{Nodes: []Node{caller}}, Snapshot{Nodes: []Node{caller, node("z", "allowed-ips=10.4.0.0/24"), thief}},
			[]Met{{key("a"), wgquick.Origin{}, netip.MustParseAddr(from)}, {key("a"), wgquick.Origin{Kind: KindNode, Name: "z", UID: "uid-z"}, netip.MustParseAddr("192.0.2.9")}}, []string{`Node/t: allowed-ips "198.51.100.0/24": covers 198.51.100.7, from where Node/a calls`}},
		"who holds it, keeps it": {Snapshot{Nodes: []Node{caller, thief}}, Snapshot{Nodes: []Node{caller, thief}}, []Met{{key("a"), wgquick.Origin{}, netip.MustParseAddr(from)}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			prev, _ := build(t, us(Hub), tc.before, nil, Policy{Prefix: kubePrefix})
			tc.now.Met = tc.met
			_, rejections := build(t, us(Hub), tc.now, prev, Policy{Prefix: kubePrefix})
			var got []string
			for _, r := range rejections {
				got = append(got, r.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhereASpokeIsMet: what a hub sends to where it meets a spoke must not go into the tunnel to it. So the address is not
// the spoke's, but for one that has it already and calls from elsewhere.
func TestWhereASpokeIsMet(t *testing.T) {
	const at, inside = "192.0.2.23", "100.96.0.7/32"
	met := func(from string) []Met { return []Met{{key("s"), wgquick.Origin{}, netip.MustParseAddr(from)}} }
	reason := func(kind, field string) string {
		return fmt.Sprintf(`%s "192.0.2.23/32": this is where the %s is met, outside of the tunnel: claim its address inside by %s`, field, kind, field)
	}
	refused := "Node/s: " + reason("Node", "allowed-ips")
	silent := node("s", "ip="+at)
	named := node("s", "ip="+at, "endpoint="+at+":51820")
	both := node("s", "endpoint="+at+":51820", "allowed-ips="+at+"/32,"+inside)
	wide := node("s", "endpoint="+at+":51820", "allowed-ips=192.0.2.0/24")
	phone := Peer{Kind: KindSecret, Name: "ns/s", UID: "1", PublicKey: key("s").String(), AllowedIPs: []string{at + "/32", inside}, Endpoint: at + ":51820"}
	for name, tc := range map[string]struct {
		before []wgquick.Peer
		now    Snapshot
		want   string   // what the peer has, and where it is met; "none": it is no peer
		told   []string // of its claim
	}{
		"nobody knows yet from where it calls":             {now: Snapshot{Nodes: []Node{silent}}, want: at + "/32"},
		"it calls from there":                              {now: Snapshot{Nodes: []Node{silent}, Met: met(at)}, before: has("s", at+"/32"), want: "", told: []string{refused}},
		"it calls from what it does not say any more":      {now: Snapshot{Nodes: []Node{node("s", "allowed-ips=bad")}, Met: met(at)}, before: has("s", at+"/32"), want: "", told: []string{`Node/s: allowed-ips "bad": not a CIDR`}},
		"it still does":                                    {now: Snapshot{Nodes: []Node{silent}, Met: met(at)}, before: has("s"), want: "", told: []string{refused}},
		"and nobody has heard it since":                    {now: Snapshot{Nodes: []Node{silent}}, before: has("s"), want: "", told: []string{refused}},
		"and spoils its claim":                             {now: Snapshot{Nodes: []Node{node("s", "allowed-ips=bad")}, Met: met(at)}, before: has("s"), want: "", told: []string{`Node/s: allowed-ips "bad": not a CIDR`}},
		"and claims what is around it":                     {now: Snapshot{Nodes: []Node{node("s", "allowed-ips=192.0.2.0/24")}, Met: met(at)}, before: has("s"), want: "", told: []string{`Node/s: allowed-ips "192.0.2.0/24": covers 192.0.2.23, from where it calls itself`}},
		"it says where it is met, and nobody has heard it": {now: Snapshot{Nodes: []Node{named}}, before: has("s"), want: " " + at + ":51820", told: []string{refused}},
		"and says so itself, and nobody has heard it":      {now: Snapshot{Nodes: []Node{node("s", "ip="+at, "allowed-ips="+at+"/32")}}, before: has("s"), want: "", told: []string{refused}},
		"and has one inside too, and nobody has heard it":  {now: Snapshot{Nodes: []Node{node("s", "ip="+at, "allowed-ips="+at+"/32,"+inside)}}, before: has("s"), want: inside + " " + at + "/32"},
		"it is met elsewhere, and claims its node IP":      {now: Snapshot{Nodes: []Node{node("s", "ip=100.96.0.7", "endpoint="+at+":51820", "allowed-ips="+inside)}}, before: has("s"), want: inside + " " + at + ":51820"},
		"it calls from elsewhere":                          {now: Snapshot{Nodes: []Node{silent}, Met: met("198.51.100.1")}, before: has("s"), want: at + "/32"},
		"it says that it is met there":                     {now: Snapshot{Nodes: []Node{named}}, want: " " + at + ":51820", told: []string{refused}},
		"and has an address inside":                        {now: Snapshot{Nodes: []Node{both}}, want: inside + " " + at + ":51820", told: []string{refused}},
		"and calls from there":                             {now: Snapshot{Nodes: []Node{both}, Met: met(at)}, before: has("s", at+"/32", inside), want: inside + " " + at + ":51820", told: []string{refused}},
		"it says so, and has had the address":              {now: Snapshot{Nodes: []Node{named}}, before: has("s", at+"/32"), want: at + "/32", told: []string{`Node/s: endpoint "192.0.2.23:51820": lies inside 192.0.2.23/32, which this Node claims`}},
		"it says so, has had the address, and the owner gives it away": {now: Snapshot{Nodes: []Node{both}, Fragments: []Fragment{{Name: "o", Peers: []wgquick.Peer{{PublicKey: key("o"), AllowedIPs: prefixes(at + "/32")}}}}},
			before: has("s", at+"/32", inside), want: inside, told: []string{refused, `Node/s: endpoint "192.0.2.23:51820": lies inside 192.0.2.23/32, held by fragment/o`}},
		"it says so, and calls from elsewhere":    {now: Snapshot{Nodes: []Node{named}, Met: met("198.51.100.1")}, before: has("s", at+"/32"), want: at + "/32", told: []string{`Node/s: endpoint "192.0.2.23:51820": lies inside 192.0.2.23/32, which this Node claims`}},
		"it is met inside of what lies behind it": {now: Snapshot{Nodes: []Node{wide}}, want: "192.0.2.0/24", told: []string{`Node/s: endpoint "192.0.2.23:51820": lies inside 192.0.2.0/24, which this Node claims`}},
		"a tenant's":        {now: Snapshot{Peers: []Peer{phone}}, want: inside + " " + at + ":51820", told: []string{"Secret/ns/s: " + reason("Secret", "allowed-ips")}},
		"it cannot be read": {now: Snapshot{Unread: []string{"Node/s"}}, before: has("s"), want: "", told: []string{"Node/s: it cannot be read; what it had stays"}},
	} {
		t.Run(name, func(t *testing.T) {
			c, rejections := build(t, us(Hub), tc.now, &wgquick.Config{Peers: tc.before}, Policy{Prefix: kubePrefix})
			got := "none"
			for _, p := range c.Peers {
				got = strings.Trim(fmt.Sprint(p.AllowedIPs), "[]")
				if !p.Endpoint.IsZero() {
					got += " " + p.Endpoint.String()
				}
			}
			if got != tc.want {
				t.Errorf("it has %q, want %q", got, tc.want)
			}
			if diff := cmp.Diff(tc.told, lines(rejections)); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
		})
	}
}

// TestALostEndpointIsInNobodysWay: where a last good endpoint is not granted any more, what it kept its Node from is.
func TestALostEndpointIsInNobodysWay(t *testing.T) {
	self, p := ourSite(), Policy{Prefix: kubePrefix}
	prev, _ := build(t, self, Snapshot{Nodes: []Node{hub("h", "allowed-ips=100.96.0.0/16", "endpoint=10.0.9.9:1")}}, nil, p)
	self.Address = prefixes("10.0.0.1/16")
	c, _ := build(t, self, Snapshot{Nodes: []Node{hub("h", "allowed-ips=100.96.0.0/16,10.0.9.0/24", "endpoint=x")}}, prev, p)
	if diff := cmp.Diff(map[string]string{"h": "10.0.9.0/24,100.96.0.0/16 at nowhere"}, summary(c)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestANeighbourStaysAtItsPort: its endpoint says where it listens, and then nothing that can be read.
func TestANeighbourStaysAtItsPort(t *testing.T) {
	p := Policy{Prefix: kubePrefix}
	at := func(endpoint string) Snapshot {
		return Snapshot{Nodes: []Node{node("a", "site=lab", "ip=100.96.1.1", "vpc-ip=172.31.0.1", "endpoint="+endpoint)}}
	}
	prev, _ := build(t, ourSite(), at("203.0.113.9:999"), nil, p)
	c, _ := build(t, ourSite(), at("203.0.113.9"), prev, p)
	if diff := cmp.Diff(map[string]string{"a": "100.96.1.1/32 at 172.31.0.1:999 keepalive 25"}, summary(c)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestWhereOthersAreMet: nor does a node of a mesh, or of a site, send what is for a machine into the tunnel to it.
func TestWhereOthersAreMet(t *testing.T) {
	const at = "192.0.2.43" // from where it calls; others still say 192.0.2.33
	met := []Met{{PublicKey: key("s"), Addr: netip.MustParseAddr(at)}}
	for name, tc := range map[string]struct {
		self Self
		node Node
		has  string
	}{
		"a Node of the mesh": {ourMesh(), node("s", "ip="+at, "endpoint=192.0.2.33:51820", "pods=10.244.3.0/24"), "10.244.3.0/24"},
		"a neighbour":        {ourSite(), node("s", "ip="+at, "site=lab", "vpc-ip=192.0.2.33"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := Policy{Prefix: kubePrefix}
			granted, _ := build(t, tc.self, Snapshot{Nodes: []Node{tc.node}}, nil, p)
			for _, before := range []*wgquick.Config{nil, granted} {
				c, rejections := build(t, tc.self, Snapshot{Nodes: []Node{tc.node}, Met: met}, before, p)
				if len(c.Peers) != 1 || strings.Trim(fmt.Sprint(c.Peers[0].AllowedIPs), "[]") != tc.has {
					t.Errorf("peers %v, want one that has %q", c.Peers, tc.has)
				}
				want := []string{`Node/s: allowed-ips "192.0.2.43/32": this is where the Node is met, outside of the tunnel: claim its address inside by allowed-ips`}
				if diff := cmp.Diff(want, lines(rejections)); diff != "" {
					t.Errorf("refused (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// leads is a hub that advertises this.
func leads(cidrs ...string) Self {
	self := us(Hub)
	self.AllowedIPs = prefixes(cidrs...)
	return self
}

// has is the peer of a Node in the last proposal.
func has(name string, cidrs ...string) []wgquick.Peer {
	return []wgquick.Peer{{Origin: wgquick.Origin{Kind: KindNode, Name: name, UID: "uid-" + name}, PublicKey: key(name), AllowedIPs: prefixes(cidrs...)}}
}

// TestPodCIDRsOutrank: whoever sits where a Node of the mesh is to come makes room for it, and for no other claim.
func TestPodCIDRsOutrank(t *testing.T) {
	p := Policy{Prefix: kubePrefix}
	squatters := Snapshot{
		Nodes: []Node{
			node("a", "pods=10.244.1.0/24", "allowed-ips=10.244.2.0/26,10.9.0.0/24"),
			node("b", "pods=10.244.3.0/24", "endpoint=10.244.2.100:1"),
			node("c", "allowed-ips=10.244.2.192/26"),
			node("d", "pods=10.244.4.0/24", "ip=10.244.2.200"),
		},
		Peers: []Peer{{Kind: KindSecret, Name: "ns/e", UID: "e", PublicKey: key("e").String(), AllowedIPs: []string{"10.244.2.128/26", "10.8.0.0/24"}}},
	}
	prev, rejections := build(t, ourMesh(), squatters, nil, p)
	want := map[string]string{
		"a": "10.9.0.0/24,10.244.1.0/24,10.244.2.0/26 at nowhere", "b": "10.244.3.0/24 at 10.244.2.100:1 keepalive 25",
		"c": "10.244.2.192/26 at nowhere", "d": "10.244.4.0/24 at nowhere", "ns/e": "10.8.0.0/24,10.244.2.128/26 at nowhere",
	}
	if diff := cmp.Diff(want, summary(prev)); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	if len(rejections) != 1 { // d, who came after c
		t.Errorf("before, refused: %q", lines(rejections))
	}

	squatters.Nodes = append(squatters.Nodes, node("rightful", "pods=10.244.2.0/24"), node("twin", "pods=10.244.2.0/24"),
		node("late", "allowed-ips=10.9.0.0/24,10.244.1.0/24", "pods=10.244.5.0/24"))
	after, rejections := build(t, ourMesh(), squatters, prev, p)
	want = map[string]string{
		"a": "10.9.0.0/24,10.244.1.0/24 at nowhere", "b": "10.244.3.0/24 at nowhere", "d": "10.244.4.0/24 at nowhere", "ns/e": "10.8.0.0/24 at nowhere",
		"rightful": "10.244.2.0/24 at nowhere", "late": "10.244.5.0/24 at nowhere",
	}
	if diff := cmp.Diff(want, summary(after)); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
	refused := []string{
		`Node/a: allowed-ips "10.244.2.0/26": overlaps 10.244.2.0/24, held by Node/rightful`,
		`Node/b: endpoint "10.244.2.100:1": lies inside 10.244.2.0/24, held by Node/rightful`,
		`Node/c: allowed-ips "10.244.2.192/26": overlaps 10.244.2.0/24, held by Node/rightful`,
		`Node/d: allowed-ips "10.244.2.200/32": overlaps 10.244.2.0/24, held by Node/rightful`,
		`Node/late: allowed-ips "10.244.1.0/24": overlaps 10.244.1.0/24, held by Node/a`,
		`Node/late: allowed-ips "10.9.0.0/24": overlaps 10.9.0.0/24, held by Node/a`,
		`Secret/ns/e: allowed-ips "10.244.2.128/26": overlaps 10.244.2.0/24, held by Node/rightful`,
		`Node/twin: podCIDRs "10.244.2.0/24": overlaps 10.244.2.0/24, held by Node/rightful`,
	}
	if diff := cmp.Diff(refused, lines(rejections)); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

// A kubelet may fill an empty podCIDR in once: not with the machine of another.
func TestPodCIDRsCoverNoMachine(t *testing.T) {
	p := Policy{Prefix: kubePrefix}
	victim := node("victim", "pods=10.244.6.0/24", "ip=10.0.0.7", "endpoint=10.0.0.7:1")
	prev, _ := build(t, ourMesh(), Snapshot{Nodes: []Node{victim}}, nil, p)
	c, rejections := build(t, ourMesh(), Snapshot{Nodes: []Node{victim, node("rogue", "pods=10.0.0.7/32", "allowed-ips=10.7.0.0/24")}}, prev, p)
	want := map[string]string{"victim": "10.244.6.0/24 at 10.0.0.7:1 keepalive 25", "rogue": "10.7.0.0/24 at nowhere"}
	if diff := cmp.Diff(want, summary(c)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	refused := []string{`Node/rogue: podCIDRs "10.0.0.7/32": covers 10.0.0.7, the endpoint of Node/victim`}
	if diff := cmp.Diff(refused, lines(rejections)); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

func TestFragmentsWithMoreNamesThanAreResolved(t *testing.T) {
	var many Fragment
	many.Name = "many.conf"
	for i := range wgquick.MaxNames + 1 {
		many.Peers = append(many.Peers, wgquick.Peer{PublicKey: key(fmt.Sprint("k", i)), Endpoint: wgquick.Endpoint{Host: fmt.Sprintf("h%d.example.org", i), Port: 1}})
	}
	c, rejections := build(t, us(Hub), Snapshot{Fragments: []Fragment{many}}, nil, Policy{Prefix: kubePrefix})
	named := 0
	for _, p := range c.Peers {
		if !p.Endpoint.IsZero() {
			named++
		}
	}
	want := []string{`fragment/many.conf: Endpoint "h256.example.org:1": more than 256 endpoints that are names; write an address`}
	if named != wgquick.MaxNames || len(c.Peers) != wgquick.MaxNames+1 || !slices.Equal(lines(rejections), want) {
		t.Errorf("%d of %d peers have a name, and %q", named, len(c.Peers), lines(rejections))
	}
}

func TestFragments(t *testing.T) {
	static := func(name, endpoint string, cidrs ...string) wgquick.Peer {
		p := wgquick.Peer{PublicKey: key(name), AllowedIPs: prefixes(cidrs...), PersistentKeepalive: 7, Line: 3}
		if endpoint != "" {
			p.Endpoint = wgquick.EndpointOf(netip.MustParseAddrPort(endpoint))
		}
		return p
	}
	nodes := []Node{node("a", "allowed-ips=10.1.0.0/24,10.1.9.9/32,192.0.2.0/24"), node("b", "ip=10.2.0.1", "public-key="+key("gate").String())}
	p := Policy{Prefix: kubePrefix}
	before, _ := build(t, us(Hub), Snapshot{Nodes: nodes}, nil, p)

	gate := Fragment{Name: "gate.conf", Peers: []wgquick.Peer{static("gate", "192.0.2.5:1", "10.1.9.0/24", "0.0.0.0/0"), static("us", "")}}
	other := Fragment{Name: "other.conf", Peers: []wgquick.Peer{static("gate", ""), static("other", "", "10.1.9.0/24", "10.8.0.0/24")}}
	c, rejections := build(t, us(Hub), Snapshot{Nodes: nodes, Fragments: []Fragment{other, gate}}, before, p)
	want := map[string]string{
		"a":          "10.1.0.0/24 at nowhere",
		"gate.conf":  "10.1.9.0/24,0.0.0.0/0 at 192.0.2.5:1",
		"other.conf": "10.8.0.0/24 at nowhere",
	}
	if diff := cmp.Diff(want, summary(c)); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
	refused := []string{
		`Node/a: allowed-ips "10.1.9.9/32": overlaps 10.1.9.0/24, held by fragment/gate.conf`,
		`Node/a: allowed-ips "192.0.2.0/24": covers 192.0.2.5, the endpoint of fragment/gate.conf`,
		`Node/b: public-key "` + key("gate").String() + `": held by fragment/gate.conf`,
		`fragment/gate.conf: PublicKey "` + key("us").String() + `": held by the node that says this`,
		`fragment/other.conf: AllowedIPs "10.1.9.0/24": held by fragment/gate.conf`,
		`fragment/other.conf: PublicKey "` + key("gate").String() + `": held by fragment/gate.conf`,
	}
	if diff := cmp.Diff(refused, lines(rejections)); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}

	broken := Fragment{Name: "gate.conf", Err: errors.New("gate.conf:3: [Peer]: Colour: unknown key\ngate.conf:4: more")}
	kept, rejections := build(t, us(Hub), Snapshot{Nodes: nodes, Fragments: []Fragment{other, broken}}, c, p)
	if diff := cmp.Diff(c.Peers, kept.Peers, byValue); diff != "" {
		t.Errorf("a broken fragment costs (-before +after):\n%s", diff)
	}
	if got := lines(rejections)[3]; got != "fragment/gate.conf: gate.conf:3: [Peer]: Colour: unknown key gate.conf:4: more" {
		t.Errorf("broken fragment: %s", got)
	}
}

// TestRefusedIsShort: neither one Node nor many fill the file with what they are refused.
func TestRefusedIsShort(t *testing.T) {
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("127.0.%d.%d/32", i/256, i%256))
	}
	nodes := []Node{node("a", "allowed-ips="+strings.Join(many, ",")), node("b", "ip=10.0.0.1", "public-key="+strings.Repeat("é", 4000))}
	_, rejections := build(t, us(Hub), Snapshot{Nodes: nodes}, nil, Policy{Prefix: kubePrefix})
	if len(rejections) != maxPerNode+2 || len(rejections[9].String()) > 1000 {
		t.Errorf("refused:\n%s", strings.Join(lines(rejections), "\n"))
	}
	for i := range 200 {
		nodes = append(nodes, node(fmt.Sprintf("n%d", i), "public-key=x"))
	}
	c, rejections := build(t, us(Hub), Snapshot{Nodes: nodes}, nil, Policy{Prefix: kubePrefix})
	if n := len(c.Refused); n != maxRefused+1 || c.Refused[maxRefused] != fmt.Sprintf("and %d more", len(rejections)-maxRefused) {
		t.Errorf("%d lines, the last is %q", n, c.Refused[n-1])
	}
}

// No part of a key is shown where a long value is cut.
func TestRefusedShowsNoPartOfAKey(t *testing.T) {
	const secret = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	for n := range 50 {
		r := Rejection{Origin: wgquick.Origin{Kind: KindSecret, Name: "ns/a"}, Field: "endpoint", Value: strings.Repeat("x ", n) + secret + strings.Repeat(" x", 1<<10)}
		shown := r.discreet().String()
		for from := range len(secret) - 4 {
			if strings.Contains(shown, secret[from:from+4]) {
				t.Fatal(shown)
			}
		}
	}
}

func TestCap(t *testing.T) {
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))
	}
	p := Policy{Prefix: kubePrefix}
	held := node("a", "allowed-ips="+many[999])
	prev, _ := build(t, us(Hub), Snapshot{Nodes: []Node{held}}, nil, p)
	c, rejections := build(t, us(Hub), Snapshot{Nodes: []Node{node("a", "allowed-ips="+strings.Join(many, ","))}}, prev, p)
	if got := c.Peers[0].AllowedIPs; len(got) != maxPrefixes || got[maxPrefixes-1].String() != many[999] || len(rejections) != 1 {
		t.Errorf("%d prefixes, the last is %v; refused %v", len(got), got[len(got)-1], rejections)
	}
}

func unready(n Node) Node {
	n.Ready = false
	return n
}

func renewed(n Node) Node {
	n.UID = "another"
	return n
}

// TestReasonsAreWhole: a reason may repeat what somebody called something.
func TestReasonsAreWhole(t *testing.T) {
	for reason, want := range map[string]string{
		"there is no Secret passwört yet":        `there is no Secret passw\u00f6rt yet`,
		"there is no Secret \u202eksp\x00\xff":   `there is no Secret \u202eksp\x00\ufffd`,
		"x.conf:3: unknown key\n\tx.conf:4: y\n": "x.conf:3: unknown key x.conf:4: y",
	} {
		if got := (Rejection{Reason: reason}).Claim(); got != want {
			t.Errorf("%q: got %s; want %s", reason, got, want)
		}
	}
}
