package apply

import (
	"context"
	"time"

	"wg-kube/apply/hints"
	"wg-kube/apply/plan"
)

// around is what was last observed around the interface, and what is to be said of it.
type around struct {
	ask   hints.Ask
	seen  hints.Seen
	at    time.Time // zero: not yet, or the link was another one
	hints []string
}

// lookAround says what is wrong around the device, which was observed as live. Of that, what is not the device's own
// is read once a resync, or when the file comes to need more.
func (i *iface) lookAround(ctx context.Context, live plan.Live) {
	if i.Surroundings == nil {
		return
	}
	a, c := &i.around, i.files.inForce.config
	ask := hints.For(c)
	if due := i.Resync > 0 && live.Now.Sub(a.at) >= i.Resync; due || a.at.IsZero() || ask != a.ask {
		var err error
		if a.seen, err = i.Surroundings(ctx, i.name, ask); err != nil {
			i.log.Debug("not all around the interface could be seen", "err", err)
		}
		a.ask, a.at = ask, live.Now
	}
	seen := a.seen
	seen.Live = live
	a.hints = hints.Of(i.name, c, seen)
}
