package kube

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"wg-kube/internal/retry"
	"wg-kube/render/overlay"
	"wg-kube/templates/wgquick"
)

// Claims that are refused become Events about the Node or Secret that makes them, or about a WireGuardPeer that cannot
// have a status because it is of no form: one for all that is refused of an object, or as many as it needs. An Event's
// name says what is in it, so that the API server itself knows those that another node, or this one before it was
// started anew, has sent already.
const (
	eventLife   = time.Hour // that an API server keeps an Event by default
	maxEvents   = 20        // about one object in that time: who changes its mind all the time is not heard for ever
	maxNote     = 1 << 10   // bytes, by the API
	maxInstance = 128       // bytes of who sends an Event, by the API; the name of a Node may be longer
	maxSubject  = 200       // bytes of an object's name in that of an Event
	eventWait   = 15 * time.Second
)

// sent are the Events of the last hour: when, by KIND/NAME of what they are about, for who makes an object anew has
// been heard all the same, and by their own name.
type sent map[string]map[string]time.Time

// forget drops those that the API server has forgotten.
func (s sent) forget(now time.Time) {
	for about, events := range s {
		maps.DeleteFunc(events, func(_ string, at time.Time) bool { return now.Sub(at) > eventLife })
		if len(events) == 0 {
			delete(s, about)
		}
	}
}

// apiVersions of what Events are about.
var apiVersions = map[string]string{
	overlay.KindNode:          "v1",
	overlay.KindSecret:        "v1",
	overlay.KindWireGuardPeer: "wireguard.kube/v1alpha1",
}

// Untold returns those that refuse a claim, are not told in a status, and have not been sent within the hour. Who
// is first does not matter: the API server takes each Event once.
func (s *Source) Untold(verdicts []overlay.Verdict, _ bool) (untold []overlay.Verdict) {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.sent.forget(time.Now())
	for _, v := range verdicts {
		if v.Origin.UID == "" || v.Origin.Kind == overlay.KindWireGuardPeer && !v.Unreadable {
			continue
		}
		if len(s.unsent(v)) > 0 {
			untold = append(untold, v)
		}
	}
	return untold
}

// unsent are the Events about v that are to be sent still.
func (s *Source) unsent(v overlay.Verdict) []*eventsv1.Event {
	sent := s.sent[v.Origin.String()]
	events := slices.DeleteFunc(s.events(v), func(e *eventsv1.Event) bool { return !sent[e.Name].IsZero() })
	return events[:min(len(events), max(0, maxEvents-len(sent)))]
}

// Answer sends the Events about v that have not been sent within the hour. It tries once.
func (s *Source) Answer(ctx context.Context, v overlay.Verdict) error {
	conn := s.inUse()
	if conn == nil {
		return errors.New("event: no API server is known yet")
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	var never error
	for _, e := range s.unsent(v) {
		switch err := conn.send(ctx, e); {
		case errors.Is(err, retry.ErrNever):
			never = fmt.Errorf("event: %w", err)
		case err != nil:
			return fmt.Errorf("event: %w", short(err))
		}
		about := v.Origin.String()
		if s.sent[about] == nil {
			s.sent[about] = map[string]time.Time{}
		}
		s.sent[about][e.Name] = time.Now()
	}
	return never
}

func (c *connection) send(ctx context.Context, e *eventsv1.Event) error {
	ctx, cancel := context.WithTimeout(ctx, eventWait)
	defer cancel()
	_, err := c.events.Events(e.Namespace).Create(ctx, e, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return ForGood(err)
}

// ForGood marks err with retry.ErrNever if the API server would answer the same request with it again.
func ForGood(err error) error {
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err) {
		return fmt.Errorf("%w: %w", retry.ErrNever, err)
	}
	return err
}

// events are those about all that v refuses.
func (s *Source) events(v overlay.Verdict) (events []*eventsv1.Event) {
	about := regarding(v.Origin)
	namespace := cmp.Or(about.Namespace, metav1.NamespaceDefault) // as for all Events about what has none
	subject := strings.TrimRight(about.Name[:min(len(about.Name), maxSubject)], "-.")
	for _, note := range notes(v.Rejections) {
		sum := sha256.Sum256([]byte(v.Origin.UID + "\n" + note))
		events = append(events, &eventsv1.Event{
			ObjectMeta:          metav1.ObjectMeta{Namespace: namespace, Name: subject + "." + hex.EncodeToString(sum[:8])},
			EventTime:           metav1.NowMicro(),
			ReportingController: userAgent,
			ReportingInstance:   middleCut(s.cfg.Node, maxInstance),
			Action:              "Judge",
			Reason:              "ClaimRefused",
			Regarding:           about,
			Note:                note,
			Type:                corev1.EventTypeWarning,
		})
	}
	return events
}

// notes are the claims that are refused, as many in each as it has room for.
func notes(rs []overlay.Rejection) (notes []string) {
	for _, r := range rs {
		claim := r.Claim()
		claim = claim[:min(len(claim), maxNote)]
		last := len(notes) - 1
		switch {
		case r.Waiting:
		case last >= 0 && len(notes[last])+len("; ")+len(claim) <= maxNote:
			notes[last] += "; " + claim
		default:
			notes = append(notes, claim)
		}
	}
	return notes
}

// middleCut is name in at most limit bytes: where it is longer, it is told by its beginning and its end.
func middleCut(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	half := (limit - len("...")) / 2
	return name[:half] + "..." + name[len(name)-half:]
}

func regarding(o wgquick.Origin) corev1.ObjectReference {
	about := corev1.ObjectReference{APIVersion: apiVersions[o.Kind], Kind: o.Kind, Name: o.Name, UID: types.UID(o.UID)}
	if namespace, name, ok := strings.Cut(o.Name, "/"); ok {
		about.Namespace, about.Name = namespace, name
	}
	return about
}
