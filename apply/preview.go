package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"wg-kube/apply/plan"
	"wg-kube/templates/wgquick"
)

// Preview is what Once would do.
type Preview struct {
	File   []string  // the changes of the file in force, for people
	Device plan.Plan // the changes of the device
	Run    []string  // what is run beside that
	Later  []string  // what waits for something else, for which Once fails; no change
	Held   []string  // what waits for a person; no change
}

// Empty reports whether there is nothing to do.
func (p Preview) Empty() bool { return len(p.File) == 0 && p.Device.Empty() && len(p.Run) == 0 }

// String is the changes of the file as comments, then those of the device as commands.
func (p Preview) String() string {
	var b strings.Builder
	for _, line := range p.File {
		fmt.Fprintf(&b, "# %s\n", line)
	}
	b.WriteString(p.Device.String())
	for _, line := range p.Run {
		fmt.Fprintf(&b, "# run: %s\n", line)
	}
	for _, line := range p.Later {
		fmt.Fprintf(&b, "# later: %s\n", line)
	}
	for _, line := range p.Held {
		fmt.Fprintf(&b, "# held: %s\n", line)
	}
	return b.String()
}

// Preview works out what Once would do. It changes nothing at all.
func (c Config) Preview(ctx context.Context, name string) (Preview, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	i := c.newIface(name, func() {})
	f := i.files
	if err := f.readQuiet(ctx); err != nil {
		return Preview{}, err
	}
	if wrong := slices.Concat(f.proposal.faults(), f.inForce.faults()); len(wrong) > 0 {
		return Preview{}, errors.New(strings.Join(wrong, "\n"))
	}
	i.names.ask(ctx, f.inForce.config, f.proposal.config)
	i.names.first(ctx, nameWait)
	var p Preview
	config, held, why := f.inForce.config, f.held(i.status), i.status.HeldWhy
	if f.takesProposals {
		key, made, err := c.choose(ctx, f, i.status.PublicKey)
		if err != nil {
			return Preview{}, err
		}
		next, err := i.draft(ctx, key, nil, nil)
		if err == nil && next != nil {
			err = f.writeDown(next)
		}
		if err != nil {
			return Preview{}, err
		}
		if made {
			p.File = append(p.File, c.Keys(name).Dir+": a private key is made")
		}
		if next != nil {
			p.File = append(p.File, changes(f, next)...)
			config, held, why = next.config, next.held, next.heldWhy(why)
			p.Later = slices.Concat(next.refused, faults(next.keeps))
		}
	}
	if len(held) > 0 && why != "" {
		p.Held = append(p.Held, why)
	}
	for _, h := range held {
		p.Held = append(p.Held, fmt.Sprintf("%s; let go by: wg-apply accept %s", h, name))
	}
	if config == nil {
		return p, fmt.Errorf("%s: there is no such file", f.path)
	}
	if _, err := os.Lstat(c.downFile(name)); err == nil {
		p.File = append(p.File, name+` is down, because somebody said so; "wg-apply once `+name+`" brings it up`)
	}
	err := i.previewDevice(ctx, config, &p)
	return p, err
}

func (i *iface) previewDevice(ctx context.Context, config *wgquick.Config, p *Preview) error {
	resolved, unknown := i.names.resolved(config)
	p.Later = append(p.Later, unknown...)
	live, err := i.System.Observe(ctx, i.name)
	if err != nil {
		return err
	}
	most, err := i.means(ctx, config, nil, resolved, i.files.path)
	if err != nil {
		return err
	}
	p.Later = append(p.Later, faultLines(most.Refused)...)
	p.Device = i.compare(most.Want, &live, i.status.Peers)
	p.Run = i.willRun(i.commands(config), live.Exists)
	return nil
}

// changes says in words how a draft differs from the file in force.
func changes(f *files, d *draft) []string {
	if hash(d.b) == f.inForce.hash {
		return nil
	}
	next := d.config
	was := f.inForce.config
	if was == nil {
		was = &wgquick.Config{}
	}
	out := []string{f.path + " changes, from " + f.proposalPath}
	before := map[wgquick.PublicKey]*wgquick.Peer{}
	for n := range was.Peers {
		before[was.Peers[n].PublicKey] = &was.Peers[n]
	}
	only := func(p *wgquick.Peer) *wgquick.Config { return &wgquick.Config{Peers: []wgquick.Peer{*p}} }
	for n := range next.Peers {
		p := &next.Peers[n]
		old, ok := before[p.PublicKey]
		delete(before, p.PublicKey)
		switch {
		case !ok:
			out = append(out, "  + "+label(p))
		case !only(old).SameMeaning(only(p)):
			out = append(out, "  ~ "+label(p))
		}
	}
	for n := range was.Peers {
		if p := &was.Peers[n]; before[p.PublicKey] != nil {
			out = append(out, "  - "+label(p))
		}
	}
	a, z := *was, *next
	a.Peers, z.Peers = nil, nil
	switch {
	case !a.SameMeaning(&z):
		out = append(out, "  ~ [Interface]")
	case len(out) == 1:
		out = append(out, "  its order or comments alone")
	}
	return out
}

func label(p *wgquick.Peer) string {
	line := "[Peer] " + p.PublicKey.String()
	if o := p.Origin.String(); o != "" {
		line = "[Peer] " + o + " " + p.PublicKey.String()
	}
	for n, a := range p.AllowedIPs {
		switch {
		case n == 0:
			line += " " + a.String()
		case n < 4:
			line += ", " + a.String()
		case n == 4:
			line += fmt.Sprintf(" and %d more", len(p.AllowedIPs)-n)
		}
	}
	return line
}
