package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"wg-kube/apply/plan"
	"wg-kube/templates/wgquick"
)

// meaning is what a file in force was found to mean. It is worked out anew when the file or a resolved name changes,
// or the link has to be made: not on every look, for the MTU of a path is not to flutter.
type meaning struct {
	hash     string
	resolved map[string]netip.AddrPort
	want     plan.Desired
}

// device makes the device what the file in force says.
func (i *iface) device(ctx context.Context, l *look) {
	inForce := &i.files.inForce
	live, err := i.System.Observe(ctx, i.name)
	if err != nil {
		l.fail(err)
		return
	}
	run := i.commands(inForce.config)
	switch {
	case live.Exists:
		i.failed = failure{}
	case i.failed.hash == inForce.hash:
		l.status.Errors = append(l.status.Errors, faults(i.failed.err)...)
		return
	}
	i.names.ask(ctx, inForce.config)
	resolved, _ := i.names.resolved(inForce.config)
	renamed := i.meaning.resolved != nil && !maps.Equal(resolved, i.meaning.resolved)
	if i.meaning.hash != inForce.hash || renamed || !live.Exists {
		want, err := i.means(ctx, inForce.config, resolved, i.files.path)
		if err != nil {
			i.meaning = meaning{}
			if errors.As(err, new(wgquick.Faults)) {
				l.status.Refused = append(l.status.Refused, faults(err)...)
			} else {
				l.fail(err)
			}
			return
		}
		i.meaning = meaning{inForce.hash, resolved, want}
	}
	want := i.meaning.want
	if !live.Exists {
		roam(&want, l.status.Peers)
	}
	recall(&live, l.status.Peers)
	i.quiet.note(&live)
	p := plan.Diff(want, live)
	if !p.Empty() {
		l.drift = l.status.Applied == inForce.hash && !renamed && !i.half
		if i.half = !i.carryOut(ctx, l, p, live.Exists, run); i.half {
			return
		}
		l.steps = len(p.Steps)
		sayPlan(i.log, p, l.drift)
		live = live.After(p)
	} else {
		i.lookAround(ctx, live)
	}
	if err := i.keepDNS(context.WithoutCancel(ctx), &l.status, run.DNS); err != nil {
		l.fail(err)
	}
	name(&live, want)
	l.live = &live
	l.status.Applied = inForce.hash
	l.status.Peers = remember(i.meaning.want, live, l.status.Peers)
	i.right = true
	i.lookUpAgain(ctx, live)
}

// carryOut carries the plan out, with what is run beside it when the interface is new. What is begun is carried out,
// also when we are told to stop.
func (i *iface) carryOut(ctx context.Context, l *look, p plan.Plan, exists bool, run commands) bool {
	ctx = context.WithoutCancel(ctx)
	if exists {
		if err := i.System.Apply(ctx, p); err != nil {
			l.fail(err)
			return false
		}
		return true
	}
	hooks, err := i.bringUp(ctx, p, run)
	switch {
	case err == nil:
		if len(run.DNS) > 0 {
			l.status.DNS = run.DNS
		}
		i.around.at = time.Time{}
		return true
	case hooks:
		i.failed = failure{i.files.inForce.hash, fmt.Errorf(
			"%w\n%s: not up, and not tried again until its file changes or somebody says: wg-apply once %s", err, i.name, i.name)}
		l.status.Errors = append(l.status.Errors, faults(i.failed.err)...)
	default:
		l.fail(err)
	}
	return false
}

// lookUpAgain asks once more for the names of peers that should have called by now: they may have moved.
func (i *iface) lookUpAgain(ctx context.Context, live plan.Live) {
	hosts := map[wgquick.PublicKey]string{}
	for _, p := range i.files.inForce.config.Peers {
		if host, ok := hostname(p.Endpoint); ok {
			hosts[p.PublicKey] = host
		}
	}
	for _, p := range live.Peers {
		overdue := live.Now.Sub(p.LastHandshake) > sessionAge && (p.Keepalive > 0 || p.Unanswered)
		if host, ok := hosts[p.PublicKey]; ok && overdue {
			i.names.again(ctx, host)
		}
	}
}

// sessionAge is how long a session is good for: the same that makes an endpoint stale in a plan.
const sessionAge = 180 * time.Second

// means gives c its meaning, on this machine as it is now. path is the file that faults are put down to.
func (i *iface) means(ctx context.Context, c *wgquick.Config, resolved map[string]netip.AddrPort, path string) (plan.Desired, error) {
	u, err := i.System.Underlay(ctx, i.name, withAddresses(c, resolved))
	if err != nil {
		return plan.Desired{}, err
	}
	u.Resolved = resolved
	want, err := plan.Want(c, i.name, u)
	return want, inFile(path, err)
}

// withAddresses is c with the addresses of the names that are resolved.
func withAddresses(c *wgquick.Config, resolved map[string]netip.AddrPort) *wgquick.Config {
	if len(resolved) == 0 {
		return c
	}
	out := *c
	out.Peers = slices.Clone(c.Peers)
	for n, p := range out.Peers {
		if a, ok := resolved[p.Endpoint.String()]; ok {
			out.Peers[n].Endpoint = wgquick.EndpointOf(a)
		}
	}
	return &out
}

// inFile puts faults down to the file that has them.
func inFile(path string, err error) error {
	var found wgquick.Faults
	if !errors.As(err, &found) {
		return err
	}
	found = slices.Clone(found)
	for n := range found {
		found[n].File = path
	}
	return found
}
