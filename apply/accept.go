package apply

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"wg-kube/templates/wgquick"
)

// Accept lets go what the status says is held, as far as it is still not in the proposal, and promotes the proposal. What
// is dropped beside that nobody has seen yet: it is measured like any other, and may be accepted then. Where that is all,
// nothing goes, which is an error. Accept returns what changes in the file in force, for people. A daemon that runs sees
// the file change; without one, Once applies it. That somebody names the interface is enough for it to take this one
// proposal.
//
// Killed at any moment it has done all of it or nothing, and may be called again.
func (c Config) Accept(ctx context.Context, name string) ([]string, error) {
	c.Proposed = []string{name}
	i, unlock, err := c.alone(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	f := i.files
	switch {
	case f.proposal.missing():
		return nil, fmt.Errorf("%s: there is no such proposal, so nothing of it can be accepted", f.proposalPath)
	case f.proposal.config == nil:
		return nil, f.proposal.err
	case f.inForce.config == nil:
		return nil, f.inForce.err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	i.names.ask(ctx, f.inForce.config, f.proposal.config)
	i.names.first(ctx, nameWait)
	next, err := i.draft(ctx, f.inForce.config.Interface.PrivateKey, i.status.Held, nil)
	if err != nil {
		return nil, err
	}
	if err := f.writeDown(next); err != nil {
		return nil, err
	}
	said, now := changes(f, next), i.status
	if _, err := f.write(next); err != nil {
		return nil, err
	}
	now.PublicKey = f.inForce.config.Interface.PrivateKey.Public()
	now.Held, now.HeldWhy = next.held, next.heldWhy(now.HeldWhy)
	why := ""
	if now.HeldWhy != "" {
		why = " (" + now.HeldWhy + ")"
	}
	for _, h := range now.Held {
		said = append(said, fmt.Sprintf("held, as it came later%s: %s; let go by: wg-apply accept %s", why, h, name))
	}
	if err := i.save(now); err != nil {
		return said, err
	}
	if len(now.Held) > 0 && !next.accepts {
		return said, fmt.Errorf("%s: nothing was let go: the status did not say yet what is held; it does now", name)
	}
	return said, nil
}

// accepted is the file in force without what is accepted: what it marks as held since then, under the same key, and
// the proposal still does not have. goes reports whether there is such a thing. Of a peer of which a few prefixes were
// held, the rest has not been accepted, even if the proposal does not have the peer any more.
func accepted(inForce, proposal *wgquick.Config, seen []Held) (rest *wgquick.Config, goes bool) {
	by := make(map[wgquick.PublicKey]Held, len(seen))
	for _, h := range seen {
		by[h.PublicKey] = h
	}
	rest = new(*inForce)
	rest.Peers = nil
	rs := takenBy(proposal).from(inForce.Peers)
	for _, p := range inForce.Peers {
		var r removal
		if len(rs) > 0 && rs[0].peer.PublicKey == p.PublicKey {
			r, rs = rs[0], rs[1:]
		}
		if h, ok := by[p.PublicKey]; ok && !p.Held.IsZero() && h.Since.Equal(p.Held) {
			whole := len(h.Prefixes) == 0
			if whole && r.heir < 0 {
				goes = true
				continue
			}
			had, lost, accepts := len(p.AllowedIPs), set(r.prefixes), set(h.Prefixes)
			p.AllowedIPs = slices.DeleteFunc(slices.Clone(p.AllowedIPs), func(a netip.Prefix) bool {
				return lost[a] && (whole || accepts[a])
			})
			goes = goes || len(p.AllowedIPs) < had
		}
		rest.Peers = append(rest.Peers, p)
	}
	return rest, goes
}

// set is for those that may be very many.
func set(prefixes []netip.Prefix) map[netip.Prefix]bool {
	all := make(map[netip.Prefix]bool, len(prefixes))
	for _, a := range prefixes {
		all[a] = true
	}
	return all
}

// alone opens an interface for a command: nobody else does anything to it until unlock is called, and its files
// have been read.
func (c Config) alone(ctx context.Context, name string) (i *iface, unlock func(), err error) {
	if err := c.prepare(); err != nil {
		return nil, nil, err
	}
	waiting, cancel := context.WithTimeoutCause(ctx, lockWait, errors.New("for too long"))
	defer cancel()
	unlock, err = lock(waiting, c.lockFile(name))
	if err != nil {
		return nil, nil, err
	}
	i = c.newIface(name, func() {})
	if err := i.files.readQuiet(ctx); err != nil {
		unlock()
		return nil, nil, err
	}
	return i, unlock, nil
}
