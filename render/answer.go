package render

import (
	"context"
	"log/slog"
	"time"

	"wg-kube/render/overlay"
)

const (
	answerHeadStart = 10 * time.Second // of each node that comes before this one
	answerTurns     = 3                // so many nodes answer; what they have said the others need not say
	answerLast      = time.Minute      // the longest wait between two tries
)

// answerer tells those who made claims, by way of one source, what became of them. Like the publisher it holds up no
// proposal.
type answerer struct {
	to   Answerer
	log  *slog.Logger
	said said
	want chan answer // with room for the newest
}

// answer is what is to be told, and how many nodes tell it before this one.
type answer struct {
	verdicts []overlay.Verdict
	turn     int
}

// newAnswerers has one for each source of c that can tell. A spoke tells nobody: it judges for itself alone.
func newAnswerers(c Config) (all []*answerer) {
	sources := []any{c.Nodes}
	for _, p := range c.Peers {
		sources = append(sources, p)
	}
	for _, source := range sources {
		if to, ok := source.(Answerer); ok && c.Self.Role != overlay.Spoke {
			all = append(all, &answerer{to: to, log: c.Log, said: said{}, want: make(chan answer, 1)})
		}
	}
	return all
}

// answer offers what became of the claims in r to be told, if nobody has yet.
func (l *Loop) answer(r *rendered) {
	turn := overlay.Turn(r.inputs.self, r.inputs.now, r.inputs.policy)
	if len(l.answerers) == 0 || r == l.answered || turn >= answerTurns {
		return
	}
	l.answered = r
	now := answer{overlay.Verdicts(r.inputs.now, r.config, r.refused), turn}
	for _, a := range l.answerers {
		select {
		case <-a.want: // an older one
		default:
		}
		a.want <- now
	}
}

// run tells what is offered, until ctx is done.
func (a *answerer) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-a.want:
			pause(ctx, time.Duration(now.turn)*answerHeadStart)
			a.tell(ctx, a.newest(now))
			pause(ctx, publishFirst)
		}
	}
}

// tell tries until it works. Meanwhile now gives way to what is newer.
func (a *answerer) tell(ctx context.Context, now answer) {
	for wait := publishFirst; ctx.Err() == nil; wait = min(2*wait, answerLast) {
		err := a.to.Answer(ctx, now.verdicts)
		if a.said.news("err", text(err)) && ctx.Err() == nil {
			a.log.Warn("not told to whom it concerns; it is tried again", "op", "answer", "err", err)
		}
		if err == nil {
			return
		}
		pause(ctx, wait)
		now = a.newest(now)
	}
}

func (a *answerer) newest(now answer) answer {
	select {
	case newer := <-a.want:
		return newer
	default:
		return now
	}
}
