package render

import (
	"cmp"
	"math"
	"slices"
	"time"

	"wg-kube/internal/retry"
	"wg-kube/render/overlay"
	"wg-kube/templates/wgquick"
)

// backlog is what is to be told and has not been, one verdict for each object. An API server takes a few a second, and
// there may be thousands, so nobody may keep another waiting by having more to say. The kinds take turns: no Node waits
// behind a tenant's Secrets. Of a kind the newest is told, then the one that has waited for longest, and so on: who
// comes now is told now, and nobody waits for ever. The zero value is empty.
type backlog struct {
	waiting map[wgquick.Origin]*untold
	kinds   map[string]*turns
	count   int // of what came in and of turns: the order of things
}

type untold struct {
	overlay.Verdict
	since  int // by count
	failed int // how often
}

// turns are those of one kind.
type turns struct {
	last    int // by count
	newest  bool
	backoff retry.Backoff
	again   time.Time // not before; the zero value: at once
}

// take has vs wait, and nothing else. What waits already and has not changed keeps its place.
func (b *backlog) take(vs []overlay.Verdict) {
	was := b.waiting
	b.waiting = make(map[wgquick.Origin]*untold, len(vs))
	if b.kinds == nil {
		b.kinds = map[string]*turns{}
	}
	for _, v := range vs {
		b.count++
		now := &untold{Verdict: v, since: b.count}
		if u := was[v.Origin]; u != nil {
			now.failed = u.failed
			if u.Granted == v.Granted && slices.Equal(u.Rejections, v.Rejections) {
				now.since = u.since
			}
		}
		b.waiting[v.Origin] = now
		if b.kinds[v.Origin.Kind] == nil {
			b.kinds[v.Origin.Kind] = &turns{backoff: retry.Backoff{First: answerFirst, Last: answerLast}}
		}
	}
}

// next is the verdict whose turn it is, which stays until it is told. Else wait is how long there will be none, unless
// there is more to take.
func (b *backlog) next(now time.Time) (v overlay.Verdict, wait time.Duration) {
	var next *untold
	wait = math.MaxInt64
	for _, u := range b.waiting {
		if due := b.kinds[u.Origin.Kind].again.Sub(now); due > 0 {
			wait = min(wait, due)
		} else if next == nil || b.compare(u, next) < 0 {
			next = u
		}
	}
	if next == nil {
		return overlay.Verdict{}, wait
	}
	b.count++
	of := b.kinds[next.Origin.Kind]
	of.last, of.newest = b.count, !of.newest
	return next.Verdict, 0
}

// compare says which is told first. What has failed comes after what has not.
func (b *backlog) compare(u, o *untold) int {
	of, age := b.kinds[u.Origin.Kind], cmp.Compare(u.since, o.since)
	if !of.newest {
		age = -age
	}
	return cmp.Or(
		cmp.Compare(of.last, b.kinds[o.Origin.Kind].last),
		cmp.Compare(u.Origin.Kind, o.Origin.Kind),
		cmp.Compare(u.failed, o.failed),
		age)
}

// told takes in that v was told, or never will be.
func (b *backlog) told(v overlay.Verdict) {
	b.kinds[v.Origin.Kind].backoff.Reset()
	delete(b.waiting, v.Origin)
}

// failed takes in that v could not be told now. All of its kind wait: what failed was seldom the fault of this one.
func (b *backlog) failed(v overlay.Verdict, now time.Time) {
	of := b.kinds[v.Origin.Kind]
	of.again = now.Add(of.backoff.Next())
	b.waiting[v.Origin].failed++
}
