package peers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"wg-kube/internal/retry"
	"wg-kube/render/overlay"
	"wg-kube/render/source/kube"
)

// Accepted is the condition of a WireGuardPeer that says whether it is a peer.
const Accepted = "Accepted"

// The reasons of the condition.
const (
	reasonAccepted = "Accepted"      // true: with everything that it claims
	reasonPartly   = "PartlyRefused" // true: something of what it claims is refused, or its last good form stays
	reasonRefused  = "Refused"       // false
	reasonWaiting  = "Waiting"       // false: nothing is wrong, something is not there yet
)

const (
	maxMessage   = 1 << 10          // bytes
	writeTimeout = 15 * time.Second // of one status
)

// Reading is another one whenever everything was read anew.
func (s *Source) Reading() any { return s.objects.Reading() }

// Untold returns those over WireGuardPeers whose status does not say so.
//
// Where several nodes judge, they may differ, and are not to quarrel: each says a judgement once. The first does so again
// when everything was read anew, or it has just become the first. The others leave what they find
// about a generation, and speak when they come to another judgement: so no restart of theirs writes anything.
func (s *Source) Untold(verdicts []overlay.Verdict, first bool) (untold []overlay.Verdict) {
	objects, _ := s.objects.Snapshot()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.judged = make(map[string]object, len(objects))
	for _, o := range objects {
		s.judged[o.peer.UID] = o
	}
	of := s.objects.Reading()
	if first && (of != s.of || !s.first) { // a server that was restored may not have what it was told
		clear(s.told)
	}
	s.of, s.first = of, first
	maps.DeleteFunc(s.told, func(uid string, _ metav1.Condition) bool { _, ok := s.judged[uid]; return !ok })
	for _, v := range verdicts {
		o, ok := s.judged[v.Origin.UID]
		if v.Origin.Kind != overlay.KindWireGuardPeer || !ok || o.peer.Generation != v.Generation {
			continue // of what has changed since there will be another verdict
		}
		if v.Unreadable {
			continue // the API server takes no status for it
		}
		want, is := condition(v), o.condition
		told := s.told[v.Origin.UID]
		found := !first && is != nil && is.ObservedGeneration == v.Generation && told.ObservedGeneration != v.Generation
		switch {
		case found, is != nil && same(*is, want):
			s.told[v.Origin.UID] = want
		case !same(told, want):
			untold = append(untold, v)
		}
	}
	return untold
}

// Answer writes into the status of a WireGuardPeer what became of it. It tries once.
func (s *Source) Answer(ctx context.Context, v overlay.Verdict) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	want := condition(v)
	want.LastTransitionTime = metav1.Now()
	if was := s.judged[v.Origin.UID].condition; was != nil && was.Status == want.Status {
		want.LastTransitionTime = was.LastTransitionTime
	}
	err := kube.ForGood(s.write(ctx, v, want))
	if err == nil || errors.Is(err, retry.ErrNever) {
		s.told[v.Origin.UID] = want
	}
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	return nil
}

// same leaves out when.
func same(a, b metav1.Condition) bool {
	a.LastTransitionTime, b.LastTransitionTime = metav1.Time{}, metav1.Time{}
	return a == b
}

func condition(v overlay.Verdict) metav1.Condition {
	c := metav1.Condition{Type: Accepted, Status: metav1.ConditionFalse, Reason: reasonRefused, ObservedGeneration: v.Generation}
	var claims []string
	waiting := true
	for _, r := range v.Rejections {
		claims = append(claims, r.Claim())
		waiting = waiting && r.Waiting
	}
	c.Message = strings.Join(claims, "; ")
	if len(c.Message) > maxMessage {
		c.Message = c.Message[:maxMessage] + "..."
	}
	switch {
	case v.Granted && len(claims) == 0:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, reasonAccepted, "it is a peer, with all that it claims"
	case v.Granted:
		c.Status, c.Reason = metav1.ConditionTrue, reasonPartly
	case waiting:
		c.Reason = reasonWaiting
	}
	return c
}

// write sets the condition and nothing else. An object that is gone, or another by now, needs none.
func (s *Source) write(ctx context.Context, v overlay.Verdict, c metav1.Condition) error {
	client := s.objects.Client()
	if client == nil {
		return errors.New("no API server is known yet")
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	_, name, _ := strings.Cut(v.Origin.Name, "/")
	_, err = client.ApplyStatus(ctx, name, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": Resource.GroupVersion().String(),
		"kind":       overlay.KindWireGuardPeer,
		"metadata":   map[string]any{"name": name, "uid": v.Origin.UID},
		"status":     map[string]any{"conditions": []any{fields}},
	}}, metav1.ApplyOptions{FieldManager: kube.FieldManager, Force: true})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
