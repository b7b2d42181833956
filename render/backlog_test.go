package render

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"wg-kube/render/overlay"
	"wg-kube/templates/wgquick"
)

func verdictsOf(words string) (vs []overlay.Verdict) {
	for _, word := range strings.Fields(words) {
		word, reason, _ := strings.Cut(word, ":")
		kind, name, _ := strings.Cut(word, "/")
		o := wgquick.Origin{Kind: kind, Name: name}
		vs = append(vs, overlay.Verdict{Origin: o, Rejections: []overlay.Rejection{{Origin: o, Reason: reason}}})
	}
	return vs
}

// TestBacklog: in each step some are taken (KIND/NAME:REASON), then those are told that can be (with a "?" it fails),
// as many as are wanted in it. A step comes an hour after the one before.
func TestBacklog(t *testing.T) {
	type step struct{ take, want string }
	for name, steps := range map[string][]step{
		"nothing": {{"", ""}},
		"the newest, the oldest, and so on": {
			{"Node/a Node/b Node/c Node/d Node/e", "Node/e Node/a Node/d Node/b Node/c"}},
		"the kinds take turns": {
			{"Node/a Secret/a Secret/b Secret/c Node/b Secret/d", "Node/b Secret/d Node/a Secret/a Secret/c Secret/b"}},
		"a kind that was silent for long has one turn as well": {
			{"Secret/a Secret/b Secret/c Secret/d Secret/e", "Secret/e Secret/a"},
			{"Secret/b Secret/c Secret/d Node/a Node/b", "Node/b Secret/d Node/a Secret/b Secret/c"}},
		"a newcomer is told now": {
			{"Node/a Node/b Node/c Node/d Node/e", "Node/e Node/a"},
			{"Node/a0 Node/b Node/c Node/d", "Node/a0 Node/b Node/d Node/c"}},
		"and so is who says something else": {
			{"Node/a Node/b Node/c Node/d", "Node/d Node/a"},
			{"Node/b:other Node/c", "Node/b Node/c"}},
		"who says something else all the time keeps nobody waiting": {
			{"Node/a Node/b Node/z:0", "Node/z"},
			{"Node/a Node/b Node/z:1", "Node/a"},
			{"Node/b Node/z:2", "Node/z"},
			{"Node/b Node/z:3", "Node/b Node/z"}},
		"who goes is forgotten": {
			{"Node/a Node/b Node/c", "Node/c"},
			{"Node/b", "Node/b"}},
		"who fails comes last, and others of the kind wait a while": {
			{"Node/a Node/b Node/c Secret/a Secret/b", "Node/c? Secret/b Secret/a"},
			{"Node/a Node/b Node/c", "Node/a Node/b Node/c?"},
			{"Node/c Node/d", "Node/d Node/c?"},
			{"Node/c", "Node/c"}},
	} {
		t.Run(name, func(t *testing.T) {
			var b backlog
			var now time.Time
			for _, s := range steps {
				now = now.Add(time.Hour)
				b.take(verdictsOf(s.take))
				var got []string
				for _, want := range strings.Fields(s.want) {
					v, wait := b.next(now)
					if wait > 0 {
						break
					}
					if strings.HasSuffix(want, "?") {
						got = append(got, fmt.Sprint(v.Origin, "?"))
						b.failed(v, now)
					} else {
						got = append(got, v.Origin.String())
						b.told(v)
					}
				}
				if got := strings.Join(got, " "); got != s.want {
					t.Fatalf("of %s are told %s, want %s", s.take, got, s.want)
				}
			}
			if v, wait := b.next(now.Add(time.Hour)); wait == 0 {
				t.Errorf("%s is left", v.Origin)
			}
		})
	}
}

// TestBacklogRests: while a kind waits, it is not tried, and it is known for how long.
func TestBacklogRests(t *testing.T) {
	var b backlog
	now := time.Now()
	b.take(verdictsOf("Node/a Node/b"))
	for n := range 20 {
		v, wait := b.next(now)
		if wait > 0 {
			t.Fatalf("after %d failures: none for another %s", n, wait)
		}
		b.failed(v, now)
		if _, wait = b.next(now); wait < answerFirst/2 || wait > answerLast || n > 8 && wait < answerLast/2 {
			t.Fatalf("after %d failures: none for %s", n+1, wait)
		}
		now = now.Add(wait)
	}
}
