// Package peers is the source of peers that are WireGuardPeers, in one namespace. It passes on what they say and judges
// no claim; what became of it it writes into their status, and nothing else.
//
// A preshared key is in a Secret of the same namespace, so that whoever may only write WireGuardPeers cannot use what
// is in another. Secrets are watched as soon as a WireGuardPeer refers to one, and not before.
package peers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"wg-kube/render/overlay"
	"wg-kube/render/source/kube"
)

// Source is the WireGuardPeers of one namespace. It is synced when each has been seen once, and each Secret of the
// namespace if one refers to any.
type Source struct {
	objects *kube.Objects[object]
	secrets *kube.Objects[secret]
	changed chan struct{}

	mu     sync.Mutex
	judged map[string]object           // by uid: those there were when Untold was called last
	told   map[string]metav1.Condition // by uid: what was written last, or need not be; of the first, to the server of this reading
	of     any                         // the reading of judged
	first  bool                        // this node's word counts
}

// object is what is kept of a WireGuardPeer.
type object struct {
	peer      overlay.Peer
	ref       *SecretKeyRef
	condition *metav1.Condition // nil: none yet
}

// New has server watch the WireGuardPeers of namespace, while server runs.
func New(server *kube.Source, namespace string) *Source {
	return &Source{
		objects: kube.Watch(server, kube.Resource[object]{
			Kind:      overlay.KindWireGuardPeer + "s",
			Type:      Resource,
			Namespace: namespace,
			Read:      read,
		}),
		secrets: kube.Watch(server, kube.Resource[secret]{
			Kind:      "Secrets",
			Type:      corev1.SchemeGroupVersion.WithResource("secrets"),
			Namespace: namespace,
			Fields:    "type=" + string(corev1.SecretTypeOpaque),
			Later:     true,
			Read:      readSecret,
		}),
		changed: make(chan struct{}, 1),
		told:    map[string]metav1.Condition{},
	}
}

// Run passes on the signals of what is watched, until ctx is done.
func (s *Source) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.objects.Changed():
		case <-s.secrets.Changed():
		}
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
}

// Changed has a signal waiting when Snapshot may return something else than before.
func (s *Source) Changed() <-chan struct{} { return s.changed }

// Kind of the origin of each peer.
func (s *Source) Kind() string { return overlay.KindWireGuardPeer }

// Denied returns why the API server shows no WireGuardPeers.
func (s *Source) Denied() error { return s.objects.Denied() }

// LastSync is when the API server was last heard of; zero: never.
func (s *Source) LastSync() time.Time { return s.objects.LastSync() }

// Snapshot returns the peers by name, with their preshared keys.
func (s *Source) Snapshot() (peers []overlay.Peer, synced bool) {
	objects, synced := s.objects.Snapshot()
	if slices.ContainsFunc(objects, func(o object) bool { return o.ref != nil }) {
		s.secrets.Need()
		secrets, there := s.secrets.Snapshot()
		denied := s.secrets.Denied()
		synced = synced && (there || denied != nil)
		for i := range objects {
			if ref := objects[i].ref; ref != nil {
				objects[i].peer.PresharedKey = preshared(ref, secrets, denied)
			}
		}
	}
	for _, o := range objects {
		peers = append(peers, o.peer)
	}
	slices.SortFunc(peers, func(a, b overlay.Peer) int { return strings.Compare(a.Name, b.Name) })
	return peers, synced
}

func read(u *unstructured.Unstructured) object {
	o := object{peer: overlay.Peer{
		Kind:       overlay.KindWireGuardPeer,
		Name:       u.GetNamespace() + "/" + u.GetName(),
		UID:        string(u.GetUID()),
		Created:    u.GetCreationTimestamp().UTC(),
		Generation: u.GetGeneration(),
	}}
	var w WireGuardPeer
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &w); err != nil {
		o.peer.Err = fmt.Errorf("not of the form of a WireGuardPeer: %w", err)
		return o
	}
	// The API server takes no status for it: to it that is no list at all.
	list, _, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "allowedIPs")
	if elements, _ := list.([]any); slices.Contains(elements, nil) {
		o.peer.Err = errors.New("not of the form of a WireGuardPeer: allowedIPs: null is no CIDR")
		return o
	}
	o.peer.PublicKey, o.peer.Endpoint, o.peer.AllowedIPs = w.Spec.PublicKey, w.Spec.Endpoint, w.Spec.AllowedIPs
	if k := w.Spec.PersistentKeepalive; k != nil {
		o.peer.Keepalive = strconv.FormatInt(*k, 10)
	}
	if o.ref = w.Spec.PresharedKeySecretRef; o.ref != nil {
		o.ref.Key = cmp.Or(o.ref.Key, defaultKey)
	}
	o.condition = meta.FindStatusCondition(w.Status.Conditions, Accepted)
	return o
}
