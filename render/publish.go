package render

import (
	"context"
	"fmt"
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
	publishStands  = time.Minute      // what is published anew before that, somebody else writes as well
)

// publisher keeps the own Node as overlay.Publish wants it. It has a goroutine of its own, for an API server that
// answers slowly must not hold up a proposal.
type publisher struct {
	to      Publisher
	policy  overlay.Policy
	log     *slog.Logger
	metrics *Metrics
	said    said
	want    chan marks            // with room for the newest
	last    marks                 // that was offered: what is left out since is to go
	out     bool                  // somebody took our own Node out
	hub     bool                  // our own Node has a hub's label, and is a spoke's
	done    atomic.Bool           // it worked once since the start, so that nothing is left of what an earlier run published
	failed  atomic.Pointer[error] // why the last try did not work; nil: it did
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
	if hub := self.Role == overlay.Spoke && own.Labels[p.policy.Prefix+overlay.LabelHub] == "true"; hub != p.hub {
		if p.hub = hub; hub {
			p.log.Warn("own Node was a hub, and is a spoke now, as --role says: those that it was a hub to lose it", "op", "publish")
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

// run writes what is offered, until ctx is done. Two machines of one name would each put right what the other wrote, for
// ever: so who has to say the same again and again does so less and less often.
func (p *publisher) run(ctx context.Context) error {
	var last marks
	var at time.Time // when that was written
	var times int    // that it had to be written again
	again := retry.Backoff{First: 2 * publishFirst, Last: publishLast}
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-p.want:
			wait := publishFirst
			if m, written := p.publish(ctx, m); written {
				if m.equal(last) && time.Since(at) < publishStands {
					times++
					wait = again.Next()
				} else {
					times = 0
					again.Reset()
				}
				last, at = m, time.Now()
				if times == 3 {
					p.log.Warn("somebody else writes what own Node says: is there another machine of this name?", "op", "publish")
				}
			}
			pause(ctx, wait)
		}
	}
}

// publish tries until it works. Meanwhile m gives way to what is newer. It returns what was published, and whether that
// had to be written.
func (p *publisher) publish(ctx context.Context, m marks) (published marks, written bool) {
	retrying := retry.Backoff{First: publishFirst, Last: publishLast}
	for ctx.Err() == nil {
		written, err := p.try(ctx, m)
		if written {
			p.log.Info("published", "op", "publish")
		}
		if err == nil {
			return m, written
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
	return m, false
}

func (p *publisher) try(ctx context.Context, m marks) (written bool, err error) {
	ctx, stop := context.WithTimeout(ctx, publishTimeout)
	defer stop()
	written, err = p.to.Publish(ctx, m.labels, m.annotations)
	if err != nil {
		p.metrics.published.WithLabelValues("error").Inc()
		p.failed.Store(&err)
		return false, err
	}
	if written {
		p.metrics.published.WithLabelValues("ok").Inc()
	}
	p.said.news("err", "")
	p.failed.Store(nil)
	p.done.Store(true)
	return written, nil
}

// unwritten is why the own Node is not what it should be, nil if nothing is known to be wrong with it.
func (p *publisher) unwritten() error {
	if err := p.failed.Load(); err != nil {
		return fmt.Errorf("own Node not written: %w", *err)
	}
	return nil
}
