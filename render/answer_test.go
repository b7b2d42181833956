package render

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"wg-kube/render/overlay"
)

// listeners are Peers that hear what became of theirs.
type listeners struct {
	*others
	refuse error
	heard  []string
}

func (l *listeners) Answer(_ context.Context, verdicts []overlay.Verdict) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range verdicts {
		l.heard = append(l.heard, fmt.Sprint(v.Origin, " ", v.Granted, " ", len(v.Rejections)))
	}
	return l.refuse
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
	b := newBench(t)
	c := newCluster(overlay.Node{Name: "hub-1"})
	c.synced = true
	l := &listeners{others: newOthers(), refuse: errors.New("forbidden")}
	b.others = l
	b.run(onlySource{c})
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
	b := newBench(t)
	c := newCluster(overlay.Node{Name: "hub-1"})
	c.synced = true
	l := &listeners{others: newOthers()}
	b.others = l
	b.run(onlySource{c})
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
