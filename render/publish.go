package render

import (
	"context"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"wg-kube/internal/retry"
	"wg-kube/render/overlay"
)

const (
	publishTimeout = 30 * time.Second
	publishFirst   = time.Second      // the wait after the first failure, doubled with each; also the least time between two
	publishLast    = 30 * time.Second // the longest wait
)

// publisher keeps the own Node as overlay.Publish wants it. It has a goroutine of its own, for an API server that
// answers slowly must not hold up a proposal.
type publisher struct {
	to      Publisher
	policy  overlay.Policy
	log     *slog.Logger
	metrics *Metrics
	said    said
	want    chan marks  // with room for the newest
	last    marks       // that was offered: what is left out since is to go
	out     bool        // somebody took our own Node out
	done    atomic.Bool // it worked once since the start, so that nothing is left of what an earlier run published
}

// marks are the labels and annotations of a Node, or some of them.
type marks struct{ labels, annotations map[string]string }

func (m marks) equal(o marks) bool {
	return maps.Equal(m.labels, o.labels) && maps.Equal(m.annotations, o.annotations)
}

func newPublisher(to Publisher, c Config) *publisher {
	return &publisher{
		to:      to,
		policy:  c.Policy,
		log:     c.Log.With("node", c.Self.Node),
		metrics: c.Metrics,
		said:    said{},
		want:    make(chan marks, 1),
	}
}

// offer asks for a write of the own Node, if it is not as it should be.
func (p *publisher) offer(self overlay.Self, own overlay.Node) {
	if self.PublicKey.IsZero() {
		return // nobody can peer with it, and the key that the Node has may be right
	}
	if out := overlay.TakenOut(self, own, p.policy); out != p.out {
		if p.out = out; out {
			p.log.Warn("own Node has our key and no label: somebody took it out of the overlay, and can put it back",
				"op", "publish")
		}
	}
	labels, annotations := overlay.Publish(self, own, p.policy)
	now := marks{labels, annotations}
	if p.done.Load() && now.equal(p.last) && holds(own.Labels, labels) && holds(own.Annotations, annotations) {
		return
	}
	p.last = now
	select {
	case <-p.want: // an older one
	default:
	}
	p.want <- now
}

func holds(have, want map[string]string) bool {
	for k, v := range want {
		if was, ok := have[k]; !ok || was != v {
			return false
		}
	}
	return true
}

// run writes what is offered, until ctx is done.
func (p *publisher) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-p.want:
			p.publish(ctx, m)
			pause(ctx, publishFirst)
		}
	}
}

// publish tries until it works. Meanwhile m gives way to what is newer.
func (p *publisher) publish(ctx context.Context, m marks) {
	retrying := retry.Backoff{First: publishFirst, Last: publishLast}
	for ctx.Err() == nil {
		written, err := p.try(ctx, m)
		if written {
			p.log.Info("published", "op", "publish")
		}
		if err == nil {
			return
		}
		if p.said.news("err", err.Error()) && ctx.Err() == nil {
			p.log.Warn("own Node not written; it is tried again", "op", "publish", "err", err)
		}
		pause(ctx, retrying.Next())
		select {
		case m = <-p.want:
		default:
		}
	}
}

func (p *publisher) try(ctx context.Context, m marks) (written bool, err error) {
	ctx, stop := context.WithTimeout(ctx, publishTimeout)
	defer stop()
	written, err = p.to.Publish(ctx, m.labels, m.annotations)
	if err != nil {
		p.metrics.published.WithLabelValues("error").Inc()
		return false, err
	}
	if written {
		p.metrics.published.WithLabelValues("ok").Inc()
	}
	p.said.news("err", "")
	p.done.Store(true)
	return written, nil
}
