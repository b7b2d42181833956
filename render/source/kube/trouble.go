package kube

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// trouble tells what is wrong with the watches: when it begins, when it becomes something else, and when it is
// over; not with every try.
type trouble struct {
	log *slog.Logger
	mu  sync.Mutex
	now map[string]failure // by watch
}

type failure struct {
	reason metav1.StatusReason
	err    error // nil: what is not Nodes may not be read, and is done without
}

func newTrouble(log *slog.Logger) *trouble {
	return &trouble{log: log, now: map[string]failure{}}
}

// first is the failure of the first watch by name that has one.
func (t *trouble) first() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(t.now)) {
		if err := t.now[what].err; err != nil {
			return fmt.Errorf("cannot read %s: %w", what, err)
		}
	}
	return nil
}

// over takes in that the watch what runs.
func (t *trouble) over(kind, what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, was := t.now[what]; was {
		delete(t.now, what)
		t.log.Info("reads "+kind+" again", "op", "watch "+what)
	}
}

// forgotten reports whether err is that the server cannot go on from a time as long ago, or not yet there.
func forgotten(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// is takes in why a request of the watch what, of that kind, failed. It returns that in words.
func (t *trouble) is(kind, what string, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, was := failure{reason: reasonOf(err)}, t.now[what]
	needed := kind == "Nodes" || !denies(err)
	err = explain(kind, now.reason, short(err))
	if needed {
		now.err = err
	}
	_, known := t.now[what]
	t.now[what] = now
	if known && was.reason == now.reason {
		return err
	}
	t.log.Error("cannot read "+kind, "op", "watch "+what, "err", err)
	return err
}

// stalled takes in that the stream of the watch what has not come to its end.
func (t *trouble) stalled(what string, after time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.now[what]; known {
		return
	}
	t.log.Warn("the API server does not end its first list: asks for it in one piece",
		"op", "watch "+what, "err", fmt.Errorf("no end of the stream in %v", after))
}

// untrusted is the reason that no server gives: it is not the one that the credential is for.
const untrusted metav1.StatusReason = "Untrusted"

func reasonOf(err error) metav1.StatusReason {
	if errors.As(err, new(*tls.CertificateVerificationError)) {
		return untrusted
	}
	return apierrors.ReasonForError(err)
}

// explain adds to err what to do about it.
func explain(kind string, reason metav1.StatusReason, err error) error {
	switch {
	case reason == metav1.StatusReasonNotFound:
		return fmt.Errorf("%w: the API server knows no %s: has their CustomResourceDefinition been applied?", err, kind)
	case reason == metav1.StatusReasonForbidden && kind != "Nodes":
		return fmt.Errorf("%w: bind a Role that may list and watch %s to this user", err, strings.ToLower(kind))
	case reason == metav1.StatusReasonForbidden && strings.Contains(err.Error(), `"system:node:`):
		return fmt.Errorf("%w: since Kubernetes 1.32 a kubelet's credential reads only its own Node: "+
			"give wg-render a credential of its own, or bind a ClusterRole that may list and watch nodes "+
			"to the group system:nodes", err)
	case reason == metav1.StatusReasonForbidden:
		return fmt.Errorf("%w: bind a ClusterRole that may list and watch nodes to this user", err)
	case reason == untrusted:
		return fmt.Errorf("%w: this is not the API server, or the credential has another's certificate authority", err)
	case reason == metav1.StatusReasonUnauthorized:
		return fmt.Errorf("%w: the credential is not, or no longer, accepted", err)
	}
	return err
}

// short says of a request that got no answer where it went and what became of it, without its long URL.
func short(err error) error {
	var request *url.Error
	if !errors.As(err, &request) {
		return err
	}
	server, why := request.URL, request.Err
	if u, err := url.Parse(request.URL); err == nil {
		server = u.Host
	}
	var op *net.OpError
	if errors.As(why, &op) {
		why = op.Err
	}
	return fmt.Errorf("%s: %w", server, why)
}
