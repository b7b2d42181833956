package render

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"wg-kube/internal/retry"
	"wg-kube/render/overlay"
)

// listeners are Peers that hear what became of theirs.
type listeners struct {
	*others
	reading int
	refuse  func(overlay.Verdict) error
	heard   []string
}

func (l *listeners) Reading() any {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reading
}

func (l *listeners) Untold(verdicts []overlay.Verdict, _ bool) []overlay.Verdict { return verdicts }

func (l *listeners) Answer(_ context.Context, v overlay.Verdict) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = append(l.heard, fmt.Sprint(v.Origin, " ", v.Granted, " ", len(v.Rejections)))
	return l.refuse(v)
}

func heard(overlay.Verdict) error { return nil }

// newListeners is a hub that runs, and those who are told by it.
func newListeners(t *testing.T, refuse func(overlay.Verdict) error) (*bench, *cluster, *listeners) {
	b, c := newBench(t), newCluster(overlay.Node{Name: "hub-1"})
	c.synced = true
	l := &listeners{others: newOthers(), refuse: refuse}
	b.others = l
	b.run(onlySource{c})
	return b, c, l
}

func (l *listeners) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.heard) == 0 {
		return ""
	}
	return l.heard[len(l.heard)-1]
}

func TestAnswers(t *testing.T) {
	b, _, l := newListeners(t, func(overlay.Verdict) error { return errors.New("forbidden") })
	l.know(nil, laptop())
	b.eventually("it is heard", func() bool { return l.last() == "Secret/ns/laptop true 0" })
	b.eventually("that it cannot be told is said", func() bool { return strings.Contains(b.log.String(), "forbidden") })
	greedy := laptop()
	greedy.AllowedIPs = []string{"0.0.0.0/0"}
	l.know(nil, greedy)
	b.eventually("it is tried again, with what is true now", func() bool { return l.last() == "Secret/ns/laptop false 1" })
	b.logged("not told to whom it concerns", 1)
}

func TestAnswersOnlyOnce(t *testing.T) {
	b, c, l := newListeners(t, heard)
	l.know(nil, laptop())
	b.eventually("it is heard", func() bool { return l.last() != "" })
	c.set(overlay.Node{Name: "hub-1", Labels: map[string]string{prefix + "hub": "true"}})
	l.know(nil, laptop())
	b.still()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.heard) > 2 { // the Node has changed once
		t.Errorf("heard %q", l.heard)
	}
}

// TestAnswersWhenAllIsReadAnew: nothing has changed, but the server may be a restored one, and know nothing of the answer.
func TestAnswersWhenAllIsReadAnew(t *testing.T) {
	b, _, l := newListeners(t, heard)
	l.know(nil, laptop())
	b.eventually("it is heard", func() bool { return l.last() != "" })
	l.mu.Lock()
	l.heard, l.reading = nil, 1
	l.mu.Unlock()
	l.know(nil, laptop())
	b.eventually("it is heard again", func() bool { return l.last() != "" })
}

// TestWhatIsRefusedForGood is said and not tried again, and what comes after it is told.
func TestWhatIsRefusedForGood(t *testing.T) {
	b, _, l := newListeners(t, func(v overlay.Verdict) error {
		if v.Granted {
			return nil
		}
		return fmt.Errorf("%w: invalid", retry.ErrNever)
	})
	greedy := laptop()
	greedy.Name, greedy.UID, greedy.AllowedIPs = "ns/greedy", "2", []string{"0.0.0.0/0"}
	l.know(nil, greedy, laptop())
	b.eventually("both are told", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.heard) == 2 })
	time.Sleep(3 * answerFirst)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.heard) != 2 {
		t.Errorf("told %q", l.heard)
	}
	b.logged("not told to whom it concerns", 1)
	b.logged("tried again", 1) // that it is not
}
