package apply

import (
	"fmt"
	"testing"
)

// BenchmarkChange is what one more peer costs from the proposal to the plan, without the kernel.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			h := newHouse(b, "wg0")
			all := make([]int, n)
			for i := range all {
				all[i] = i + 1
			}
			files := []string{rendered(b, all...), rendered(b, all[:n-1]...)}
			i := h.newIface("wg0", func() {})
			h.write(b, h.proposal("wg0"), files[1])
			h.look(b, i, true)
			b.ReportAllocs()
			for turn := 0; b.Loop(); turn++ {
				h.write(b, h.proposal("wg0"), files[turn%2])
				if l := h.look(b, i, false); l.err != nil || l.steps != 2 {
					b.Fatalf("%d steps, %v", l.steps, l.err)
				}
			}
		})
	}
}

// BenchmarkPromote compares the file in force with a proposal that has one peer more.
func BenchmarkPromote(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			inForce, next := config(peers(1, n)...), proposal(peers(1, n+1)...)
			b.ReportAllocs()
			for b.Loop() {
				if c, held, _, err := Promote(inForce, next, Guard{MaxShrink: 0.5, MaxPeers: n + 1}); err != nil || len(held) > 0 || len(c.Peers) != n+1 {
					b.Fatalf("%d peers, %d held, %v", len(c.Peers), len(held), err)
				}
			}
		})
	}
}
