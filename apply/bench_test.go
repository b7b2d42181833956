package apply

import (
	"fmt"
	"testing"
)

// BenchmarkChange is what one more peer costs from the proposal to the plan, without the kernel.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{100, 10_000} {
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
			for turn := 0; b.Loop(); turn++ {
				h.write(b, h.proposal("wg0"), files[turn%2])
				if l := h.look(b, i, false); l.err != nil || l.steps != 2 {
					b.Fatalf("%d steps, %v", l.steps, l.err)
				}
			}
		})
	}
}
