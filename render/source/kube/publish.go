package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
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

// fieldManager is the one for labels and annotations: of two interfaces of a node, each with a prefix of its own,
// neither is to remove what the other has set.
func (c Config) fieldManager() string {
	if c.Prefix == defaultPrefix { // as it was called before there were two
		return FieldManager
	}
	const longest = 128 // that the API server takes
	m := FieldManager + ":" + c.Prefix
	return m[:min(len(m), longest)]
}

const defaultPrefix = "wireguard.kube/"

// publishTimeout bounds one try.
const publishTimeout = 15 * time.Second

// owned are the keys of the labels and annotations that an object has from Publish, as the API server keeps them.
type owned struct {
	uid                 types.UID
	labels, annotations []string // sorted
}

func ownedOf(o metav1.Object, manager string) *owned {
	have := &owned{uid: o.GetUID()}
	for _, m := range o.GetManagedFields() {
		if m.Manager != manager || m.Operation != metav1.ManagedFieldsOperationApply || m.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Metadata struct {
				Labels      map[string]any `json:"f:labels"`
				Annotations map[string]any `json:"f:annotations"`
			} `json:"f:metadata"`
		}
		if json.Unmarshal(m.FieldsV1.GetRawBytes(), &fields) == nil {
			have.labels, have.annotations = keys(fields.Metadata.Labels), keys(fields.Metadata.Annotations)
		}
	}
	return have
}

func keys(fields map[string]any) (keys []string) {
	for field := range fields {
		if key, ok := strings.CutPrefix(field, "f:"); ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Publish sets these labels and annotations on the own Node, and reports whether it had to. Those that it set before,
// in an earlier run as well, and that are not among them are removed. It tries once.
func (s *Source) Publish(ctx context.Context, labels, annotations map[string]string) (written bool, err error) {
	want := owned{labels: slices.Sorted(maps.Keys(labels)), annotations: slices.Sorted(maps.Keys(annotations))}
	for _, key := range slices.Concat(want.labels, want.annotations) {
		if !strings.HasPrefix(key, s.cfg.Prefix) {
			return false, fmt.Errorf("node %s: %s: not ours to set: it does not begin with %s", s.cfg.Node, key, s.cfg.Prefix)
		}
	}
	conn := s.inUse()
	if conn == nil {
		return false, fmt.Errorf("node %s: publish: no API server is known yet", s.cfg.Node)
	}
	own, ok := conn.ownNode()
	if !ok {
		return false, fmt.Errorf("node %s: publish: the Node is not there yet", s.cfg.Node)
	}
	want.uid = types.UID(own.UID)
	if reflect.DeepEqual(*conn.owned.Load(), want) && includes(own.Labels, labels) && includes(own.Annotations, annotations) {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	// With its UID the Node is changed or left alone, but never made: that is for the kubelet to do.
	node := apply.Node(s.cfg.Node).WithUID(want.uid).WithLabels(labels).WithAnnotations(annotations)
	if _, err := conn.client.Apply(ctx, node, metav1.ApplyOptions{FieldManager: s.cfg.fieldManager(), Force: true}); err != nil {
		return false, fmt.Errorf("node %s: publish: %w", s.cfg.Node, short(err))
	}
	return true, nil
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
