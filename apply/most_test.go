package apply

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"wg-kube/apply/plan"
	"wg-kube/templates/wgquick"
)

// docker is a route of somebody else with the prefix N.
func docker(n int) plan.Route { return plan.Route{Table: 254, Dst: prefix(n), Device: "docker0"} }

// inForceHas reads the prefixes of the file in force, as numbers of prefix.
func (h *house) inForceHas(t *testing.T, n int) bool {
	t.Helper()
	b, err := os.ReadFile(h.inForce("wg0"))
	must(t, err)
	return strings.Contains(string(b), prefix(n).String())
}

func (h *house) routes(iface string) (out []string) {
	live, _ := h.kernel.Observe(context.Background(), iface)
	for _, r := range live.Routes {
		out = append(out, r.Dst.String())
	}
	slices.Sort(out)
	return out
}

func TestWhatTheMachineCannotHaveCostsNobodyElse(t *testing.T) {
	v6 := netip.MustParsePrefix("fd00:9::/64")
	withV6 := peer(9)
	withV6.AllowedIPs = append(withV6.AllowedIPs, v6)
	for name, tt := range map[string]struct {
		bad    wgquick.Peer
		around plan.Underlay
		reason string
		peers  int // that are left
	}{
		"a route of main, the only prefix": {peer(9), plan.Underlay{Routes: []plan.Route{docker(9)}},
			`[Peer] node-09: AllowedIPs: "10.0.0.9/32": table main has this route already, on docker0`, 2},
		"a route of main, one of two prefixes": {peer(9, 8, 9), plan.Underlay{Routes: []plan.Route{docker(9)}},
			`[Peer] node-09: AllowedIPs: "10.0.0.9/32": table main has this route already, on docker0`, 3},
		"IPv6 is off": {withV6, plan.Underlay{NoIPv6: true}, `[Peer] node-09: AllowedIPs: "fd00:9::/64": IPv6 is off`, 3},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, "wg0")
			i := h.newIface("wg0", func() {})
			h.kernel.around = tt.around
			h.write(t, h.proposal("wg0"), renderedOf(t, peer(1), peer(2), tt.bad))
			l := h.look(t, i, true)
			if l.err != nil || h.kernel.peers("wg0") != tt.peers {
				t.Fatalf("%d peers, want %d: %v %q", h.kernel.peers("wg0"), tt.peers, l.err, l.status.Refused)
			}
			s := h.status(t, "wg0")
			if len(s.Refused) != 1 || !strings.HasPrefix(s.Refused[0], h.proposal("wg0")+":") || !strings.Contains(s.Refused[0], tt.reason) {
				t.Errorf("refused: %q", s.Refused)
			}
			if s.Applied == "" || s.Applied != s.InForce || len(s.Errors) > 0 {
				t.Errorf("the rest is not applied: %+v", s)
			}
			h.log.Take()
			h.kernel.sent()
			before, err := os.Stat(h.inForce("wg0"))
			must(t, err)
			h.look(t, i, true)
			h.look(t, i, false)
			after, err := os.Stat(h.inForce("wg0"))
			must(t, err)
			if log := h.log.Take(); log != "" || h.kernel.sent() != "" || !os.SameFile(before, after) || len(h.status(t, "wg0").Refused) != 1 {
				t.Errorf("it does not rest: %q\n%s", h.status(t, "wg0").Refused, log)
			}

			h.kernel.around = plan.Underlay{MTU: 1500}
			if h.look(t, i, true); h.kernel.peers("wg0") != 3 || len(h.routes("wg0")) != 2+len(tt.bad.AllowedIPs) || len(h.status(t, "wg0").Refused) != 0 {
				t.Errorf("it does not come back: %d peers, %q, %q", h.kernel.peers("wg0"), h.routes("wg0"), h.status(t, "wg0").Refused)
			}

			// The machine boots, and something else was quicker.
			must(t, h.kernel.Delete(t.Context(), "wg0"))
			must(t, os.Remove(h.proposal("wg0")))
			h.kernel.around = tt.around
			i = h.newIface("wg0", func() {})
			for range 2 {
				h.look(t, i, true)
				if s := h.status(t, "wg0"); h.kernel.peers("wg0") != tt.peers || len(s.Refused) != 1 || !strings.HasPrefix(s.Refused[0], h.inForce("wg0")+":") {
					t.Errorf("from the file in force: %d peers, %q", h.kernel.peers("wg0"), s.Refused)
				}
			}
			h.kernel.around = plan.Underlay{}
			if h.look(t, i, true); h.kernel.peers("wg0") != 3 || len(h.status(t, "wg0").Refused) != 0 {
				t.Errorf("it does not come back: %d peers, %q", h.kernel.peers("wg0"), h.status(t, "wg0").Refused)
			}
		})
	}
}

func TestAFileMadeByHandIsOneWhole(t *testing.T) {
	h := newHouse(t)
	h.kernel.around.Routes = []plan.Route{docker(2)}
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 3)...))
	h.look(t, h.newIface("wg0", func() {}), true)
	if s := h.status(t, "wg0"); h.kernel.peers("wg0") != 0 || len(s.Refused) != 1 || !strings.HasPrefix(s.Refused[0], h.inForce("wg0")+":") {
		t.Errorf("%d peers, %q", h.kernel.peers("wg0"), s.Refused)
	}
}

// What a file made by hand means was judged when it was applied. It is in use: whatever the machine has come to be like
// since, nothing of it is taken down, and what can be kept up of it is.
func TestAFileInUseStays(t *testing.T) {
	h := newHouse(t)
	p := peer(2)
	p.Endpoint = wgquick.EndpointOf(netip.MustParseAddrPort("10.0.0.3:51820"))
	lan := plan.Route{Table: 254, Dst: netip.MustParsePrefix("10.0.0.3/32"), Device: "eth0"}
	wide := peer(3)
	wide.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}
	h.kernel.around.Routes = []plan.Route{lan} // without it the third would swallow the endpoint of the second
	h.write(t, h.inForce("wg0"), byHand(t, peer(1), p, wide))
	must(t, h.Once(t.Context(), "wg0"))
	routes := h.routes("wg0")
	h.kernel.sent()

	h.kernel.around = plan.Underlay{MTU: 1400}
	i := h.newIface("wg0", func() {}) // a restart
	h.look(t, i, true)
	s := h.status(t, "wg0")
	if sent := h.kernel.sent(); sent != "" || len(s.Refused) != 1 || !strings.Contains(s.Refused[0], "holds the endpoint") || !s.InUse() {
		t.Errorf("%+v\n%s", s, sent)
	}
	if len(s.Warnings) == 0 || !strings.Contains(s.Warnings[0], "it is kept up") {
		t.Errorf("it is not said: %q", s.Warnings)
	}
	h.kernel.change("wg0", func(l *plan.Live) { l.Routes = nil })
	if h.look(t, i, true); !slices.Equal(h.routes("wg0"), routes) {
		t.Errorf("routes that were deleted: %q, want %q", h.routes("wg0"), routes)
	}
	h.kernel.around = plan.Underlay{MTU: 1500, Routes: []plan.Route{lan}}
	if h.look(t, i, true); len(h.status(t, "wg0").Refused) != 0 {
		t.Errorf("it is not forgotten: %q", h.status(t, "wg0").Refused)
	}

	h.kernel.around.Routes = nil
	must(t, h.kernel.Delete(t.Context(), "wg0"))
	if h.look(t, i, true); h.kernel.peers("wg0") != 0 {
		t.Error("with the link the use of it ends")
	}
}

func TestWhatIsHeldAndTheMachineCannotHave(t *testing.T) {
	h := newHouse(t, "wg0")
	i := h.newIface("wg0", func() {})
	h.write(t, h.proposal("wg0"), renderedOf(t, peer(1), peer(2), peer(3, 31, 32, 33, 34, 35), peer(4), peer(5), peer(6)))
	h.look(t, i, true)
	h.write(t, h.proposal("wg0"), renderedOf(t, peer(3, 30), peer(7)))
	h.look(t, i, true)
	if s := h.status(t, "wg0"); len(s.Held) != 6 {
		t.Fatalf("held: %v", s.Held)
	}
	h.kernel.around.Routes = []plan.Route{docker(2), docker(31)}
	h.write(t, h.proposal("wg0"), renderedOf(t, peer(3, 30), peer(7), peer(8)))
	h.log.Take()
	h.look(t, i, true)
	s := h.status(t, "wg0")
	if len(s.Held) != 5 || slices.ContainsFunc(s.Held, func(h Held) bool { return h.Peer == "Node/node-02" }) {
		t.Errorf("held: %v", s.Held)
	}
	log := h.log.Take()
	for _, who := range []string{"Node/node-02 since", "Node/node-03: 10.0.0.31/32 since"} {
		if !strings.Contains(log, h.proposal("wg0")+": "+who) || !strings.Contains(log, "was held, and is let go") {
			t.Errorf("%s goes without a word:\n%s", who, log)
		}
	}
	if !h.inForceHas(t, 4) || h.inForceHas(t, 2) {
		t.Error("another one is in force")
	}
}

func TestAcceptAndPreviewLeaveOutWhatTheMachineCannotHave(t *testing.T) {
	h := newHouse(t, "wg0")
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2))
	h.look(t, h.newIface("wg0", func() {}), true)
	h.kernel.around.Routes = []plan.Route{docker(9)}
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2, 3, 9))
	p, err := h.Preview(t.Context(), "wg0")
	must(t, err)
	if s := p.String(); !strings.Contains(s, "+ [Peer] Node/node-03") || strings.Contains(s, "+ [Peer] Node/node-09") || !strings.Contains(s, "on docker0") {
		t.Errorf("preview:\n%s", s)
	}
	_, err = h.Accept(t.Context(), "wg0")
	must(t, err)
	if !h.inForceHas(t, 3) || h.inForceHas(t, 9) {
		t.Error("accept puts something else in force")
	}
	if err := h.Once(t.Context(), "wg0"); err == nil || !strings.Contains(err.Error(), "on docker0") || h.kernel.peers("wg0") != 3 {
		t.Errorf("once: %d peers, %v", h.kernel.peers("wg0"), err)
	}
}

// resolver knows its one address when the test says so.
type resolver chan netip.Addr

func (r resolver) lookup(ctx context.Context, _ string) ([]netip.Addr, error) {
	select {
	case a, ok := <-r:
		if !ok {
			return nil, errors.New("no resolver here")
		}
		return []netip.Addr{a}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fragment is a peer with a name for an endpoint.
func fragment(n int) wgquick.Peer {
	p := peer(n)
	p.Origin = wgquick.Origin{Kind: "fragment", Name: "home"}
	p.Endpoint = wgquick.Endpoint{Host: "home.example", Port: 51820}
	return p
}

func TestAClaimThatSwallowsANamedEndpoint(t *testing.T) {
	claim := peer(9)
	claim.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	swallowed := func(s []string) bool {
		return len(s) == 1 && strings.Contains(s[0], "holds the endpoint 198.51.100.7:51820 of home")
	}
	home := netip.MustParseAddr("198.51.100.7")

	t.Run("nothing is in force, and nobody knows the name yet", func(t *testing.T) {
		h := newHouse(t, "wg0")
		h.ShrinkWindow = guard.Window
		r, woken := make(resolver), make(chan struct{}, 1)
		h.Lookup = r.lookup
		i := h.newIface("wg0", func() { signal(woken) })
		h.write(t, h.proposal("wg0"), renderedOf(t, peer(1), fragment(2), claim))
		if h.look(t, i, true); h.kernel.peers("wg0") != 3 {
			t.Fatalf("%d peers", h.kernel.peers("wg0"))
		}
		r <- home
		<-woken
		h.look(t, i, true)
		if s := h.status(t, "wg0"); h.kernel.peers("wg0") != 2 || slices.Contains(h.routes("wg0"), "198.51.100.0/24") || !swallowed(s.Refused) {
			t.Errorf("%d peers, %q, %q", h.kernel.peers("wg0"), h.routes("wg0"), s.Refused)
		}
		h.kernel.change("wg0", func(l *plan.Live) { l.Routes = nil })
		if h.look(t, i, true); len(h.routes("wg0")) != 2 {
			t.Error("nothing is repaired any more")
		}
		if h.look(t, i, true); h.kernel.peers("wg0") != 2 || !swallowed(h.status(t, "wg0").Refused) || len(hostnames(i.files.inForce.config)) != 1 {
			t.Errorf("it comes back: %q, %q", h.routes("wg0"), h.status(t, "wg0").Refused)
		}
	})
	t.Run("a file is in force", func(t *testing.T) {
		h := newHouse(t, "wg0")
		h.write(t, h.proposal("wg0"), rendered(t, 1))
		h.look(t, h.newIface("wg0", func() {}), true)
		r, woken := make(resolver), make(chan struct{}, 1)
		h.Lookup = r.lookup
		i := h.newIface("wg0", func() { signal(woken) })
		h.write(t, h.proposal("wg0"), renderedOf(t, peer(1), fragment(2), claim))
		if h.look(t, i, true); h.kernel.peers("wg0") != 1 {
			t.Error("the claim is believed before the first answer")
		}
		r <- home
		<-woken
		h.kernel.sent()
		h.look(t, i, true)
		if sent := h.kernel.sent(); h.kernel.peers("wg0") != 2 || strings.Contains(sent, "198.51.100.0/24") || !swallowed(h.status(t, "wg0").Refused) {
			t.Errorf("%q\n%s", h.status(t, "wg0").Refused, sent)
		}
	})
	t.Run("the resolver is dead", func(t *testing.T) {
		h := newHouse(t, "wg0")
		h.write(t, h.proposal("wg0"), rendered(t, 1))
		h.look(t, h.newIface("wg0", func() {}), true)
		r, woken := make(resolver), make(chan struct{}, 1)
		close(r)
		h.Lookup = r.lookup
		i := h.newIface("wg0", func() { signal(woken) })
		h.write(t, h.proposal("wg0"), renderedOf(t, peer(1), fragment(2), peer(3)))
		h.look(t, i, true)
		<-woken
		if h.look(t, i, true); h.kernel.peers("wg0") != 3 {
			t.Errorf("%d peers: it keeps the others waiting", h.kernel.peers("wg0"))
		}
	})
	for name, tc := range map[string]struct {
		known   bool // the name, before the resolver died
		reboots bool // the machine, each time: nothing is left of /run
	}{
		"nobody ever answered":                          {false, false},
		"nobody ever answered, and the machine reboots": {false, true},
		"the resolver dies":                             {true, false},
		"the resolver dies, and the machine reboots":    {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, "wg0")
			h.ShrinkWindow = guard.Window
			dead := !tc.known
			h.Lookup = func(context.Context, string) ([]netip.Addr, error) {
				if dead {
					return nil, errors.New("no resolver here")
				}
				return []netip.Addr{home}, nil
			}
			begin := func(ps ...wgquick.Peer) *iface {
				t.Helper()
				h.write(t, h.proposal("wg0"), renderedOf(t, ps...))
				if tc.reboots {
					if err := errors.Join(os.RemoveAll(h.RunDir), os.Mkdir(h.RunDir, 0o755)); err != nil {
						t.Fatal(err)
					}
				}
				i := h.newIface("wg0", func() {})
				h.look(t, i, true)
				i.names.first(t.Context(), nameWait)
				h.look(t, i, true)
				return i
			}
			begin(peer(1), fragment(2))
			dead = true
			begin(peer(1), fragment(2), claim)
			begin(peer(1), fragment(2), peer(3), claim)
			if is := slices.Contains(h.routes("wg0"), "198.51.100.0/24"); is != (!tc.known || tc.reboots) {
				t.Errorf("in force while the resolver is dead: %t", is)
			}
			dead = false
			for range 3 {
				i := begin(peer(1), fragment(2), peer(3), claim)
				c := i.files.inForce.config
				marked := func(p wgquick.Peer) bool { return len(p.Unjudged) > 0 }
				if s := h.status(t, "wg0"); len(h.routes("wg0")) != 3 || !swallowed(s.Refused) || len(hostnames(c)) != 1 || slices.ContainsFunc(c.Peers, marked) {
					t.Errorf("%q, %q, %+v", h.routes("wg0"), s.Refused, c.Peers)
				}
			}
		})
	}
	t.Run("once waits for the answer", func(t *testing.T) {
		h := newHouse(t, "wg0")
		h.Lookup = func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{home}, nil }
		h.write(t, h.proposal("wg0"), renderedOf(t, peer(1), fragment(2), claim))
		err := h.Once(t.Context(), "wg0")
		if sent := h.kernel.sent(); err == nil || !swallowed(faults(err)) || strings.Contains(sent, "198.51.100.0/24") || h.kernel.peers("wg0") != 2 {
			t.Errorf("%v\n%s", err, sent)
		}
	})
}

// What was refused because another interface has it is not had by being quicker at the next boot. Nor is its port.
func TestABootGivesNobodyWhatAnotherHas(t *testing.T) {
	h := newHouse(t, "wg0")
	h.write(t, h.inForce("wg1"), byHand(t, peer(9)))
	h.write(t, h.proposal("wg0"), renderedOf(t, peer(1)))
	must(t, h.Once(t.Context(), "wg0"))
	h.write(t, h.proposal("wg0"), renderedOf(t, peer(1), peer(9)))
	must(t, h.kernel.Delete(t.Context(), "wg0"))

	slow := make(chan struct{})
	h.kernel.hang = map[string]chan struct{}{"wg1": slow}
	h.run(t)
	h.eventually(t, "what is in force is up", func() bool { return h.kernel.peers("wg0") == 1 })
	h.eventually(t, "it is looked at again and again", func() bool {
		h.kernel.mu.Lock()
		defer h.kernel.mu.Unlock()
		return h.kernel.looked["wg0"] > 4
	})
	h.kernel.mu.Lock()
	h.kernel.around.Routes = []plan.Route{docker(9)}
	h.kernel.mu.Unlock()
	close(slow)
	h.eventually(t, "the claim is refused", func() bool { return len(h.status(t, "wg0").Refused) == 1 })
	if h.inForceHas(t, 9) || h.kernel.peers("wg1") != 1 {
		t.Error("it has what wg1 has")
	}
}

func TestAPortThatAnotherHas(t *testing.T) {
	h := newHouse(t, "wg0")
	taken, err := net.ListenUDP("udp", nil)
	must(t, err)
	port := uint16(taken.LocalAddr().(*net.UDPAddr).Port)
	h.write(t, h.proposal("wg0"), renderedOf(t, peer(1)))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	c := proposal(peer(1), peer(2))
	c.Head, c.Interface.ListenPort = []string{wgquick.ProposalHead}, port
	b, err := c.Marshal()
	must(t, err)
	h.write(t, h.proposal("wg0"), string(b))
	h.look(t, i, true)
	if s := h.status(t, "wg0"); len(s.Refused) != 1 || !strings.Contains(s.Refused[0], "another socket has it") || h.kernel.peers("wg0") != 2 || i.files.inForce.config.Interface.ListenPort == port {
		t.Errorf("%d peers, refused: %q", h.kernel.peers("wg0"), s.Refused)
	}
	must(t, taken.Close())
	if h.look(t, i, true); i.files.inForce.config.Interface.ListenPort != port || len(h.status(t, "wg0").Refused) != 0 {
		t.Errorf("it is free: %d, refused: %q", i.files.inForce.config.Interface.ListenPort, h.status(t, "wg0").Refused)
	}
}

// A file without a port leaves the device the one that it has, which is then no reason to refuse it.
func TestThePortThatWeHave(t *testing.T) {
	h := newHouse(t, "wg0")
	ours, err := net.ListenUDP("udp", nil) // as our own device does
	must(t, err)
	defer ours.Close()
	port := uint16(ours.LocalAddr().(*net.UDPAddr).Port)
	i := h.newIface("wg0", func() {})
	for _, proposed := range []uint16{port, 0, port} {
		c := proposal(peer(1))
		c.Head, c.Interface.ListenPort = []string{wgquick.ProposalHead}, proposed
		b, err := c.Marshal()
		must(t, err)
		h.write(t, h.proposal("wg0"), string(b))
		h.look(t, i, true)
		if refused := h.status(t, "wg0").Refused; len(refused) != 0 || i.files.inForce.config.Interface.ListenPort != proposed {
			t.Errorf("%d: %d in force, refused: %q", proposed, i.files.inForce.config.Interface.ListenPort, refused)
		}
	}
}
