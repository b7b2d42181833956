// Package secrets is the source of peers that are Secrets: those in one namespace that carry the label
// app=wireguard-peer. It passes on what they say and judges no claim.
//
// Of a Secret it keeps the peer alone, and a preshared key in no other form than that which is never printed.
package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"wg-kube/render/overlay"
	"wg-kube/render/source/kube"
	"wg-kube/templates/wgquick"
)

// Selector is the label of a Secret that is a peer.
const Selector = "app=wireguard-peer"

// The keys of such a Secret. Others are not read.
const (
	publicKey    = "public-key"    // base64
	endpoint     = "endpoint"      // IP:port; optional
	allowedIPs   = "allowed-ips"   // CIDRs, a JSON list or comma-separated
	presharedKey = "preshared-key" // base64; optional
)

// What is longer than this is wrong, and is not kept whole.
const (
	maxValue = 1 << 8  // bytes of a key or an endpoint
	maxList  = 1 << 16 // bytes of allowed-ips
)

// Source is the Secrets of one namespace. It is synced when each has been seen once.
type Source struct {
	*kube.Objects[overlay.Peer]
}

// New has server watch the Secrets of namespace, while server runs.
func New(server *kube.Source, namespace string) Source {
	return Source{kube.Watch(server, kube.Resource[overlay.Peer]{
		Kind:      "Secrets",
		Type:      corev1.SchemeGroupVersion.WithResource("secrets"),
		Namespace: namespace,
		Labels:    Selector,
		Read:      read,
	})}
}

// Run waits until ctx is done: the server does the work.
func (s Source) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Kind of the origin of each peer.
func (s Source) Kind() string { return overlay.KindSecret }

// Snapshot returns the peers by name.
func (s Source) Snapshot() (peers []overlay.Peer, synced bool) {
	peers, synced = s.Objects.Snapshot()
	slices.SortFunc(peers, func(a, b overlay.Peer) int { return strings.Compare(a.Name, b.Name) })
	return peers, synced
}

func read(u *unstructured.Unstructured) overlay.Peer {
	p := overlay.Peer{
		Kind:    overlay.KindSecret,
		Name:    u.GetNamespace() + "/" + u.GetName(),
		UID:     string(u.GetUID()),
		Created: u.GetCreationTimestamp().UTC(),
	}
	var s corev1.Secret
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &s); err != nil {
		p.Err = errors.New("not of the form of a Secret") // err may say what is in it
		return p
	}
	p.PublicKey = head(s.Data[publicKey], maxValue)
	p.Endpoint = head(s.Data[endpoint], maxValue)
	p.AllowedIPs = list(s.Data[allowedIPs])
	if b, ok := s.Data[presharedKey]; ok {
		p.PresharedKey.Key, p.PresharedKey.Err = wgquick.ParseSecretKey(string(bytes.TrimSpace(b)))
		if p.PresharedKey.Err == nil && p.PresharedKey.Key.IsZero() {
			p.PresharedKey.Err = errors.New("the zero key is none")
		}
	}
	return p
}

// head is b, or so much of it that it is still wrong.
func head(b []byte, limit int) string { return string(b[:min(len(b), limit)]) }

// list splits what is a JSON list or separated by commas. What is neither, or too long, is one element, and no CIDR; nor is
// an element that is no string.
func list(b []byte) (elements []string) {
	s := string(bytes.TrimSpace(b))
	var raw []json.RawMessage
	switch {
	case len(s) > maxList:
		return []string{fmt.Sprintf("(%d bytes, more than %d)", len(s), maxList)}
	case s == "":
		return nil
	case strings.HasPrefix(s, "[") && json.Unmarshal([]byte(s), &raw) == nil:
		elements = make([]string, 0, len(raw)) // that it is empty is said as well
		for _, r := range raw {
			element := string(r)
			if r[0] == '"' {
				_ = json.Unmarshal(r, &element) // it is valid
			}
			elements = append(elements, element)
		}
		return elements
	case strings.HasPrefix(s, "["):
		return []string{s}
	}
	return strings.Split(s, ",")
}
