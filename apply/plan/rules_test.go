package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Whatever of the rules of a default route is deleted, and however often: they come back where they were, the
// exemption before its guide, beside those of another tunnel and of others.
func TestRulesComeBackWhereTheyWere(t *testing.T) {
	want, err := Want(parse(t, "[Interface]\n[Peer]\nPublicKey = hubAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nAllowedIPs = 0.0.0.0/0, ::/0\n"), "wg0", Underlay{})
	if err != nil {
		t.Fatal(err)
	}
	for name, protocol := range map[string]int{"ours": Protocol, "adopted": protocolBoot} {
		t.Run(name, func(t *testing.T) {
			live := Live{Rules: []Rule{
				{Priority: 32765, Not: true, Mark: 7, Table: 7, Suppress: -1, Protocol: protocolBoot},
				{Priority: 32764, Table: tableMain, Suppress: 0, Protocol: protocolBoot},
			}}
			others := len(live.Rules)
			live = live.After(Diff(want, live))
			for i := range live.Rules {
				live.Rules[i].Protocol = protocol
			}
			places := func() (all []Rule) {
				for _, r := range live.Rules {
					r.Protocol = 0
					all = append(all, r)
				}
				slices.SortFunc(all, func(a, b Rule) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
				return all
			}
			before := places()
			rng := rand.New(rand.NewPCG(1, 2))
			for range 1000 {
				deleted := live
				deleted.Rules = slices.Clone(live.Rules)
				for range 1 + rng.IntN(2) {
					i := others + rng.IntN(len(deleted.Rules)-others)
					deleted.Rules = slices.Delete(deleted.Rules, i, i+1)
				}
				live = deleted.After(Diff(want, deleted))
				if d := cmp.Diff(before, places()); d != "" {
					t.Fatalf("(-before +after):\n%s", d)
				}
			}
		})
	}
}
