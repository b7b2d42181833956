package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"wg-kube/apply/plan"
	"wg-kube/templates/status"
	"wg-kube/templates/wgquick"
)

// meaning is what a file in force was found to mean. It is worked out anew when the file or a resolved name changes,
// the link has to be made, or the machine is not up to it: not on every look, for the MTU of a path is not to flutter. That
// is looked at once a resync, and is another one when it was so twice.
type meaning struct {
	hash     string
	resolved map[string]netip.AddrPort
	want     plan.Desired
	refused  []string // what the machine cannot have of the file: it is left out, or if it is in use already, stays
	failed   bool     // something of a file from a proposal could not be done: perhaps the machine has changed

	mtu int       // that of want, if it were worked out now; zero: nobody has looked
	at  time.Time // when that was, or the meaning was worked out
}

// device makes the device what the file in force says.
func (i *iface) device(ctx context.Context, l *look) {
	inForce := &i.files.inForce
	if i.observed == nil {
		i.observe(ctx)
	}
	was := i.meaning
	resolved, unknown := i.names.resolved(inForce.config)
	means := sync.OnceValues(func() (plan.Most, error) { return i.means(ctx, inForce.config, nil, resolved, i.files.path) })
	if was.hash != inForce.hash {
		_, _ = means() // while the device is read
	}
	live, err := i.observed()
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
	renamed := was.resolved != nil && !maps.Equal(resolved, was.resolved)
	same := was.hash == inForce.hash && !renamed && live.Exists
	if !same || was.failed || len(was.refused) > 0 {
		most, err := means()
		switch {
		case most.Want.Interface == "":
		case live.Exists && l.status.Applied == inForce.hash:
			err = nil // what is wrong with it, if anything is, was not when it was applied: it stays
		case !live.Exists && len(run.PreUp) > 0:
			err, most.Refused = nil, nil // PreUp may put it right: it is judged once more after that
		}
		if err != nil {
			i.meaning = meaning{}
			if errors.As(err, new(wgquick.Faults)) {
				l.refuse(notForFile, faults(err))
			} else {
				l.fail(err)
			}
			return
		}
		i.meaning = meaning{hash: inForce.hash, resolved: resolved, want: most.Want, refused: faultLines(most.Refused), at: live.Now}
		if same {
			i.meaning.want.MTU = was.want.MTU
		}
		if !Ours(inForce.config) && len(most.Refused) > 0 {
			leaveAsLive(&i.meaning.want, live)
		}
	}
	other := renamed || len(unknown) > 0 || !slices.Equal(i.meaning.refused, was.refused) // it is not what it was
	if i.mtuIsDue(live) {
		if most, err := means(); err == nil && len(most.Refused) == 0 {
			other = i.meaning.follow(most.Want.MTU) || other
		}
		i.meaning.at = live.Now
	}
	p := i.compare(i.meaning.want, &live, l.status.Peers)
	p.KeepLink = Ours(inForce.config)
	if !p.Empty() {
		l.drift = l.status.Applied == inForce.hash && !other && !i.half
		if i.half = !i.carryOut(ctx, l, &p, live.Exists, run); i.half {
			i.meaning.failed = Ours(inForce.config)
			return
		}
		l.steps = len(p.Steps)
		if l.drift {
			l.repairs.add(p)
		}
		i.voice.plan(p, l.drift)
		live = live.After(p)
	} else {
		i.lookAround(ctx, live)
	}
	if err := i.keepDNS(context.WithoutCancel(ctx), &l.status, run.DNS); err != nil {
		l.fail(err)
	}
	name(&live, i.meaning.want)
	l.live = &live
	l.status.Applied = inForce.hash
	l.status.Peers = remember(i.meaning.want, live, l.status.Peers)
	i.right = true
	i.lookUpAgain(ctx, live)
}

// mtuIsDue reports whether it is time to look whether the paths to the endpoints have another MTU by now. One that the
// file says is no matter of paths.
func (i *iface) mtuIsDue(live plan.Live) bool {
	m := &i.meaning
	return i.Resync > 0 && live.Exists && len(m.refused) == 0 && i.files.inForce.config.Interface.MTU == 0 && live.Now.Sub(m.at) >= i.Resync
}

// follow takes in the MTU as it would be now, and reports whether it has become another one.
func (m *meaning) follow(mtu int) (other bool) {
	other = mtu != m.want.MTU && mtu == m.mtu
	if other {
		m.want.MTU = mtu
	}
	m.mtu = mtu
	return other
}

// leaveAsLive is for a file in use that the machine could not have any more: that the rest of it is kept up is all
// that is done. No packet is sent another way because of it.
func leaveAsLive(want *plan.Desired, live plan.Live) {
	want.MTU = live.MTU
	for n := range want.Peers {
		want.Peers[n].Endpoint = netip.AddrPort{}
	}
}

// observe starts to read the device. It is told what changes from now on, and looks again then.
func (i *iface) observe(ctx context.Context) {
	var live plan.Live
	var err error
	done := make(chan struct{})
	go func() {
		live, err = i.System.Observe(ctx, i.name)
		close(done)
	}()
	i.observed = func() (plan.Live, error) {
		<-done
		return live, err
	}
}

// compare says what leads from live to want, and completes live with what is remembered.
func (i *iface) compare(want plan.Desired, live *plan.Live, remembered []status.Peer) plan.Plan {
	if !live.Exists {
		roam(&want, remembered, i.quiet)
	}
	recall(live, remembered)
	i.quiet.note(live)
	i.quiet.forget(want.Peers)
	return plan.Diff(want, *live)
}

// carryOut carries the plan out, with what is run beside it when the interface is new. What is begun is carried out,
// also when we are told to stop.
func (i *iface) carryOut(ctx context.Context, l *look, p *plan.Plan, exists bool, run commands) bool {
	ctx = context.WithoutCancel(ctx)
	if exists {
		if err := i.System.Apply(ctx, *p); err != nil {
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
		if host, ok := hosts[p.PublicKey]; ok && p.Stale(live.Now) {
			i.names.again(ctx, host)
		}
	}
}

// means gives c its meaning, on this machine as it is now. path is the file that faults are put down to, and was what
// was there before c, and last what is; none: c is what is there. What comes from a proposal is of many, and none of them
// is to pay for another; what a person wrote is one whole, as it is for wg-quick.
//
// Where a prefix holds an endpoint, the prefix goes if it is new, and else the endpoint: a name leads where a resolver
// says. If a name had no address yet when the prefix came, the prefix goes as well, but it is measured like what a
// proposal drops: where too much of what is there would go, or anything that is held, it is the endpoints.
func (i *iface) means(ctx context.Context, c *wgquick.Config, was [][]wgquick.Peer, resolved map[string]netip.AddrPort, path string) (plan.Most, error) {
	u, err := i.System.Underlay(ctx, i.name, withAddresses(c, resolved))
	if err != nil {
		return plan.Most{}, unseen{err}
	}
	u.Resolved = resolved
	if Ours(c) {
		most, err := plan.WantMost(c, i.name, u, plan.Kept{})
		if err == nil && len(most.Refused) > 0 {
			if len(was) == 0 {
				was = [][]wgquick.Peer{c.Peers}
			}
			most, err = plan.WantMost(c, i.name, u, plan.Kept{Prefixes: judged(was[len(was)-1])})
			if err == nil && i.files.guard.costs(c, most.Config, was) {
				most, err = plan.WantMost(c, i.name, u, kept(c, was))
			}
		}
		most.Refused = inFile(path, most.Refused)
		return most, faultsIn(path, err)
	}
	want, err := plan.Want(c, i.name, u)
	err = faultsIn(path, err)
	most := plan.Most{Config: c, Want: want}
	errors.As(err, &most.Refused)
	return most, err
}

// unseen is why it is not known what the machine can have, or what is in force: no fault of a file.
type unseen struct{ error }

func (u unseen) Unwrap() error { return u.error }

// judged is which prefixes of the peers in force came when each name had an address.
func judged(inForce []wgquick.Peer) map[netip.Prefix]bool {
	all := map[netip.Prefix]bool{}
	for n := range inForce {
		for _, a := range inForce[n].AllowedIPs {
			all[a] = true
		}
	}
	for n := range inForce {
		for _, a := range inForce[n].Unjudged {
			delete(all, a)
		}
	}
	return all
}

// markUnjudged marks the prefixes of next that came, or come now, while a name in it has no address: as soon as it has
// one, it will show whether they hold it. The file is where that is kept, for that may be after a reboot. inForce is what
// is there before next.
func markUnjudged(next, inForce []wgquick.Peer) {
	judged := judged(inForce)
	for n := range next {
		for _, a := range next[n].AllowedIPs {
			if !judged[a] {
				next[n].Unjudged = append(next[n].Unjudged, a)
			}
		}
	}
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

// faultsIn puts an error that is made of faults down to the file that has them.
func faultsIn(path string, err error) error {
	var found wgquick.Faults
	if !errors.As(err, &found) {
		return err
	}
	return inFile(path, found)
}

func inFile(path string, found wgquick.Faults) wgquick.Faults {
	found = slices.Clone(found)
	for n := range found {
		found[n].File = path
	}
	return found
}

// faultLines are faults for the status: not all of very many.
func faultLines(found wgquick.Faults) (out []string) {
	const most = 100
	for n, f := range found {
		if n == most {
			return append(out, fmt.Sprintf("%s: and %d more", f.File, len(found)-n))
		}
		out = append(out, f.Error())
	}
	return out
}
