package kernel

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"wg-kube/apply/plan"
	"wg-kube/templates/wgquick"
)

// A hub with many peers: what it costs to make it, to look at it, and to change one peer.
func TestManyPeers(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		const n = 10_000
		c := &wgquick.Config{Interface: wgquick.Interface{
			PrivateKey: parse(t, "[Interface]\n"+private).Interface.PrivateKey,
			Address:    []netip.Prefix{netip.MustParsePrefix("10.255.0.1/32")},
			MTU:        1420,
		}}
		for i := range n {
			c.Peers = append(c.Peers, wgquick.Peer{
				PublicKey:  keyOf(i),
				AllowedIPs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100, byte(i >> 8), byte(i)}), 32)},
			})
		}
		t.Cleanup(func() {
			if err := s.Delete(context.Background(), "wg0"); err != nil {
				t.Error(err)
			}
		})
		timed := func(what string, atMost time.Duration, f func() error) {
			t.Helper()
			start := time.Now()
			if err := f(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			took := time.Since(start)
			t.Logf("%s: %s", what, took.Round(100*time.Microsecond))
			if took > atMost {
				t.Errorf("%s: %s; it should be far below %s", what, took, atMost)
			}
		}
		want, err := plan.Want(c, "wg0", plan.Underlay{})
		if err != nil {
			t.Fatal(err)
		}
		timed("make it", time.Minute, func() error {
			return s.Apply(context.Background(), plan.Diff(want, plan.Live{}))
		})
		var live plan.Live
		timed("underlay", 30*time.Second, func() error {
			_, err := s.Underlay(context.Background(), "wg0", c)
			return err
		})
		timed("underlay, with as many endpoints", 30*time.Second, func() error {
			d := *c
			d.Interface.MTU = 0 // that of the paths counts
			d.Peers = slices.Clone(c.Peers)
			for i := range d.Peers {
				d.Peers[i].Endpoint = wgquick.EndpointOf(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 2, byte(i >> 8), byte(i)}), 51820))
			}
			u, err := s.Underlay(context.Background(), "wg0", &d)
			if len(u.PathMTU) != n {
				t.Errorf("the MTU of %d paths", len(u.PathMTU))
			}
			return err
		})
		timed("observe", 30*time.Second, func() (err error) {
			live, err = s.Observe(context.Background(), "wg0")
			return err
		})
		if len(live.Peers) != n || len(live.Routes) < n {
			t.Errorf("%d peers, %d routes", len(live.Peers), len(live.Routes))
		}
		if left := plan.Diff(want, live); !left.Empty() {
			t.Errorf("something is left to do: %d steps", len(left.Steps))
		}
		moved := netip.MustParsePrefix("10.200.0.0/24")
		timed("one prefix more", 30*time.Second, func() error {
			return s.Apply(context.Background(), plan.Plan{Interface: "wg0", Steps: []plan.Step{
				plan.AddPrefixes{Iface: "wg0", PublicKey: keyOf(7), Prefixes: []netip.Prefix{moved}}}})
		})
		timed("one prefix less", 30*time.Second, func() error {
			return s.Apply(context.Background(), plan.Plan{Interface: "wg0", Steps: []plan.Step{
				plan.DropPrefixes{Iface: "wg0", PublicKey: keyOf(7), Prefixes: []netip.Prefix{moved}}}})
		})
	})
}
