package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	apply "k8s.io/client-go/applyconfigurations/core/v1"
)

// FieldManager is under whose name the API server keeps what Publish set: what is set under it and left out the
// next time is removed; what others set stays.
const FieldManager = "wg-kube"

// publishTimeout bounds one try.
const publishTimeout = 15 * time.Second

// published is what the own Node was last told to say.
type published struct {
	uid                 string
	labels, annotations map[string]string
}

func (p published) equal(o published) bool {
	return p.uid == o.uid && maps.Equal(p.labels, o.labels) && maps.Equal(p.annotations, o.annotations)
}

// Publish sets these labels and annotations on the own Node. Those that it set before and that are not among them
// are removed. It tries once, and asks nothing of the API server when the Node says all of it already.
func (s *Source) Publish(ctx context.Context, labels, annotations map[string]string) error {
	for _, key := range slices.Concat(slices.Sorted(maps.Keys(labels)), slices.Sorted(maps.Keys(annotations))) {
		if !strings.HasPrefix(key, s.cfg.Prefix) {
			return fmt.Errorf("node %s: %s: not ours to set: it does not begin with %s", s.cfg.Node, key, s.cfg.Prefix)
		}
	}
	s.mu.Lock()
	conn, last := s.conn, s.published
	s.mu.Unlock()
	if conn == nil {
		return fmt.Errorf("node %s: publish: no API server is known yet", s.cfg.Node)
	}
	own, ok := conn.ownNode()
	if !ok {
		return fmt.Errorf("node %s: publish: the Node is not there yet", s.cfg.Node)
	}
	want := published{own.UID, maps.Clone(labels), maps.Clone(annotations)}
	if want.equal(last) && includes(own.Labels, labels) && includes(own.Annotations, annotations) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	// With its UID the Node is changed or left alone, but never made: that is for the kubelet to do.
	node := apply.Node(s.cfg.Node).WithUID(types.UID(own.UID)).WithLabels(labels).WithAnnotations(annotations)
	if _, err := conn.client.Apply(ctx, node, metav1.ApplyOptions{FieldManager: FieldManager, Force: true}); err != nil {
		return fmt.Errorf("node %s: publish: %w", s.cfg.Node, short(err))
	}
	s.mu.Lock()
	s.published = want
	s.mu.Unlock()
	return nil
}

// includes reports whether all has everything that part has.
func includes(all, part map[string]string) bool {
	for k, v := range part {
		if have, ok := all[k]; !ok || have != v {
			return false
		}
	}
	return true
}
