package apply

import (
	"context"
	"net/netip"
	"strings"
	"testing"
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
	h.log.take()
	for range 2 {
		must(t, h.Once(t.Context(), "wg0"))
	}
	if sent, log := h.kernel.sent(), h.log.take(); sent != "" || log != "" {
		t.Errorf("once more sends something:\n%s%s", sent, log)
	}

	r, woken := make(resolver), make(chan struct{}, 1)
	h.Lookup = r.lookup
	i := h.newIface("wg0", func() { signal(woken) })
	for range 2 {
		if l := h.look(t, i, true); l.drift || h.kernel.sent() != "" {
			t.Errorf("a restart without a resolver is drift:\n%s", h.log.take())
		}
	}
	r <- home
	<-woken
	if l := h.look(t, i, true); l.drift || h.kernel.sent() != "" {
		t.Errorf("the answer is drift:\n%s", h.log.take())
	}
}
