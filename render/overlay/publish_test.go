package overlay

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wg-kube/templates/wgquick"
)

func TestPublish(t *testing.T) {
	own := Node{ExternalIPs: []netip.Addr{netip.MustParseAddr("2001:db8::7"), netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("203.0.113.8")}}
	bare := Self{Role: Hub, Address: prefixes("100.96.0.1/16", "fd96::1/64"), ListenPort: 51820}
	told := us(Hub)
	told.Endpoint = netip.MustParseAddrPort("[2001:db8::1]:443")
	elsewhere := ourSite()
	elsewhere.ListenPort = 51831
	forwarded := elsewhere
	forwarded.Endpoint = netip.MustParseAddrPort("198.51.100.1:51831")
	toldMesh := ourMesh()
	toldMesh.Endpoint, toldMesh.AllowedIPs = netip.MustParseAddrPort("198.51.100.1:443"), prefixes("10.9.0.0/24")
	spoke := Self{Role: Spoke, Address: prefixes("100.96.0.2/16")}
	taken := Node{Annotations: map[string]string{"p/public-key": key("us").String()}}
	wasHub := Node{Annotations: taken.Annotations, Labels: map[string]string{"p/hub": "true"}}
	for name, tc := range map[string]struct {
		self                Self
		own                 Node
		labels, annotations map[string]string
	}{
		"a hub without key and endpoint": {bare, Node{},
			map[string]string{"p/hub": "true"}, map[string]string{"p/allowed-ips": "100.96.0.0/16,100.96.0.1/32,fd96::/64,fd96::1/128"}},
		"a hub at its ExternalIP, v4 first": {us(Hub), own,
			map[string]string{"p/hub": "true"},
			map[string]string{"p/public-key": key("us").String(), "p/allowed-ips": "100.96.0.0/16,100.96.0.1/32", "p/endpoint": "203.0.113.7:51820"}},
		"a hub where its owner says": {told, own,
			map[string]string{"p/hub": "true"},
			map[string]string{"p/public-key": key("us").String(), "p/allowed-ips": "100.96.0.0/16,100.96.0.1/32", "p/endpoint": "[2001:db8::1]:443"}},
		"a mesh node at its ExternalIP": {ourMesh(), own,
			map[string]string{"p/peer": "true"},
			map[string]string{"p/public-key": key("us").String(), "p/endpoint": "203.0.113.7:51820"}},
		"a mesh node at its InternalIP": {ourMesh(), node("us", "ip=fd00::4", "ip=10.224.0.4", "pods=10.244.0.0/24"),
			map[string]string{"p/peer": "true"},
			map[string]string{"p/public-key": key("us").String(), "p/endpoint": "10.224.0.4:51820"}},
		"a mesh node where its owner says, with an address and more": {toldMesh, own,
			map[string]string{"p/peer": "true"},
			map[string]string{"p/public-key": key("us").String(), "p/allowed-ips": "10.9.0.0/24", "p/endpoint": "198.51.100.1:443"}},
		"a mesh node with an address of its own": {Self{Role: Mesh, Address: prefixes("100.96.0.2/16"), ListenPort: 51820}, Node{},
			map[string]string{"p/peer": "true"}, map[string]string{"p/allowed-ips": "100.96.0.2/32"}},
		"a spoke that knows little": {spoke, own,
			map[string]string{"p/peer": "true"}, map[string]string{"p/allowed-ips": "100.96.0.2/32"}},
		"a spoke with a range around its address": {Self{Role: Spoke, Address: prefixes("100.96.0.2/16"), AllowedIPs: prefixes("100.96.0.0/24")}, own,
			map[string]string{"p/peer": "true"}, map[string]string{"p/allowed-ips": "100.96.0.0/24"}},
		"a spoke of no site": {Self{Role: Spoke, Address: prefixes("100.96.0.2/16"), VPCIP: netip.MustParseAddr("172.31.0.9")}, own,
			map[string]string{"p/peer": "true"}, map[string]string{"p/allowed-ips": "100.96.0.2/32"}},
		"a spoke whose label somebody took off": {spoke, taken, map[string]string{}, map[string]string{"p/allowed-ips": "100.96.0.2/32"}},
		"a spoke that was a hub": {spoke, wasHub,
			map[string]string{"p/peer": "true"}, map[string]string{"p/allowed-ips": "100.96.0.2/32"}},
		"a mesh node whose label somebody took off": {toldMesh, taken, map[string]string{},
			map[string]string{"p/public-key": key("us").String(), "p/allowed-ips": "10.9.0.0/24", "p/endpoint": "198.51.100.1:443"}},
		"a hub whose label somebody took off": {bare, taken,
			map[string]string{"p/hub": "true"}, map[string]string{"p/allowed-ips": "100.96.0.0/16,100.96.0.1/32,fd96::/64,fd96::1/128"}},
		"a spoke of a site": {ourSite(), own,
			map[string]string{"p/peer": "true", "p/site": "lab"},
			map[string]string{"p/public-key": key("us").String(), "p/allowed-ips": "100.96.9.9/32,10.9.0.0/24", "p/vpc-ip": "172.31.0.9"}},
		"a spoke of a site at a port of its own": {elsewhere, own,
			map[string]string{"p/peer": "true", "p/site": "lab"},
			map[string]string{"p/public-key": key("us").String(), "p/allowed-ips": "100.96.9.9/32,10.9.0.0/24", "p/vpc-ip": "172.31.0.9", "p/listen-port": "51831"}},
		"a spoke of a site at the port of its endpoint": {forwarded, own,
			map[string]string{"p/peer": "true", "p/site": "lab"},
			map[string]string{"p/public-key": key("us").String(), "p/allowed-ips": "100.96.9.9/32,10.9.0.0/24", "p/vpc-ip": "172.31.0.9", "p/endpoint": "198.51.100.1:51831"}},
	} {
		t.Run(name, func(t *testing.T) {
			labels, annotations := Publish(tc.self, tc.own, Policy{Prefix: "p/"})
			if diff := cmp.Diff(tc.labels, labels); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.annotations, annotations); diff != "" {
				t.Errorf("annotations (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPublishedIsGranted: what a spoke says of itself by its defaults, a hub grants, and the other way round.
func TestPublishedIsGranted(t *testing.T) {
	hub, spoke := us(Hub), ourSite()
	hub.Node, hub.PublicKey, spoke.Node = "h", key("h"), "s"
	p := Policy{Prefix: kubePrefix}
	var nodes []Node
	for _, self := range []Self{hub, spoke} {
		n := Node{Name: self.Node, ExternalIPs: []netip.Addr{netip.MustParseAddr("203.0.113.7")}}
		n.Labels, n.Annotations = Publish(self, n, p)
		nodes = append(nodes, n)
	}
	for _, tc := range []struct {
		self Self
		want map[string]string
	}{
		{hub, map[string]string{"s": "10.9.0.0/24,100.96.9.9/32 at nowhere"}},
		{spoke, map[string]string{"h": "100.96.0.0/16,100.96.0.1/32 at 203.0.113.7:51820 keepalive 25"}},
	} {
		c, rejections := build(t, tc.self, Snapshot{Nodes: nodes}, nil, p)
		if diff := cmp.Diff(tc.want, summary(c)); diff != "" || rejections != nil {
			t.Errorf("%s (-want +got):\n%s%v", tc.self.Role, diff, rejections)
		}
	}
}

func TestAlone(t *testing.T) {
	c := Alone(us(Hub), Policy{Prefix: kubePrefix})
	built, _ := build(t, us(Hub), Snapshot{}, nil, Policy{Prefix: kubePrefix})
	equal(t, "alone, and built from nothing", c, built)
	if c.Head[0] != wgquick.ProposalHead || !c.End || !c.Interface.PrivateKey.IsZero() || len(c.Peers) > 0 {
		t.Errorf("alone: %+v", c)
	}
}
