package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"wg-kube/templates/wgquick"
)

// Accept promotes the proposal with nothing held of what was seen: that is what the file in force marks, or where no
// proposal was ever looked at, what Preview shows. What is dropped beside that came later, and is measured like any
// other; it may be accepted then. Accept returns what changes in the file in force, for people. A daemon that runs sees
// the file change; without one, Once applies it. That somebody names the interface is enough for it to take this one
// proposal.
func (c Config) Accept(ctx context.Context, name string) ([]string, error) {
	c.Proposed = []string{name}
	i, unlock, err := c.alone(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	f := i.files
	switch {
	case f.proposal.config == nil:
		return nil, f.proposal.err
	case f.inForce.config == nil:
		return nil, f.inForce.err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	i.names.ask(ctx, f.inForce.config, f.proposal.config)
	i.names.first(ctx, nameWait)
	marked := slices.ContainsFunc(f.inForce.config.Peers, func(p wgquick.Peer) bool { return !p.Held.IsZero() })
	seen := marked || i.status.Proposed == "" || i.status.Proposed == f.proposal.hash
	next, err := i.draft(ctx, f.inForce.config.Interface.PrivateKey, seen)
	if err != nil {
		return nil, err
	}
	if err := f.writeDown(next); err != nil {
		return nil, err
	}
	said := changes(f, next)
	for _, h := range next.held {
		said = append(said, fmt.Sprintf("held, as it came later (%s): %s; let go by: wg-apply accept %s", next.why, h, name))
	}
	if _, err = f.write(next); err == nil && seen {
		err = f.past.forget()
	}
	return said, err
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
