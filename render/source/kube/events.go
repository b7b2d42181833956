package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"wg-kube/render/overlay"
	"wg-kube/templates/wgquick"
)

// Claims that are refused become Events about the Node or Secret that makes them, or about a WireGuardPeer that cannot
// have a status because it is of no form: one for each object, field, value and reason. An Event's name says which, so
// that the API server itself knows those that another node, or this one before it was started anew, has sent already.
const (
	eventLife  = time.Hour // that an API server keeps an Event by default
	maxEvents  = 20        // about one object in that time: who changes its mind all the time is not heard for ever
	maxNote    = 1 << 10   // bytes, by the API
	maxSubject = 200       // bytes of an object's name in that of an Event
	eventWait  = 15 * time.Second
)

// sent are the Events of the last hour.
type sent map[string]sentEvent // by name

type sentEvent struct {
	uid string // of what it is about
	at  time.Time
}

// forget drops those that the API server has forgotten.
func (s sent) forget(now time.Time) {
	for name, e := range s {
		if now.Sub(e.at) > eventLife {
			delete(s, name)
		}
	}
}

func (s sent) about(uid string) (n int) {
	for _, e := range s {
		if e.uid == uid {
			n++
		}
	}
	return n
}

// apiVersions of what Events are about.
var apiVersions = map[string]string{
	overlay.KindNode:          "v1",
	overlay.KindSecret:        "v1",
	overlay.KindWireGuardPeer: "wireguard.kube/v1alpha1",
}

// Answer sends an Event about each claim that is refused and is not told in a status, if it has not been sent within
// the hour. It tries once.
func (s *Source) Answer(ctx context.Context, verdicts []overlay.Verdict) error {
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	if conn == nil {
		return errors.New("events: no API server is known yet")
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	s.sent.forget(time.Now())
	var first error // of those with which the others have nothing to do
	for _, v := range verdicts {
		if v.Origin.UID == "" || v.Origin.Kind == overlay.KindWireGuardPeer && !v.Unreadable {
			continue
		}
		for _, r := range v.Rejections {
			e := s.event(r)
			if _, ok := s.sent[e.Name]; ok || r.Waiting || s.sent.about(v.Origin.UID) >= maxEvents {
				continue
			}
			switch err := conn.send(ctx, e); {
			case err == nil:
				s.sent[e.Name] = sentEvent{v.Origin.UID, time.Now()}
			case apierrors.ReasonForError(err) == metav1.StatusReasonUnknown: // no answer
				return fmt.Errorf("%s: event: %w", v.Origin, short(err))
			case first == nil:
				first = fmt.Errorf("%s: event: %w", v.Origin, err)
			}
		}
	}
	return first
}

func (c *connection) send(ctx context.Context, e *eventsv1.Event) error {
	ctx, cancel := context.WithTimeout(ctx, eventWait)
	defer cancel()
	_, err := c.events.Events(e.Namespace).Create(ctx, e, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (s *Source) event(r overlay.Rejection) *eventsv1.Event {
	about := regarding(r.Origin)
	namespace := about.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault // as for all Events about what has none
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{r.Origin.UID, r.Field, r.Value, r.Reason}, "\n")))
	subject := strings.TrimRight(about.Name[:min(len(about.Name), maxSubject)], "-.")
	note := r.Claim()
	return &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: namespace, Name: subject + "." + hex.EncodeToString(sum[:8])},
		EventTime:           metav1.NowMicro(),
		ReportingController: userAgent,
		ReportingInstance:   s.cfg.Node,
		Action:              "Judge",
		Reason:              "ClaimRefused",
		Regarding:           about,
		Note:                note[:min(len(note), maxNote)],
		Type:                corev1.EventTypeWarning,
	}
}

func regarding(o wgquick.Origin) corev1.ObjectReference {
	about := corev1.ObjectReference{APIVersion: apiVersions[o.Kind], Kind: o.Kind, Name: o.Name, UID: types.UID(o.UID)}
	if namespace, name, ok := strings.Cut(o.Name, "/"); ok {
		about.Namespace, about.Name = namespace, name
	}
	return about
}
