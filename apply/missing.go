package apply

import (
	"context"
	"time"
)

// missing is a file in force that is not there. What it brought up stays.
func (i *iface) missing(ctx context.Context, l *look) {
	i.right = false
	if l.status.Applied == "" {
		if len(l.wrong()) == 0 {
			l.status.Waiting = i.files.waitsFor()
		}
		return
	}
	if i.gone.IsZero() {
		i.gone = time.Now()
	}
	since := time.Since(i.gone)
	switch {
	case since < i.Settle: // an editor may be about to put it back
		l.status = i.status
		l.again = i.Settle - since
	case i.GoneAfter > 0 && since >= i.GoneAfter:
		i.abandon(context.WithoutCancel(ctx), l)
	default:
		what := i.files.path + ": gone; the interface stays as it is"
		if i.GoneAfter > 0 {
			what += ", until it is gone for " + i.GoneAfter.String()
			l.again = i.GoneAfter - since
		}
		l.status.Warnings = append(l.status.Warnings, what)
	}
}

// waitsFor is the path of what makes the file in force.
func (f *files) waitsFor() string {
	if f.takesProposals {
		return f.proposalPath
	}
	return f.path
}

// abandon takes down an interface whose file is gone, with the hooks that were last in it. Nobody is there to put a
// hook right that fails.
func (i *iface) abandon(ctx context.Context, l *look) {
	if i.was == nil && i.Hooks {
		i.log.Warn(i.files.path + ": gone since before this wg-apply began: its PreDown and PostDown are not known")
	}
	run := i.commands(i.was)
	if err := i.runner().Hooks(ctx, "PreDown", run.PreDown); err != nil {
		i.log.Error("goes down nevertheless", "err", err)
	}
	gone, err := i.takeDown(ctx, run, &l.status)
	if !gone {
		l.fail(err)
		return
	}
	if err != nil {
		i.log.Error("went down nevertheless", "err", err)
	}
	l.status.Peers = nil
	i.log.Info("taken down", "reason", i.files.path+" is gone for "+i.GoneAfter.String())
}
