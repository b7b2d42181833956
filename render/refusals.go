package render

import (
	"maps"
	"slices"
	"time"

	"wg-kube/render/overlay"
)

const (
	changesAtOnce = 10          // of what is refused of one object: that many are logged as they come
	changesEvery  = time.Minute // and one more each; meanwhile the others are counted
)

// refusals are the claims that are refused or wait, and what the log says of them. It says each once, and once that it
// is over. Of an object that changes all the time it says now and then how things stand. The zero value has none.
type refusals struct {
	now     claims
	objects map[string]*object // by KIND/NAME: those that have any, and those that changed lately
	due     time.Time          // when there is more to say, though nothing changes; zero: never
}

// claims are by line.
type claims map[string]overlay.Rejection

// object is what made claims.
type object struct {
	now, said claims
	more      int       // that were new since the log last said anything
	paid      time.Time // a change costs changesEvery of it, and it may be so many ahead
}

// change is what is to be said of one object.
type change struct {
	object        string
	refused, over []overlay.Rejection // in order
	more          int                 // that were refused, were not said, and are over
}

// take has rs be those there are at that time, and returns what the log is to say.
func (r *refusals) take(rs []overlay.Rejection, at time.Time) (changes []change) {
	r.now, r.due = claims{}, time.Time{}
	if r.objects == nil {
		r.objects = map[string]*object{}
	}
	of := map[string]claims{}
	for _, rejection := range rs {
		name, line := rejection.Origin.String(), rejection.String()
		if of[name] == nil {
			of[name] = claims{}
		}
		r.now[line], of[name][line] = rejection, rejection
		if r.objects[name] == nil {
			r.objects[name] = &object{}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.objects)) {
		o := r.objects[name]
		o.more += len(of[name].without(o.now))
		o.now = of[name]
		refused, over := o.now.without(o.said), o.said.without(o.now)
		due := o.paid.Add(-(changesAtOnce - 1) * changesEvery)
		switch {
		case len(refused)+len(over)+o.more == 0:
			if len(o.now) == 0 && o.paid.Before(at) {
				delete(r.objects, name)
			}
		case due.After(at):
			if r.due.IsZero() || due.Before(r.due) {
				r.due = due
			}
		default:
			changes = append(changes, change{name, refused, over, o.more - len(refused)})
			o.said, o.more = o.now, 0
			if o.paid.Before(at) {
				o.paid = at
			}
			o.paid = o.paid.Add(changesEvery)
		}
	}
	return changes
}

// without are those of c that other does not have, by line.
func (c claims) without(other claims) (rs []overlay.Rejection) {
	for _, line := range slices.Sorted(maps.Keys(c)) {
		if _, ok := other[line]; !ok {
			rs = append(rs, c[line])
		}
	}
	return rs
}

// again is when there is more to say; nil: never, as long as nothing changes. It is said once: what is not taken then
// waits until something is.
func (r *refusals) again() <-chan time.Time {
	if r.due.IsZero() {
		return nil
	}
	due := r.due
	r.due = time.Time{}
	return time.After(time.Until(due))
}
