package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"wg-kube/apply/command"
	"wg-kube/apply/plan"
	"wg-kube/templates/status"
	"wg-kube/templates/wgquick"
)

// What wg-quick runs beside ip(8) and wg(8), its hooks and resolvconf, is run only if somebody asked for it, and then
// by these rules:
//
//   - What came from a proposal is never run: not from a file in force that wg-apply wrote, whatever stands in it.
//   - PreUp and PostUp are run when the link is made here, also when it is made anew after somebody deleted it: PreUp
//     once the link is there and before anything else is, PostUp when all is done. Never at another look: an interface
//     that is there already is taken over as it is, and a file that changes runs none of its hooks.
//   - PreDown and PostDown are run when Down or GoneAfter takes the interface down, whoever brought it up.
//   - DNS is set when the link is made and whenever its lines change, and unset when the interface is taken down.
//   - Bringing up is all or nothing: what fails takes the interface down again, without its PreDown and PostDown.
//     Hooks have effects elsewhere, so they are not tried again until the file changes or a person does it. On an
//     interface that is up a failing resolvconf is an error, and is tried again.

// commands are what is run for one file. The zero value is nothing.
type commands struct{ PreUp, PostUp, PreDown, PostDown, DNS []string }

// commands are what may be run of f, which may be nil.
func (c Config) commands(f *wgquick.Config) (run commands) {
	if f == nil || Ours(f) {
		return run
	}
	is := f.Interface
	if c.Hooks {
		run.PreUp, run.PostUp, run.PreDown, run.PostDown = is.PreUp, is.PostUp, is.PreDown, is.PostDown
	}
	if c.DNS && command.Record(is.DNS) != "" {
		run.DNS = is.DNS
	}
	return run
}

// failure is a file whose hooks were run in vain.
type failure struct {
	hash string
	err  error
}

func (i *iface) runner() command.Runner {
	return command.Runner{Iface: i.name, File: i.files.path, Log: i.log}
}

// bringUp makes a new interface, with what is run beside that, or leaves nothing. hooks tells whether one was run.
// PreUp may change what the file means on this machine, and so the plan.
func (i *iface) bringUp(ctx context.Context, p *plan.Plan, run commands) (hooks bool, err error) {
	link, rest := *p, plan.Plan{Interface: p.Interface}
	if len(run.PreUp) > 0 {
		link.Steps = p.Steps[:1]
	}
	if err := i.System.Apply(ctx, link); err != nil {
		return false, err
	}
	hooks, dns := len(run.PreUp) > 0, false
	for _, step := range []func() error{
		func() error { return i.runner().Hooks(ctx, "PreUp", run.PreUp) },
		func() (err error) {
			if hooks {
				rest, err = i.afterPreUp(ctx)
				p.Steps = slices.Concat(link.Steps, rest.Steps)
			}
			return err
		},
		func() error { return i.System.Apply(ctx, rest) },
		func() error { dns = len(run.DNS) > 0; return i.setDNS(ctx, run.DNS) },
		func() error { hooks = hooks || len(run.PostUp) > 0; return i.runner().Hooks(ctx, "PostUp", run.PostUp) },
	} {
		if err = step(); err != nil {
			break
		}
	}
	if err == nil {
		return hooks, nil
	}
	if dns {
		i.unsetDNS(ctx)
	}
	return hooks, errors.Join(err, i.System.Delete(ctx, i.name))
}

// afterPreUp works the meaning of the file out anew, and what leads to it from the bare link.
func (i *iface) afterPreUp(ctx context.Context) (plan.Plan, error) {
	live, err := i.System.Observe(ctx, i.name)
	if err != nil {
		return plan.Plan{}, err
	}
	most, err := i.means(ctx, i.files.inForce.config, nil, i.meaning.resolved, i.files.path)
	if err != nil {
		return plan.Plan{}, err
	}
	i.meaning.want = most.Want
	roam(&most.Want, i.status.Peers, i.quiet)
	return plan.Diff(most.Want, live), nil
}

// takeDown takes the interface down with what is ours, and says so in s. PreDown has been run. An error with an
// interface that is gone is PostDown's.
func (i *iface) takeDown(ctx context.Context, run commands, s *status.Status) (gone bool, err error) {
	if err := i.System.Delete(ctx, i.name); err != nil {
		return false, err
	}
	s.Applied = ""
	if len(run.DNS) > 0 || len(s.DNS) > 0 {
		s.DNS = nil
		i.unsetDNS(ctx)
	}
	return true, i.runner().Hooks(ctx, "PostDown", run.PostDown)
}

// unsetDNS unsets DNS for an interface that is gone. Where that fails there is nothing more to be done.
func (i *iface) unsetDNS(ctx context.Context) {
	if err := i.runner().UnsetDNS(ctx); err != nil {
		i.log.Warn("DNS is not unset", "err", err)
	}
}

// keepDNS makes DNS what the file says, unless that is what it was last made.
func (i *iface) keepDNS(ctx context.Context, s *status.Status, want []string) error {
	if !i.DNS || slices.Equal(want, s.DNS) {
		return nil
	}
	err := i.setDNS(ctx, want)
	if len(want) == 0 {
		err = i.runner().UnsetDNS(ctx)
	}
	if err != nil {
		return err
	}
	s.DNS = want
	return nil
}

// setDNS gives DNS to resolvconf. Nothing to give is nothing to do.
func (i *iface) setDNS(ctx context.Context, dns []string) error {
	if len(dns) == 0 {
		return nil
	}
	return i.runner().SetDNS(ctx, command.Record(dns))
}

// willRun is what a look would run now, in its order, for people.
func (i *iface) willRun(run commands, exists bool) (out []string) {
	hooks := func(kind string, hooks []string) {
		for _, hook := range hooks {
			if !exists {
				out = append(out, kind+": "+wgquick.HideKeys(hook))
			}
		}
	}
	hooks("PreUp", run.PreUp)
	changed := i.DNS && !slices.Equal(run.DNS, i.status.DNS)
	switch {
	case len(run.DNS) > 0 && (changed || !exists):
		out = append(out, fmt.Sprintf("DNS is set to %q", discreet(run.DNS)))
	case changed:
		out = append(out, "DNS is unset")
	}
	hooks("PostUp", run.PostUp)
	return out
}
