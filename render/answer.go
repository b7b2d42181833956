package render

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"wg-kube/internal/retry"
	"wg-kube/render/overlay"
)

const (
	answerHeadStart = 10 * time.Second // of each node that comes before this one
	answerTurns     = 3                // so many nodes answer; what they have said the others need not say
	answerFirst     = time.Second      // the wait after the first failure, doubled with each; what comes in it is told together
	answerLast      = time.Minute      // the longest wait between two tries
)

// answerer tells those who made claims, by way of one source, what became of them. Like the publisher it holds up no
// proposal.
type answerer struct {
	to      Answerer
	log     *slog.Logger
	said    said
	want    chan answer // with room for the newest
	backlog backlog
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

// reader is an Answerer that knows when everything was read anew: whoever was restored then may not have what it was told.
type reader interface{ Reading() any }

// answer offers what became of the claims in r to be told, if nobody has yet.
func (l *Loop) answer(r *rendered) {
	readings := make([]any, len(l.answerers))
	for i, a := range l.answerers {
		if of, ok := a.to.(reader); ok {
			readings[i] = of.Reading()
		}
	}
	turn := overlay.Turn(r.inputs.self, r.inputs.now, r.inputs.policy)
	if len(l.answerers) == 0 || r == l.answered && slices.Equal(readings, l.readings) || turn >= answerTurns {
		return
	}
	l.answered, l.readings = r, readings
	now := answer{overlay.Verdicts(r.inputs.now, r.config, r.refused), turn}
	for _, a := range l.answerers {
		select {
		case <-a.want: // an older one
		default:
		}
		a.want <- now
	}
}

// run tells what is offered, until ctx is done. What is newer is heard between two that are told.
func (a *answerer) run(ctx context.Context) error {
	for ctx.Err() == nil {
		select {
		case now := <-a.want:
			a.hear(now)
		default:
		}
		v, wait := a.backlog.next(time.Now())
		if wait == 0 {
			a.tell(ctx, v)
			continue
		}
		pause(ctx, answerFirst)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		case now := <-a.want:
			pause(ctx, time.Duration(now.turn)*answerHeadStart)
			a.hear(now)
		}
	}
	return nil
}

// hear has now wait to be told, or what is newer by now.
func (a *answerer) hear(now answer) {
	select {
	case now = <-a.want:
	default:
	}
	a.backlog.take(a.to.Untold(now.verdicts, now.turn == 0))
}

func (a *answerer) tell(ctx context.Context, v overlay.Verdict) {
	err := a.to.Answer(ctx, v)
	if ctx.Err() != nil {
		return
	}
	msg := "not told to whom it concerns; it is tried again"
	switch {
	case err == nil:
		a.backlog.told(v)
	case errors.Is(err, retry.ErrNever):
		msg = "not told to whom it concerns"
		a.backlog.told(v)
	default:
		a.backlog.failed(v, time.Now())
	}
	if a.said.news(v.Origin.Kind, text(err)) {
		a.log.Warn(msg, "op", "answer", "peer", v.Origin.String(), "err", err)
	}
}
