package kube

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// Resource says which objects that are no Nodes are watched, all in one namespace, and what is kept of each.
type Resource[T any] struct {
	Kind      string // for messages: "Secrets"
	Type      schema.GroupVersionResource
	Namespace string
	Labels    string // a selector; empty: any
	Fields    string // a selector; empty: any
	Later     bool   // not before Need is called
	Read      func(*unstructured.Unstructured) T
}

// Objects are the objects of a Resource, by way of whatever credential the Source has.
type Objects[T any] struct {
	Resource[T]
	patience time.Duration
	changed  chan struct{}
	need     chan struct{} // closed when the watch may begin
	needed   sync.Once

	mu     sync.Mutex
	conn   *connection // the one in use; nil: none yet
	view   *query[T]   // nil: there has been none that had them all
	denied error
}

// Watch adds r to what s watches while it runs. It is called before Run.
func Watch[T any](s *Source, r Resource[T]) *Objects[T] {
	o := &Objects[T]{Resource: r, patience: s.cfg.FirstSync, changed: make(chan struct{}, 1), need: make(chan struct{})}
	if !r.Later {
		o.Need()
	}
	s.others = append(s.others, o.begin)
	return o
}

// Need begins the watch, if it has not begun.
func (o *Objects[T]) Need() { o.needed.Do(func() { close(o.need) }) }

// Changed has a signal waiting when Snapshot or Denied may return something else than before.
func (o *Objects[T]) Changed() <-chan struct{} { return o.changed }

func (o *Objects[T]) signal() {
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// Snapshot returns what was read from each object, in no order. synced never goes back.
func (o *Objects[T]) Snapshot() (values []T, synced bool) {
	o.mu.Lock()
	view := o.view
	o.mu.Unlock()
	if view == nil {
		return nil, false
	}
	for _, object := range view.objects() {
		values = append(values, object.value)
	}
	return values, true
}

// Denied returns why the API server, which does answer, has not shown the objects: they may not be read, or it knows
// no such type. It is nil once they are synced, and as long as nobody knows.
func (o *Objects[T]) Denied() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.denied
}

// LastSync is when the API server was last heard of; zero: never.
func (o *Objects[T]) LastSync() time.Time {
	o.mu.Lock()
	view := o.view
	o.mu.Unlock()
	if view == nil {
		return time.Time{}
	}
	return view.lastHeard()
}

// Client returns what writes such objects, nil as long as there is no credential.
func (o *Objects[T]) Client() dynamic.ResourceInterface {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conn == nil {
		return nil
	}
	return o.client(o.conn)
}

func (o *Objects[T]) client(c *connection) dynamic.ResourceInterface {
	return c.others.Resource(o.Type).Namespace(o.Namespace)
}

// begin watches by way of c, until ctx is done. The objects shown until then stay until it has seen them all.
func (o *Objects[T]) begin(ctx context.Context, c *connection) {
	o.mu.Lock()
	o.conn = c
	o.mu.Unlock()
	client := o.client(c)
	q := &query[T]{
		resource: resource[T]{
			kind:    o.Kind,
			example: &unstructured.Unstructured{},
			list:    func(ctx context.Context, l metav1.ListOptions) (runtime.Object, error) { return client.List(ctx, l) },
			watch:   func(ctx context.Context, l metav1.ListOptions) (watch.Interface, error) { return client.Watch(ctx, l) },
			read:    func(object runtime.Object) T { return o.Read(object.(*unstructured.Unstructured)) },
		},
		what:     o.Kind,
		selector: selector{labels: o.Labels, fields: o.Fields},
		patience: o.patience,
		changed:  o.signal,
		trouble:  c.trouble,
		fails:    o.fails,
		lapse:    c.lapse,
		synced:   make(chan struct{}),
	}
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-o.need:
		}
		q.start(ctx)
		if !q.wait(ctx) {
			return
		}
		o.mu.Lock()
		o.view, o.denied = q, nil
		o.mu.Unlock()
		o.signal()
	}()
}

func (o *Objects[T]) fails(err error) {
	o.mu.Lock()
	if o.view == nil && (apierrors.IsForbidden(err) || apierrors.IsNotFound(err)) {
		o.denied = err
	}
	o.mu.Unlock()
	o.signal()
}
