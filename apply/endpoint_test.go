package apply

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"wg-kube/apply/plan"
	"wg-kube/templates/wgquick"
)

// inside is an endpoint in the prefix N.
func inside(n int) wgquick.Endpoint {
	return wgquick.EndpointOf(netip.AddrPortFrom(prefix(n).Addr(), 1))
}

// A proposal that says where peers are can make their prefixes ones that no machine can have. What goes by that is
// measured like what a proposal drops.
func TestEndpointsTakeNoMoreThanMayGo(t *testing.T) {
	with := func(ps []wgquick.Peer, change func(n int, p *wgquick.Peer)) (out []wgquick.Peer) {
		for n, p := range ps {
			change(n+1, &p)
			out = append(out, p)
		}
		return out
	}
	own := func(n int, p *wgquick.Peer) { p.Endpoint = inside(n) }
	callers := func(from, to int) (out []wgquick.Peer) { // without a prefix, at an address of another
		for n := from; n <= to; n++ {
			p := peer(100 + n)
			p.AllowedIPs, p.Endpoint = nil, inside(n)
			out = append(out, p)
		}
		return out
	}
	all := peer(200)
	for n := 1; n <= 10; n++ {
		all.AllowedIPs = append(all.AllowedIPs, prefix(n))
	}
	slices.SortFunc(all.AllowedIPs, netip.Prefix.Compare)
	for _, tt := range []struct {
		name      string
		proposals [][]wgquick.Peer
		held      int
	}{
		{"each inside its own", [][]wgquick.Peer{with(peers(1, 10), own)}, 0},
		{"of a crowd, inside those of others", [][]wgquick.Peer{slices.Concat(peers(1, 10), callers(1, 10))}, 0},
		{"little by little", [][]wgquick.Peer{
			slices.Concat(peers(1, 10), callers(1, 3)),
			slices.Concat(peers(1, 10), callers(1, 6)),
			slices.Concat(peers(1, 10), callers(1, 9)),
			slices.Concat(peers(1, 10), callers(1, 10)),
		}, 0},
		{"what is held", [][]wgquick.Peer{peers(10, 10), slices.Concat(peers(10, 10), callers(1, 9))}, 9},
		{"some of what is held", [][]wgquick.Peer{peers(10, 10), slices.Concat(peers(10, 10), callers(1, 2))}, 9},
		{"what goes, and comes back inside its own", [][]wgquick.Peer{peers(6, 10), slices.Concat(with(peers(1, 5), own), peers(9, 10))}, 0},
		{"the prefixes go to another peer, and the rest is of no use here", [][]wgquick.Peer{
			append(with(peers(1, 10), func(n int, p *wgquick.Peer) { *p = peer(n, 50+n) }), all),
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, "wg0")
			h.ShrinkWindow = guard.Window
			i := h.newIface("wg0", func() {})
			h.write(t, h.proposal("wg0"), renderedOf(t, peers(1, 10)...))
			h.look(t, i, true)
			for n := 51; n <= 60; n++ {
				h.kernel.around.Routes = append(h.kernel.around.Routes, docker(n))
			}
			for _, ps := range tt.proposals {
				h.write(t, h.proposal("wg0"), renderedOf(t, ps...))
				h.look(t, i, true)
			}
			config := i.files.inForce.config
			there, prefixes := 0, 0
			for _, p := range config.Peers {
				if slices.ContainsFunc(peers(1, 10), func(was wgquick.Peer) bool { return was.PublicKey == p.PublicKey }) {
					there++
				}
				for _, a := range p.AllowedIPs {
					if prefix(1).Addr().Compare(a.Addr()) <= 0 && a.Addr().Compare(prefix(10).Addr()) <= 0 {
						prefixes++
					}
				}
			}
			if there < 5 || prefixes < 5 || len(h.routes("wg0")) < prefixes || len(h.status(t, "wg0").Held) != tt.held || there < tt.held {
				t.Errorf("%d peers, %d prefixes, %q, %d held: %q", there, prefixes, h.routes("wg0"), len(h.status(t, "wg0").Held), h.status(t, "wg0").Refused)
			}
			if l := h.look(t, i, true); l.drift || l.steps > 0 {
				t.Error("it does not rest")
			}
		})
	}
}

// The last file in force counts where there is none any more.
func TestEndpointsTakeNothingWhileTheFileIsGone(t *testing.T) {
	h := newHouse(t, "wg0")
	i := h.newIface("wg0", func() {})
	ps := peers(1, 10)
	h.write(t, h.proposal("wg0"), renderedOf(t, ps...))
	h.look(t, i, true)
	must(t, os.Remove(h.inForce("wg0")))
	for n := range ps {
		ps[n].Endpoint = inside(n + 1)
	}
	h.write(t, h.proposal("wg0"), renderedOf(t, ps...))
	if h.look(t, i, true); h.kernel.peers("wg0") != 10 || len(h.routes("wg0")) != 10 {
		t.Errorf("%d peers, %q", h.kernel.peers("wg0"), h.routes("wg0"))
	}
}

// A name is an endpoint as well, and wg-render may say it long before it leads anywhere; then it may be gone.
func TestNamesTakeNoMoreThanMayGo(t *testing.T) {
	for _, gone := range []bool{false, true} {
		t.Run(fmt.Sprintf("the proposal is gone: %t", gone), func(t *testing.T) {
			h := newHouse(t, "wg0")
			answer := make(chan struct{})
			h.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
				select {
				case <-answer:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
				var n int
				_, err := fmt.Sscanf(host, "p%d.example", &n)
				return []netip.Addr{prefix(n).Addr()}, err
			}
			i := h.newIface("wg0", func() {})
			ps := peers(1, 10)
			for n := range ps {
				ps[n].Endpoint = wgquick.Endpoint{Host: fmt.Sprintf("p%d.example", n+1), Port: 1}
			}
			h.write(t, h.proposal("wg0"), renderedOf(t, ps...))
			if h.look(t, i, true); h.kernel.peers("wg0") != 10 {
				t.Fatalf("%d peers", h.kernel.peers("wg0"))
			}
			if gone {
				must(t, os.Remove(h.proposal("wg0")))
			}
			close(answer)
			i.names.first(t.Context(), nameWait)
			h.look(t, i, true)
			if n := h.kernel.peers("wg0"); n != 10 || len(h.routes("wg0")) != 10 {
				t.Errorf("%d peers, %q", n, h.routes("wg0"))
			}
			s := h.status(t, "wg0")
			if len(s.Refused) != 10 || !strings.Contains(s.Refused[0], `Endpoint: "10.0.0.1:1": lies in 10.0.0.1/32, which was there before`) {
				t.Errorf("%q", s.Refused)
			}
		})
	}
}

// What another on the machine needs is not the proposal's doing: it goes, and the endpoints stay out of it.
func TestWhatTheMachineTakesGoes(t *testing.T) {
	h := newHouse(t, "wg0")
	i := h.newIface("wg0", func() {})
	h.write(t, h.proposal("wg0"), renderedOf(t, peers(1, 10)...))
	h.look(t, i, true)
	for n := 1; n <= 9; n++ {
		h.kernel.around.Routes = append(h.kernel.around.Routes, docker(n))
	}
	h.write(t, h.proposal("wg0"), renderedOf(t, peers(1, 11)...))
	h.look(t, i, true)
	if got := h.routes("wg0"); !slices.Equal(got, []string{"10.0.0.10/32", "10.0.0.11/32"}) || h.kernel.peers("wg0") != 11 {
		t.Errorf("%d peers, %q", h.kernel.peers("wg0"), got)
	}
	h.kernel.around = plan.Underlay{}
	if h.look(t, i, true); len(h.routes("wg0")) != 11 {
		t.Errorf("it does not come back: %q", h.routes("wg0"))
	}
}
