package apply

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wg-kube/apply/plan"
	"wg-kube/internal/lab"
	"wg-kube/templates/wgquick"
)

func TestAnUnknownNameChangesNothing(t *testing.T) {
	home := netip.MustParseAddr("192.0.2.7")
	h := newHouse(t)
	h.kernel.around.PathMTU = map[netip.Addr]int{home: 1400}
	h.Lookup = func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{home}, nil }
	h.write(t, h.inForce("wg0"), byHand(t, peer(1), fragment(2)))
	must(t, h.Once(t.Context(), "wg0"))
	if sent := h.kernel.sent(); !strings.Contains(sent, "mtu 1320 ") || strings.Contains(sent, "mtu 1420 ") || strings.Count(sent, " endpoint ") != 1 {
		t.Errorf("the name is not known from the start:\n%s", sent)
	}
	h.log.Take()
	for range 2 {
		must(t, h.Once(t.Context(), "wg0"))
	}
	if sent, log := h.kernel.sent(), h.log.Take(); sent != "" || log != "" {
		t.Errorf("once more sends something:\n%s%s", sent, log)
	}

	r, woken := make(resolver), make(chan struct{}, 1)
	h.Lookup = r.lookup
	i := h.newIface("wg0", func() { signal(woken) })
	for range 2 {
		if l := h.look(t, i, true); l.drift || h.kernel.sent() != "" {
			t.Errorf("a restart without a resolver is drift:\n%s", h.log.Take())
		}
	}
	r <- home
	<-woken
	if l := h.look(t, i, true); l.drift || h.kernel.sent() != "" {
		t.Errorf("the answer is drift:\n%s", h.log.Take())
	}
}

// Once fails as long as a name is not known, and Preview says so even if there is nothing else to do.
func TestPreviewSaysWhatOnceFailsFor(t *testing.T) {
	h := newHouse(t)
	h.Lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no resolver here") }
	h.write(t, h.inForce("wg0"), byHand(t, peer(1), fragment(2)))
	for _, empty := range []bool{false, true} {
		p, err := h.Preview(t.Context(), "wg0")
		must(t, err)
		if p.Empty() != empty || len(p.Later) != 1 {
			t.Errorf("empty: %t, is wanted: %t\n%s", p.Empty(), empty, p)
		}
		if err := h.Once(t.Context(), "wg0"); err == nil || err.Error() != p.Later[0] {
			t.Errorf("once: %v\npreview:\n%s", err, p)
		}
	}
}

// What is said of a name that is not known is the same at each try: else each would be a line of the log.
func TestReasonStaysTheSame(t *testing.T) {
	for _, tt := range []struct {
		err  net.DNSError
		want string
	}{
		{net.DNSError{IsNotFound: true, Err: "no such host"}, "no such host"},
		{net.DNSError{IsTimeout: true, Err: "i/o timeout"}, "the resolver does not answer"},
		{net.DNSError{Err: "read udp 127.0.0.1:50017->127.0.0.53:53: read: connection refused"}, "the resolver: connection refused"},
		{net.DNSError{Err: "server misbehaving"}, "the resolver: server misbehaving"},
	} {
		if got := reason(&tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", &tt.err, got, tt.want)
		}
	}
}

// Whoever answers for a name says where its peer is, and takes nobody's prefix: not even from a wg-apply that has just
// begun, and knows no other answer.
func TestANameTakesNoPrefix(t *testing.T) {
	h := newHouse(t, "wg0")
	h.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
	}
	begin := func() *iface {
		i := h.newIface("wg0", func() {})
		h.look(t, i, true)
		i.names.first(t.Context(), nameWait)
		h.look(t, i, true)
		return i
	}
	ps := append(peers(1, 8), fragment(9))
	h.write(t, h.proposal("wg0"), renderedOf(t, ps...))
	begin()
	h.Lookup = func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{prefix(3).Addr()}, nil }
	for _, gone := range []bool{false, true} {
		if gone {
			must(t, os.Remove(h.proposal("wg0")))
		}
		begin()
		s := h.status(t, "wg0")
		if h.kernel.peers("wg0") != 9 || len(h.routes("wg0")) != 9 || !h.inForceHas(t, 3) {
			t.Errorf("the proposal is gone: %t: %d peers, %q", gone, h.kernel.peers("wg0"), s.Refused)
		}
		if !gone && (len(s.Refused) != 1 || !strings.Contains(s.Refused[0], `home: Endpoint: "10.0.0.3:51820": lies in 10.0.0.3/32`)) {
			t.Errorf("%q", s.Refused)
		}
	}
	h.write(t, h.proposal("wg0"), renderedOf(t, ps...))
	h.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.8")}, nil
	}
	if i := begin(); len(h.status(t, "wg0").Refused) != 0 || len(hostnames(i.files.inForce.config)) != 1 {
		t.Errorf("it does not come back: %q", h.status(t, "wg0").Refused)
	}
}

// Names are asked for a few at a time, and those of a proposal that has too many of them not at all.
func TestManyNames(t *testing.T) {
	named := func(n int) (out []wgquick.Peer) {
		for i, p := range peers(1, n) {
			p.Endpoint = wgquick.Endpoint{Host: fmt.Sprintf("host-%d.example", i), Port: 51820}
			out = append(out, p)
		}
		return out
	}
	var open, most, asked atomic.Int32
	h := newHouse(t, "wg0")
	h.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		asked.Add(1)
		n := open.Add(1)
		defer open.Add(-1)
		for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
		}
		time.Sleep(time.Millisecond)
		return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
	}
	i := h.newIface("wg0", func() {})
	h.write(t, h.proposal("wg0"), renderedOf(t, named(wgquick.MaxNames+1)...))
	h.look(t, i, true)
	i.names.first(t.Context(), nameWait)
	if s := h.status(t, "wg0"); asked.Load() != 0 || h.kernel.peers("wg0") != 0 || len(s.Refused) != 1 ||
		!strings.Contains(s.Refused[0], "257 endpoints that are names: more than 256") {
		t.Errorf("%d questions, %d peers, %q", asked.Load(), h.kernel.peers("wg0"), s.Refused)
	}
	h.write(t, h.proposal("wg0"), renderedOf(t, named(wgquick.MaxNames)...))
	h.look(t, i, true)
	i.names.first(t.Context(), nameWait)
	if h.look(t, i, true); asked.Load() != wgquick.MaxNames || most.Load() > lookupsAtOnce || h.kernel.peers("wg0") != wgquick.MaxNames {
		t.Errorf("%d questions, %d at once, %d peers", asked.Load(), most.Load(), h.kernel.peers("wg0"))
	}
	h.write(t, h.inForce("wg1"), byHand(t, named(wgquick.MaxNames+1)...)) // root's own
	asked.Store(0)
	i = h.newIface("wg1", func() {})
	h.look(t, i, true)
	if i.names.first(t.Context(), nameWait); asked.Load() != wgquick.MaxNames+1 || most.Load() > lookupsAtOnce {
		t.Errorf("by hand: %d questions, %d at once", asked.Load(), most.Load())
	}
}

// While a name has to wait for its turn behind many that nobody answers for, what is proposed waits no longer than for
// one question.
func TestADeadNameIsNotWaitedForLong(t *testing.T) {
	h := newHouse(t, "wg0")
	h.write(t, h.proposal("wg0"), rendered(t, 1))
	h.look(t, h.newIface("wg0", func() {}), true)
	h.Lookup = func(ctx context.Context, _ string) ([]netip.Addr, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	i := h.newIface("wg0", func() {})
	h.write(t, h.proposal("wg0"), renderedOf(t, peer(1), fragment(2), peer(3)))
	if l := h.look(t, i, true); l.again <= 0 || l.again > lookupTimeout || h.kernel.peers("wg0") != 1 {
		t.Fatalf("it looks again after %v, %d peers", l.again, h.kernel.peers("wg0"))
	}
	i.names.mu.Lock()
	i.names.known["home.example"].since = time.Now().Add(-lookupTimeout)
	i.names.mu.Unlock()
	if l := h.look(t, i, false); l.again != 0 || h.kernel.peers("wg0") != 3 {
		t.Errorf("it looks again after %v, %d peers", l.again, h.kernel.peers("wg0"))
	}
}

// What no resolver answers for on one interface keeps the names of another from nothing.
func TestNamesWaitForNoOtherInterface(t *testing.T) {
	h := newHouse(t)
	h.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
		if host == "home.example" {
			return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	dead := peers(1, 2*lookupsAtOnce)
	for n := range dead {
		dead[n].Endpoint = wgquick.Endpoint{Host: fmt.Sprintf("dead-%d.example", n), Port: 51820}
	}
	ctx, stop := context.WithCancel(t.Context())
	h.newIface("wg0", func() {}).names.ask(ctx, config(dead...), nil)
	woken := make(chan struct{}, 1)
	other := h.newIface("wg1", func() { signal(woken) }).names
	other.ask(ctx, config(fragment(1)), nil)
	<-woken
	if known, _ := other.resolved(config(fragment(1))); len(known) != 1 {
		t.Error("not known")
	}
	stop()
}

// A name is asked for again when its peer should have called, and has not; and then the peer goes where it leads.
func TestANameIsResolvedAgainWhenItsEndpointIsStale(t *testing.T) {
	const before, after = "192.0.2.7:51820", "192.0.2.8:51820"
	for _, tt := range []struct {
		name      string
		keepalive uint16
		handshake time.Duration // ago
		moves     bool
	}{
		{"it has just called", 25, time.Minute, false},
		{"a tunnel in which nobody speaks", 0, time.Hour, false},
		{"it should have called", 25, time.Hour, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			r, woken := make(resolver, 1), make(chan struct{}, 1)
			h.Lookup = r.lookup
			p := fragment(1)
			p.PersistentKeepalive = tt.keepalive
			h.write(t, h.inForce("wg0"), byHand(t, p))
			i := h.newIface("wg0", func() { signal(woken) })
			r <- netip.MustParseAddrPort(before).Addr()
			i.names.ask(t.Context(), config(p), nil)
			<-woken
			if h.look(t, i, true); !strings.Contains(h.kernel.sent(), before) {
				t.Error("the first address is not set")
			}
			h.kernel.change("wg0", func(l *plan.Live) { l.Peers[0].LastHandshake = time.Now().Add(-tt.handshake) })
			h.look(t, i, true)
			r <- netip.MustParseAddrPort(after).Addr()
			select {
			case <-woken:
			case <-time.After(100 * time.Millisecond):
			}
			h.look(t, i, true)
			if moved := strings.Contains(h.kernel.sent(), after); moved != tt.moves {
				t.Errorf("the new address is taken: %t", moved)
			}
		})
	}
}

// A spoke that knows its hub by a name. The hub moves, and nobody answers at its old address.
func TestDeviceFollowsANameThatMoves(t *testing.T) {
	spoke, hub := newMachine(t, "spoke"), newMachine(t, "hub")
	lab.Link(t, spoke.Host, "eth0", "10.9.0.1/24", hub.Host, "eth0", "10.9.0.2/24")
	fileS, keyS := person(t, "10.7.0.1/24", 51820)
	fileH, keyH := person(t, "10.7.0.2/24", 51820)
	hub.Write(t, "/etc/wireguard/wg0.conf", fileH+section(keyS, "10.7.0.1/32", ""), 0o600)
	hub.apply(t, "once", "wg0")
	spoke.Write(t, "/run/hosts", "10.9.0.2 hub.example\n", 0o644)
	spoke.Run(t, "mount", "--bind", "/run/hosts", "/etc/hosts")
	spoke.Write(t, "/etc/wireguard/wg0.conf", fileS+section(keyH, "10.7.0.2/32", "Endpoint = hub.example:51820\nPersistentKeepalive = 1\n"), 0o600)
	daemon := spoke.start(t, "--resync", "100ms")
	spoke.eventually(t, "the tunnel is up", "ping -c1 -W1 10.7.0.2")

	hub.Run(t, "sh", "-ec", "ip address del 10.9.0.2/24 dev eth0; ip address add 10.9.0.3/24 dev eth0")
	spoke.Run(t, "sh", "-ec", "echo 10.9.0.3 hub.example >/run/hosts")
	spoke.Run(t, "ip", "link", "del", "wg0") // with the handshake, which would be young for three minutes
	spoke.eventually(t, "the new address is taken", "wg show wg0 endpoints | grep -q 10.9.0.3:51820")
	spoke.eventually(t, "the tunnel is up again", "ping -c1 -W1 10.7.0.2")
	if log := daemon.Log(); strings.Count(log, "endpoint 10.9.0.2:51820") != 2 {
		t.Errorf("it was not tried at the old address first:\n%s", log)
	}
}

// TestTheMTUFollowsThePath: what was worked out while the way to the endpoint was another one for a moment does not stay.
func TestTheMTUFollowsThePath(t *testing.T) {
	h := newHouse(t)
	h.Resync = time.Nanosecond
	h.write(t, h.inForce("wg0"), byHand(t, peer(1)))
	i := h.newIface("wg0", func() {})
	is := func(what string, around, want int) {
		t.Helper()
		h.kernel.mu.Lock()
		h.kernel.around.MTU = around
		h.kernel.mu.Unlock()
		h.look(t, i, true)
		if l, _ := h.kernel.Observe(t.Context(), "wg0"); l.MTU != want {
			t.Errorf("%s: %d, want %d", what, l.MTU, want)
		}
	}
	is("it comes up while the way is another one", 1300, 1220)
	is("it has passed", 1500, 1220)
	h.log.Take()
	is("it has passed indeed", 1500, 1420)
	if said := h.log.Take(); strings.Count(said, "msg=changed") != 1 || !strings.Contains(said, "mtu 1420") || strings.Contains(said, "drift") {
		t.Errorf("it says %q", said)
	}
	is("it is another one for a moment", 1400, 1420)
	is("no more", 1500, 1420)
	is("once more", 1400, 1420)
	i.files.inForce.config.Interface.MTU = 1420
	is("the file says it", 1400, 1420)
}
