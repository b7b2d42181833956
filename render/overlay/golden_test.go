package overlay

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"wg-kube/internal/lab/golden"
	"wg-kube/templates/wgquick"
)

const (
	testdata    = "../../testdata"
	kubePrefix  = "wireguard.kube/"
	otherPrefix = "stretch.azure.com/wireguard-"
)

func TestGolden(t *testing.T) {
	nodes, mesh := clusterNodes(t, "nodes.yaml"), clusterNodes(t, "mesh.yaml")
	for name, tc := range map[string]struct {
		self   Self
		nodes  []Node
		prefix string
		peers  []Peer
	}{
		"hub":                {hubSelf(), nodes, kubePrefix, nil},
		"spoke-berlin-1":     {spokeSelf("spoke-berlin-1", "100.96.0.2/32"), nodes, kubePrefix, nil},
		"spoke-lab-a":        {spokeSelf("spoke-lab-a", "100.96.1.10/32"), nodes, kubePrefix, nil},
		"hub-empty":          {hubSelf(), nil, kubePrefix, nil},
		"hub-stretch-prefix": {hubSelf(), renamed(nodes, kubePrefix, otherPrefix), otherPrefix, nil},
		"hub-peers":          {hubSelf(), nodes, kubePrefix, clusterPeers()},
		"mesh-node-a":        {meshSelf("node-a"), mesh, kubePrefix, nil},
		"mesh-node-c":        {meshSelf("node-c"), mesh, kubePrefix, nil},
	} {
		t.Run(name, func(t *testing.T) {
			from := "testdata/nodes.yaml"
			if tc.self.Role == Mesh {
				from = "testdata/mesh.yaml"
			}
			p := Policy{Prefix: tc.prefix, From: from, PeersDir: "/etc/wg-kube/wg0.peers.d"}
			c, _ := Build(tc.self, Snapshot{Nodes: tc.nodes, Peers: tc.peers}, nil, p)
			got, err := c.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(testdata, "golden", name+".conf")
			golden.Check(t, path, got)

			prev, err := wgquick.Parse(path, got)
			if err != nil {
				t.Fatal(err)
			}
			again, _ := Build(tc.self, Snapshot{Nodes: tc.nodes, Peers: tc.peers}, prev, p)
			if second, err := again.Marshal(); err != nil || string(second) != string(got) {
				t.Errorf("rendered again from the file on disk: %v\n%s", err, cmp.Diff(string(got), string(second)))
			}
		})
	}
}

// TestCluster says in values what the golden files say in text.
func TestCluster(t *testing.T) {
	nodes := clusterNodes(t, "nodes.yaml")
	hub, rejections := Build(hubSelf(), Snapshot{Nodes: nodes}, nil, Policy{Prefix: kubePrefix})
	want := map[string]string{
		"spoke-berlin-1": "10.244.2.0/24,100.96.0.2/32 at nowhere",
		"spoke-berlin-2": "100.96.0.3/32 at nowhere",
		"spoke-dual":     "100.96.2.1/32,fd44:0:0:6::/64,fd96::2:1/128 at [2001:db8:77::9]:51820 keepalive 25",
		"spoke-lab-a":    "100.96.1.10/32 at nowhere",
		"spoke-lab-b":    "100.96.1.11/32 at 203.0.113.10:51999 keepalive 25",
	}
	if diff := cmp.Diff(want, summary(hub)); diff != "" {
		t.Errorf("hub (-want +got):\n%s", diff)
	}
	refused := []string{
		`Node/spoke-broken-key: public-key "(hidden)": not a key: 44 characters of base64 are wanted`,
		`Node/spoke-greedy: allowed-ips "0.0.0.0/0": a default route is not granted to a Node`,
		`Node/spoke-thief: allowed-ips "100.96.0.2/32": overlaps 100.96.0.2/32, held by Node/spoke-berlin-1`,
		`Node/spoke-waiting: public-key: not set yet`,
	}
	if diff := cmp.Diff(refused, lines(rejections)); diff != "" {
		t.Errorf("hub refuses (-want +got):\n%s", diff)
	}

	lab, rejections := Build(spokeSelf("spoke-lab-a", "100.96.1.10/32"), Snapshot{Nodes: nodes}, nil, Policy{Prefix: kubePrefix})
	want = map[string]string{
		"aks-system-12345-vmss000000": "100.96.0.0/16 at 203.0.113.7:51820 keepalive 25",
		"spoke-lab-b":                 "100.96.1.11/32 at 172.31.7.11:51999 keepalive 25",
	}
	if diff := cmp.Diff(want, summary(lab)); diff != "" {
		t.Errorf("spoke-lab-a (-want +got):\n%s", diff)
	}
	if len(rejections) != 0 {
		t.Errorf("spoke-lab-a refuses %v", rejections)
	}
}

// TestMeshCluster does so for a mesh.
func TestMeshCluster(t *testing.T) {
	c, rejections := Build(meshSelf("node-a"), Snapshot{Nodes: clusterNodes(t, "mesh.yaml")}, nil, Policy{Prefix: kubePrefix})
	want := map[string]string{
		"node-b":        "10.244.1.0/24,100.96.0.0/16,fd44:0:0:2::/64 at 10.224.0.5:51820 keepalive 25",
		"node-c":        "10.244.2.0/24,192.168.7.30/32 at 203.0.113.30:51820 keepalive 25",
		"node-d":        "10.244.3.0/24,192.168.8.40/32 at nowhere",
		"node-squatter": "10.9.1.0/24,10.244.6.0/24 at nowhere",
		"node-thief":    "10.9.0.0/24,10.224.0.9/32 at nowhere",
	}
	if diff := cmp.Diff(want, summary(c)); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
	reborn := Node{Name: "node-a", UID: "another"} // without a podCIDR yet: it stays where it is
	again, _ := Build(meshSelf("node-a"), Snapshot{Nodes: []Node{reborn}}, c, Policy{Prefix: kubePrefix})
	for _, c := range []*wgquick.Config{c, again} {
		if diff := cmp.Diff(prefixes("10.244.0.0/32", "fd44:0:0:1::/128"), c.Interface.Address, byValue); diff != "" {
			t.Errorf("address (-want +got):\n%s", diff)
		}
	}
	refused := []string{
		`Node/node-squatter: allowed-ips "10.244.3.0/25": overlaps 10.244.3.0/24, held by Node/node-d`,
		`Node/node-squatter: endpoint "10.244.3.200:51820": lies inside 10.244.3.0/24, held by Node/node-d`,
		`Node/node-thief: allowed-ips "0.0.0.0/0": a default route is not granted to a Node`,
		`Node/node-thief: allowed-ips "10.224.0.0/24": covers 10.224.0.5, the endpoint of Node/node-b`,
		`Node/node-thief: endpoint "10.244.2.9:51820": lies inside 10.244.2.0/24, held by Node/node-c`,
		`Node/node-thief: podCIDRs "10.244.1.128/25": overlaps 10.244.1.0/24, held by Node/node-b`,
		`Node/node-waiting: allowed-ips: not set, and the Node has no podCIDR yet`,
	}
	if diff := cmp.Diff(refused, lines(rejections)); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

func hubSelf() Self {
	return Self{
		Node: "aks-system-12345-vmss000000", Role: Hub, Interface: "wg0", Keepalive: 25,
		Address: prefixes("100.96.0.1/32"), AllowedIPs: prefixes("100.96.0.0/16"), ListenPort: 51820,
	}
}

func spokeSelf(name, address string) Self {
	return Self{Node: name, Role: Spoke, Interface: "wg0", Keepalive: 25, Address: prefixes(address), ListenPort: 51820}
}

func meshSelf(name string) Self {
	return Self{Node: name, Role: Mesh, Interface: "wg0", Keepalive: 25, ListenPort: 51820}
}

// summary is each peer of c in a line.
func summary(c *wgquick.Config) map[string]string {
	m := make(map[string]string)
	for _, p := range c.Peers {
		s := joined(p.AllowedIPs) + " at " + p.Endpoint.String()
		if p.Endpoint.IsZero() {
			s += "nowhere"
		}
		if p.PersistentKeepalive == 25 {
			s += " keepalive 25"
		}
		m[p.Origin.Name] = s
	}
	return m
}

func joined(ps []netip.Prefix) string {
	var s []string
	for _, p := range ps {
		s = append(s, p.String())
	}
	return strings.Join(s, ",")
}

func lines(rs []Rejection) []string {
	var s []string
	for _, r := range rs {
		s = append(s, r.String())
	}
	return s
}

func prefixes(cidrs ...string) (ps []netip.Prefix) {
	for _, s := range cidrs {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// clusterNodes is a file of testdata as far as this package looks at it.
func clusterNodes(t testing.TB, file string) (nodes []Node) {
	b, err := os.ReadFile(filepath.Join(testdata, file))
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Items []struct {
			Metadata struct {
				Name, UID           string
				CreationTimestamp   time.Time
				Labels, Annotations map[string]string
			}
			Spec   struct{ PodCIDRs []string }
			Status struct {
				Addresses  []struct{ Type, Address string }
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if err := yaml.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	for _, item := range list.Items {
		m := item.Metadata
		n := Node{Name: m.Name, UID: m.UID, Created: m.CreationTimestamp, Labels: m.Labels, Annotations: m.Annotations}
		n.PodCIDRs = prefixes(item.Spec.PodCIDRs...)
		for _, a := range item.Status.Addresses {
			switch a.Type {
			case "InternalIP":
				n.InternalIPs = append(n.InternalIPs, netip.MustParseAddr(a.Address))
			case "ExternalIP":
				n.ExternalIPs = append(n.ExternalIPs, netip.MustParseAddr(a.Address))
			}
		}
		for _, c := range item.Status.Conditions {
			n.Ready = n.Ready || c.Type == "Ready" && c.Status == "True"
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// clusterPeers are peers that are no Nodes, beside those of testdata/nodes.yaml.
func clusterPeers() []Peer {
	laptop := crd("laptop", "allowed-ips=100.96.3.1/32", "preshared=p")
	office := secret("office", "allowed-ips=100.96.3.2/32,10.7.0.0/16", "endpoint=198.51.100.7:51820")
	thief := secret("thief", "allowed-ips=100.96.0.2/32", "public-key="+key("thief").String())
	waiting := crd("waiting", "allowed-ips=100.96.3.3/32", "waits=there is no Secret psk of type Opaque yet")
	quiet := crd("quiet", "allowed-ips=100.96.3.4/32", "endpoint=198.51.100.8:51820", "keepalive=0")
	return []Peer{laptop, office, thief, waiting, quiet}
}

// renamed is nodes that speak the vocabulary under another prefix.
func renamed(nodes []Node, from, to string) []Node {
	rename := func(m map[string]string) map[string]string {
		out := make(map[string]string)
		for k, v := range m {
			if key, ok := strings.CutPrefix(k, from); ok {
				k = to + key
			}
			out[k] = v
		}
		return out
	}
	var out []Node
	for _, n := range nodes {
		n.Labels, n.Annotations = rename(n.Labels), rename(n.Annotations)
		out = append(out, n)
	}
	return out
}
