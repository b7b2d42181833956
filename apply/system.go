// Package apply keeps live devices as the files say: file event, Parse, Promote, Observe, Diff, Apply, for ever.
//
// It refuses to run what a proposal says, to run what a file made by hand says unless it is told to, to take a link
// down while its file is there, and to believe a proposal: what one may say and what is held back is in promote.go.
package apply

import (
	"context"

	"wg-kube/apply/plan"
	"wg-kube/templates/wgquick"
)

// System is the kernel, as far as an interface needs it. apply/kernel is the real one.
type System interface {
	// Underlay observes what the meaning of c depends on beside c. It resolves no name: an endpoint that is one counts
	// for nothing.
	Underlay(ctx context.Context, iface string, c *wgquick.Config) (plan.Underlay, error)
	// Observe reads the interface. An interface that does not exist is no error.
	Observe(ctx context.Context, iface string) (plan.Live, error)
	// Apply carries the plan out, in its order, and stops at the first step that fails, unless that adds a route;
	// a new interface that could not be completed is deleted again, as wg-quick does. But see plan.Plan.KeepLink.
	Apply(ctx context.Context, p plan.Plan) error
	// Delete takes the interface down with all that is ours.
	Delete(ctx context.Context, iface string) error
}
