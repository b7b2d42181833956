package render

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wg-kube/render/overlay"
	"wg-kube/templates/wgquick"
)

// TestRefusals: at each moment these are refused (NAME:CLAIM), and this is said: + of one that is refused, - of one that
// is no longer, and how many more there were.
func TestRefusals(t *testing.T) {
	type moment struct {
		at      time.Duration
		refused string
		want    string
	}
	flaps := func(from, n int) (all []moment) { // each a step of a tenth of a second
		for i := from; i < from+n; i++ {
			all = append(all, moment{time.Duration(i) * 100 * time.Millisecond, fmt.Sprint("junk:", i), fmt.Sprintf("+junk:%d -junk:%d", i, i-1)})
		}
		return all
	}
	silent := func(all []moment) []moment {
		for i := range all {
			all[i].want = ""
		}
		return all
	}
	began := flaps(1, 10)
	began[0].want = "+junk:1"
	for name, moments := range map[string][]moment{
		"each once": {
			{0, "a:1 b:1", "+a:1 +b:1"}, {1, "b:1 a:1 a:2", "+a:2"}, {2, "a:1 a:2 b:1", ""}, {3, "a:2 b:2", "-a:1 +b:2 -b:1"}, {4, "", "-a:2 -b:2"}},
		"a dozen of one object, which are mended one by one": {
			{0, "a:1 a:2 a:3 a:4 a:5", "+a:1 +a:2 +a:3 +a:4 +a:5"}, {time.Second, "a:2 a:3 a:4 a:5", "-a:1"},
			{2 * time.Second, "a:3 a:4 a:5", "-a:2"}, {3 * time.Second, "a:5", "-a:3 -a:4"}, {4 * time.Second, "", "-a:5"}},
		"one a minute for a day": func() (all []moment) {
			for i := range 24 * 60 {
				if all = append(all, moment{time.Duration(i) * time.Minute, "a:1", "+a:1"}); i%2 == 1 {
					all[i].refused, all[i].want = "", "-a:1"
				}
			}
			return all
		}(),
		"one that changes all the time is looked at once a minute": slices.Concat(began, silent(flaps(11, 500)), []moment{
			{time.Minute + 200*time.Millisecond, "junk:now", "+junk:now -junk:10 500 more"},
			{time.Minute + 300*time.Millisecond, "junk:then", ""},
			{2*time.Minute + 200*time.Millisecond, "junk:then", "+junk:then -junk:now"}}),
		"the others are told all the same": slices.Concat(began, silent(flaps(11, 20)), []moment{
			{4 * time.Second, "junk:40 good:1", "+good:1"}, {5 * time.Second, "junk:50", "-good:1"}}),
		"and then it is mended": slices.Concat(began, silent(flaps(11, 20)), []moment{
			{4 * time.Second, "", ""}, {time.Minute + time.Second, "", "-junk:10 20 more"}, {time.Hour, "", ""}}),
		"or is as it was when it was last told of": slices.Concat(began, silent(flaps(11, 2)), []moment{
			{4 * time.Second, "junk:10", ""}, {time.Minute + time.Second, "junk:10", "3 more"}}),
	} {
		t.Run(name, func(t *testing.T) {
			var r refusals
			start := time.Now()
			for _, m := range moments {
				var rs []overlay.Rejection
				for _, word := range strings.Fields(m.refused) {
					name, claim, _ := strings.Cut(word, ":")
					rs = append(rs, overlay.Rejection{Origin: wgquick.Origin{Kind: overlay.KindNode, Name: name}, Reason: claim})
				}
				var said []string
				for _, c := range r.take(rs, start.Add(m.at)) {
					for _, refused := range c.refused {
						said = append(said, "+"+refused.Origin.Name+":"+refused.Reason)
					}
					for _, over := range c.over {
						said = append(said, "-"+over.Origin.Name+":"+over.Reason)
					}
					if c.more > 0 {
						said = append(said, fmt.Sprint(c.more, " more"))
					}
				}
				if diff := cmp.Diff(m.want, strings.Join(said, " ")); diff != "" {
					t.Fatalf("%v, with %.100q (-want +got):\n%s", m.at, m.refused, diff)
				}
				if late := r.due.Sub(start.Add(m.at)); !r.due.IsZero() && (late <= 0 || late > changesEvery) {
					t.Fatalf("%v: more is to be said in %v", m.at, late)
				}
			}
			if last := moments[len(moments)-1]; last.refused == "" {
				if r.take(nil, start.Add(last.at+changesAtOnce*changesEvery+1)); len(r.objects) > 0 {
					t.Errorf("%d objects are kept in mind", len(r.objects))
				}
			}
		})
	}
}
