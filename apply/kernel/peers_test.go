package kernel

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"wg-kube/apply/plan"
	"wg-kube/templates/wgquick"
)

func keyOf(n int) (k wgquick.PublicKey) {
	binary.BigEndian.PutUint32(k[:], uint32(n+1))
	return k
}

func prefixesOf(n int) []netip.Prefix {
	ps := make([]netip.Prefix, n)
	for i := range ps {
		ps[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	return ps
}

// manyPeers is that many [Peer] sections, each with a prefix.
func manyPeers(n int) string {
	var b strings.Builder
	for i := range n {
		key := keyOf(i)
		fmt.Fprintf(&b, "[Peer]\nPublicKey = %s\nAllowedIPs = 10.64.%d.%d/32\n", base64.StdEncoding.EncodeToString(key[:]), i>>8, i&255)
	}
	return b.String()
}

// A message is drawn as its peers, with the letter of what happens and the number of prefixes:
// + may be made, = is updated, - is removed.
func draw(msgs [][]peerChange) (out []string) {
	names := map[wgtypes.Key]string{}
	for i := range 100 {
		names[wgtypes.Key(keyOf(i))] = fmt.Sprint(i)
	}
	for _, msg := range msgs {
		var line []string
		for _, c := range msg {
			what := "+"
			switch {
			case c.Remove:
				what = "-"
			case c.UpdateOnly:
				what = "="
			}
			name, ok := names[c.PublicKey]
			if !ok {
				name = "throw-away"
			}
			if c.ReplaceAllowedIPs {
				name += "!"
			}
			if n := len(c.AllowedIPs); n > 0 {
				name += fmt.Sprintf("(%d)", n)
			}
			line = append(line, what+name)
		}
		out = append(out, strings.Join(line, " "))
	}
	return out
}

func TestPeerMessages(t *testing.T) {
	add := func(n, prefixes int) plan.Step {
		return plan.AddPeer{PublicKey: keyOf(n), AllowedIPs: prefixesOf(prefixes)}
	}
	gain := func(n, prefixes int) plan.Step {
		return plan.AddPrefixes{PublicKey: keyOf(n), Prefixes: prefixesOf(prefixes)}
	}
	drop := func(n, prefixes int) plan.Step {
		return plan.DropPrefixes{PublicKey: keyOf(n), Prefixes: prefixesOf(prefixes)}
	}
	set := func(n int) plan.Step { return plan.SetPeer{PublicKey: keyOf(n), Keepalive: new(uint16)} }
	greet := func(n int) plan.Step { return plan.Greet{PublicKey: keyOf(n)} }
	remove := func(n int) plan.Step { return plan.RemovePeer{PublicKey: keyOf(n)} }

	tests := []struct {
		name  string
		steps []plan.Step
		want  []string
	}{
		{name: "nothing"},
		{name: "neighbours share a message", steps: []plan.Step{add(0, 1), set(1), gain(2, 3), remove(3)}, want: []string{"+0(1) =1 =2(3) -3"}},
		{name: "a key is in a message once", steps: []plan.Step{add(0, 1), remove(1), add(1, 2)}, want: []string{"+0(1) -1", "+1(2)"}},
		{name: "full by prefixes", steps: []plan.Step{add(0, 200), add(1, 56), add(2, 1)}, want: []string{"+0(200) +1(56)", "+2(1)"}},
		{name: "exactly one message of prefixes", steps: []plan.Step{add(0, 256)}, want: []string{"+0(256)"}},
		{name: "a peer with more than fits", steps: []plan.Step{add(0, 600), add(1, 1)}, want: []string{"+0(256)", "=0(256)", "=0(88) +1(1)"}},
		{name: "prefixes dropped", steps: []plan.Step{add(0, 1), drop(1, 2)}, want: []string{"+0(1) +throw-away(2)", "-throw-away"}},
		{name: "the greeted share two messages", steps: []plan.Step{greet(0), greet(1), greet(2)}, want: []string{"=0 =1 =2", "=0 =1 =2"}},
		{name: "drops share the throw-away peer", steps: []plan.Step{drop(0, 1), drop(1, 1), remove(2)}, want: []string{"+throw-away(2)", "-throw-away -2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p peerChanges
			for _, s := range tt.steps {
				if !p.add(s) {
					t.Fatalf("%T touches no peer", s)
				}
			}
			if d := cmp.Diff(tt.want, draw(messages(p.all()))); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}

	t.Run("32 peers at most", func(t *testing.T) {
		var p peerChanges
		for n := range 65 {
			p.add(add(n, 1))
		}
		var sizes []int
		for _, m := range messages(p.list) {
			sizes = append(sizes, len(m))
		}
		if d := cmp.Diff([]int{32, 32, 1}, sizes); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

func TestRouteIsNoPeerChange(t *testing.T) {
	var p peerChanges
	if p.add(plan.AddRoute{}) {
		t.Error("taken for a change of peers")
	}
}
