package kube

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"wg-kube/render/overlay"
	"wg-kube/render/source"
)

// nodes is a query of Nodes. It keeps no label or annotation without the prefix.
func (c *connection) nodes(what string, s selector, changed func()) *query[overlay.Node] {
	return &query[overlay.Node]{
		resource: resource[overlay.Node]{
			kind:    "Nodes",
			example: &corev1.Node{},
			list:    func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return c.client.List(ctx, o) },
			watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return c.client.Watch(ctx, o)
			},
			read: func(o runtime.Object) overlay.Node {
				n := source.Node(o.(*corev1.Node))
				n.Labels, n.Annotations = withPrefix(n.Labels, c.cfg.Prefix), withPrefix(n.Annotations, c.cfg.Prefix)
				return n
			},
		},
		what:     what,
		selector: s,
		patience: c.cfg.FirstSync,
		changed:  changed,
		trouble:  c.trouble,
		fails:    c.fails,
		lapse:    c.lapse,
		synced:   make(chan struct{}),
	}
}

func withPrefix(all map[string]string, prefix string) map[string]string {
	var kept map[string]string
	for k, v := range all {
		if strings.HasPrefix(k, prefix) {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[k] = v
		}
	}
	return kept
}
