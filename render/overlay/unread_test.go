package overlay

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"wg-kube/templates/wgquick"
)

// TestUnread: Nodes that were there, and cannot be read any more, keep what they have; but not from the owner.
func TestUnread(t *testing.T) {
	withFlag := ourSite()
	withFlag.HubAllowedIPs = prefixes("0.0.0.0/0")
	h := hub("h", "allowed-ips=100.96.0.0/16", "endpoint=203.0.113.1:51820")
	near := node("n", "site=lab", "ip=100.96.3.1", "vpc-ip=172.31.0.3")
	for name, tc := range map[string]struct {
		self      Self
		before    []Node
		now       []Node
		unread    []string
		fragments []Fragment
		want      map[string]string
		refused   []string
	}{
		"beside others, old and new": {us(Hub), []Node{node("a", "ip=10.1.0.1"), node("b", "ip=10.1.0.2")},
			[]Node{node("a", "ip=10.1.0.7"), node("c", "ip=10.1.0.3")}, []string{"b", "nobody"}, nil,
			map[string]string{"a": "10.1.0.7/32 at nowhere", "b": "10.1.0.2/32 at nowhere", "c": "10.1.0.3/32 at nowhere"},
			[]string{"Node/b: it cannot be read; what it had stays"}},
		"against who wants the same, however old": {us(Hub), []Node{node("b", "ip=10.1.0.2")},
			[]Node{node("a", "ip=10.1.0.2")}, []string{"b"}, nil,
			map[string]string{"b": "10.1.0.2/32 at nowhere"},
			[]string{`Node/a: allowed-ips "10.1.0.2/32": overlaps 10.1.0.2/32, held by Node/b`, "Node/b: it cannot be read; what it had stays"}},
		"it can be read": {us(Hub), []Node{node("b", "ip=10.1.0.2")},
			[]Node{node("b", "ip=10.1.0.9")}, []string{"b"}, nil, map[string]string{"b": "10.1.0.9/32 at nowhere"}, nil},
		"a fragment takes its prefix": {us(Hub), []Node{node("b", "ip=10.1.0.2")}, nil, []string{"b"},
			[]Fragment{{Name: "f.conf", Peers: []wgquick.Peer{{PublicKey: key("f"), AllowedIPs: prefixes("10.1.0.0/24")}}}},
			map[string]string{"f.conf": "10.1.0.0/24 at nowhere"}, nil},
		"a fragment takes its key": {us(Hub), []Node{node("b", "ip=10.1.0.2")}, nil, []string{"b"},
			[]Fragment{{Name: "f.conf", Peers: []wgquick.Peer{{PublicKey: key("b"), AllowedIPs: prefixes("10.9.0.0/24")}}}},
			map[string]string{"f.conf": "10.9.0.0/24 at nowhere"}, nil},
		"a hub keeps no neighbour out": {ourSite(), []Node{h}, []Node{near}, []string{"h"}, nil,
			map[string]string{"h": "100.96.0.0/16 at 203.0.113.1:51820 keepalive 25", "n": "100.96.3.1/32 at 172.31.0.3:51820 keepalive 25"},
			[]string{"Node/h: it cannot be read; what it had stays"}},
		"a neighbour stays beside its hub": {ourSite(), []Node{h, near}, []Node{h}, []string{"n"}, nil,
			map[string]string{"h": "100.96.0.0/16 at 203.0.113.1:51820 keepalive 25", "n": "100.96.3.1/32 at 172.31.0.3:51820 keepalive 25"},
			[]string{"Node/n: it cannot be read; what it had stays"}},
		"a hub keeps its range from another hub": {ourSite(), []Node{h}, []Node{hub("g", "allowed-ips=100.96.0.0/16,10.0.0.0/8", "endpoint=203.0.113.2:51820")}, []string{"h"}, nil,
			map[string]string{"g": "10.0.0.0/8 at 203.0.113.2:51820 keepalive 25", "h": "100.96.0.0/16 at 203.0.113.1:51820 keepalive 25"},
			[]string{"Node/h: it cannot be read; what it had stays"}},
		"a hub keeps what the flag sends to it": {withFlag, []Node{h, near}, []Node{near, hub("g", "endpoint=203.0.113.2:51820")}, []string{"h"}, nil,
			map[string]string{"g": " at 203.0.113.2:51820 keepalive 25", "h": "0.0.0.0/0 at 203.0.113.1:51820 keepalive 25", "n": "100.96.3.1/32 at 172.31.0.3:51820 keepalive 25"},
			[]string{"Node/h: it cannot be read; what it had stays"}},
		"a neighbour does not get what the flag sends to the hub": {withFlag, []Node{near}, []Node{h}, []string{"n"}, nil,
			map[string]string{"h": "0.0.0.0/0 at 203.0.113.1:51820 keepalive 25", "n": "100.96.3.1/32 at 172.31.0.3:51820 keepalive 25"},
			[]string{"Node/n: it cannot be read; what it had stays"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := Policy{Prefix: kubePrefix}
			prev, _ := build(t, tc.self, Snapshot{Nodes: tc.before}, nil, p)
			c, rejections := build(t, tc.self, Snapshot{Nodes: tc.now, Unread: whos(KindNode, tc.unread...), Fragments: tc.fragments}, prev, p)
			if diff := cmp.Diff(tc.want, summary(c)); diff != "" {
				t.Errorf("peers (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.refused, lines(rejections)); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
			for _, is := range c.Peers {
				if hub := is.Origin.Name == "h" || is.Origin.Name == "g"; is.Hub != hub {
					t.Errorf("%s is marked as a hub: %t", is.Origin, is.Hub)
				}
			}
		})
	}
}

func whos(kind string, names ...string) (whos []string) {
	for _, n := range names {
		whos = append(whos, kind+"/"+n)
	}
	return whos
}
