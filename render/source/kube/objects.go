package kube

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"

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

// Objects are the objects of a Resource, by way of whatever credential the Source has. They are seen by the same
// connection as the Nodes that the Source showed last: of two pasts of one server nothing can be judged.
type Objects[T any] struct {
	Resource[T]
	source  *Source
	changed chan struct{}
	need    chan struct{} // closed when the watch may begin
	needed  sync.Once

	mu   sync.Mutex
	seen map[*connection]*sight[T] // by the connection that is shown, and by the one in use
}

// sight is what one connection has seen of the objects.
type sight[T any] struct {
	query  *query[T]
	denied error // why the server has not shown them
}

func (v sight[T]) synced() bool {
	if v.query == nil {
		return false
	}
	select {
	case <-v.query.synced:
		return true
	default:
		return false
	}
}

// Watch adds r to what s watches while it runs. It is called before Run.
func Watch[T any](s *Source, r Resource[T]) *Objects[T] {
	o := &Objects[T]{
		Resource: r,
		source:   s,
		changed:  make(chan struct{}, 1),
		need:     make(chan struct{}),
		seen:     map[*connection]*sight[T]{},
	}
	if !r.Later {
		o.Need()
	}
	s.others = append(s.others, o)
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

// shown is what the connection has seen whose Nodes are shown. The zero value: nothing.
func (o *Objects[T]) shown() sight[T] {
	c, inUse := o.source.showed(), o.source.inUse()
	o.mu.Lock()
	defer o.mu.Unlock()
	if c == inUse {
		maps.DeleteFunc(o.seen, func(old *connection, _ *sight[T]) bool { return old != c })
	}
	if v := o.seen[c]; v != nil {
		return *v
	}
	return sight[T]{}
}

// Snapshot returns what was read from each object, in no order. synced goes back when the server, which had to be asked
// anew, does not show them any more: then Denied says why.
func (o *Objects[T]) Snapshot() (values []T, synced bool) {
	v := o.shown()
	if !v.synced() {
		return nil, false
	}
	for _, object := range v.query.objects() {
		values = append(values, object.value)
	}
	return values, true
}

// Reading is another one whenever everything was read anew, so that what is seen may be of another past of the server.
func (o *Objects[T]) Reading() any { return o.shown().query }

// Denied returns why the API server, which does answer, has not shown the objects: they may not be read, or it knows
// no such type. It is nil once they are synced, and as long as nobody knows.
func (o *Objects[T]) Denied() error {
	v := o.shown()
	if v.synced() {
		return nil
	}
	return v.denied
}

// LastSync is when the API server was last heard of; zero: never.
func (o *Objects[T]) LastSync() time.Time {
	v := o.shown()
	if !v.synced() {
		return time.Time{}
	}
	return v.query.lastHeard()
}

// Client returns what writes such objects, nil as long as there is no credential.
func (o *Objects[T]) Client() dynamic.ResourceInterface {
	c := o.source.inUse()
	if c == nil {
		return nil
	}
	return o.client(c)
}

func (o *Objects[T]) client(c *connection) dynamic.ResourceInterface {
	return c.others.Resource(o.Type).Namespace(o.Namespace)
}

// what says which objects these are: Secrets are watched for what they are, and for preshared keys.
func (o *Objects[T]) what() string {
	what := o.Kind + " of " + o.Namespace
	if only := strings.Trim(o.Labels+","+o.Fields, ","); only != "" {
		what += " with " + only
	}
	return what
}

// begin implements other.
func (o *Objects[T]) begin(ctx context.Context, c, shown *connection) {
	client := o.client(c)
	q := &query[T]{
		resource: resource[T]{
			kind:    o.Kind,
			example: &unstructured.Unstructured{},
			list:    func(ctx context.Context, l metav1.ListOptions) (runtime.Object, error) { return client.List(ctx, l) },
			watch:   func(ctx context.Context, l metav1.ListOptions) (watch.Interface, error) { return client.Watch(ctx, l) },
			read:    func(object runtime.Object) T { return o.Read(object.(*unstructured.Unstructured)) },
		},
		what:     o.what(),
		selector: selector{labels: o.Labels, fields: o.Fields},
		patience: c.cfg.FirstSync,
		changed:  o.signal,
		trouble:  c.trouble,
		fails:    func(err error) { o.fails(c, err) },
		lapse:    c.lapse,
		synced:   make(chan struct{}),
	}
	o.mu.Lock()
	maps.DeleteFunc(o.seen, func(old *connection, _ *sight[T]) bool { return old != shown })
	o.seen[c] = &sight[T]{query: q}
	o.mu.Unlock()
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-o.need:
		}
		q.start(ctx)
		if q.wait(ctx) {
			o.source.advance(c)
		}
	}()
}

func (o *Objects[T]) fails(c *connection, err error) {
	if !denies(err) {
		return
	}
	o.mu.Lock()
	if v := o.seen[c]; v != nil {
		v.denied = err
	}
	o.mu.Unlock()
	o.source.advance(c)
	o.signal()
}

// settled implements other.
func (o *Objects[T]) settled(c *connection) bool {
	select {
	case <-o.need:
	default:
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.seen[c]
	return v != nil && (v.denied != nil || v.synced())
}
