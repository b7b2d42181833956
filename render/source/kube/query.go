package kube

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"wg-kube/internal/retry"
)

// selector says which objects a query watches. The zero value: all.
type selector struct {
	labels, fields string
	none           bool // not one
}

// resource is what a query watches, and what it keeps of each object.
type resource[T any] struct {
	kind    string         // for messages: "Nodes"
	example runtime.Object // what the API server sends
	list    func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch   func(context.Context, metav1.ListOptions) (watch.Interface, error)
	read    func(runtime.Object) T
}

// query is one watch of the API server, and the objects that it gave.
type query[T any] struct {
	resource[T]
	what     string // for messages: "hubs"
	selector selector
	patience time.Duration
	changed  func() // its objects are others than before
	trouble  *trouble
	fails    func(error) // it cannot list its objects
	lapse    func()      // it cannot go on from the objects that it has

	stop   context.CancelFunc // its objects stay readable
	synced chan struct{}      // closed when it has had all its objects once
	store  atomic.Pointer[cache.Store]
	heard  atomic.Int64        // when the server last said something, in Unix nanoseconds; zero: never
	ends   atomic.Pointer[end] // when the server is to end the watch; nil: it has just listed the objects

	streams    retry.Backoff // between two streams of all objects
	nextStream time.Time     // not before; of the informer that streams alone
}

// start watches until stop is called or ctx is done.
func (q *query[T]) start(ctx context.Context) {
	ctx, q.stop = context.WithCancel(ctx)
	q.streams = retry.Backoff{First: 800 * time.Millisecond, Last: 30 * time.Second} // no longer than client-go, where it waits
	go q.run(ctx)
}

// run watches until ctx is done.
//
// The first list comes as a stream. A server, or a proxy before it, that never sends the mark at its end would be
// waited for in vain, so after a while a plain list is asked for.
func (q *query[T]) run(ctx context.Context) {
	if q.selector.none {
		q.trouble.over(q.kind, q.what) // of the one before
		close(q.synced)
		return
	}
	// client-go's log lines repeat with every try. What they are about is told once, by trouble.
	ctx = logr.NewContext(ctx, logr.Discard())
	streamed, cancel := context.WithCancel(ctx)
	defer cancel()
	sync := q.inform(streamed, true)
	select {
	case <-ctx.Done():
		return
	case <-sync:
	case <-time.After(q.patience):
		cancel()
		q.trouble.stalled(q.what, q.patience)
		sync = q.inform(ctx, false)
	}
	select {
	case <-ctx.Done():
	case <-sync:
		close(q.synced)
		q.changed()
		<-ctx.Done()
	}
}

// wait returns true when all objects have been seen once, false when ctx is done.
func (q *query[T]) wait(ctx context.Context) bool {
	select {
	case <-q.synced:
		return true
	case <-ctx.Done():
		return false
	}
}

// inform begins an informer, which ends with ctx. The channel is closed when it has all objects.
func (q *query[T]) inform(ctx context.Context, streamed bool) (synced <-chan struct{}) {
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc:  q.first,
		WatchFuncWithContext: q.stream,
	}, listKind{plain: !streamed})
	informer := cache.NewSharedIndexInformer(lw, q.example, 0, cache.Indexers{})
	// These fail only for an informer that runs or has been stopped already.
	_ = informer.SetTransform(q.strip)
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { q.changed() },
		DeleteFunc: func(any) { q.changed() },
		UpdateFunc: func(old, now any) {
			// A kubelet writes its Node every few minutes, to say that nothing is new.
			if !reflect.DeepEqual(old.(*kept[T]).value, now.(*kept[T]).value) {
				q.changed()
			}
		},
	})
	store := cache.Store(informer.GetStore())
	q.store.Store(&store)
	go informer.RunWithContext(ctx)
	return informer.HasSyncedChecker().Done()
}

// listKind tells client-go whether the first list may be a stream.
type listKind struct{ plain bool }

func (k listKind) IsWatchListSemanticsUnSupported() bool { return k.plain }

func (q *query[T]) first(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	o.LabelSelector, o.FieldSelector = q.selector.labels, q.selector.fields
	if o.ResourceVersion == "0" { // any past will do, to client-go: what was seen already is not to be unseen
		o.ResourceVersion = ""
	}
	err := q.goesOn(ctx, true)
	var list runtime.Object
	if err == nil {
		list, err = q.list(ctx, o)
	}
	if err != nil {
		if told := q.failed(ctx, err); told != nil {
			q.fails(told)
		}
		return nil, err
	}
	q.ends.Store(nil)
	q.heard.Store(time.Now().UnixNano())
	return list, nil
}

func (q *query[T]) stream(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	o.LabelSelector, o.FieldSelector = q.selector.labels, q.selector.fields
	all := o.SendInitialEvents != nil && *o.SendInitialEvents
	err := q.goesOn(ctx, all)
	if err == nil && all {
		err = q.pace(ctx)
	}
	var lasts time.Duration
	if o.TimeoutSeconds != nil {
		lasts = time.Duration(*o.TimeoutSeconds) * time.Second
	}
	early := time.Now().Add(lasts - punctual)
	var w watch.Interface
	if err == nil {
		w, err = q.watch(ctx, o)
	}
	if err != nil {
		if !all && forgotten(err) {
			return nil, err // the ordinary course of a watch
		}
		told := q.failed(ctx, err)
		if reason := apierrors.ReasonForError(err); told != nil && (reason == metav1.StatusReasonUnknown || forgotten(err)) {
			q.fails(told) // else the server has answered, and a list follows
		}
		return nil, err
	}
	q.ends.Store(&end{early, time.Now().Add(lasts + punctual)})
	q.heard.Store(time.Now().UnixNano())
	h := &hearing{Interface: w, events: make(chan watch.Event), stopped: make(chan struct{})}
	var late <-chan time.Time
	if lasts > 0 { // what stands in front of a server may not pass its end on
		late = time.After(lasts + 2*punctual)
	}
	// A list alone is not enough, it may be allowed where a watch is not; nor is a watch that begins with an error.
	runs := func() { q.trouble.over(q.kind, q.what) }
	go h.run(late, runs, func(e watch.Event) {
		q.heard.Store(time.Now().UnixNano())
		if e.Type != watch.Error {
			runs()
		} else if all {
			if told := q.failed(ctx, apierrors.FromObject(e.Object)); told != nil {
				q.fails(told)
			}
		}
	})
	return h, nil
}

// pace waits before the next stream of all objects. client-go asks for one after the other when the server says that it
// has forgotten too much, or does not come to the end.
func (q *query[T]) pace(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(q.nextStream)):
	}
	q.nextStream = time.Now().Add(q.streams.Next())
	return nil
}

// hearing is a watch of which it is known when the server last said something, bookmarks included.
type hearing struct {
	watch.Interface
	events  chan watch.Event
	stopped chan struct{}
	stop    sync.Once
}

// run passes on what is said, until there is an end, it is late for one, or nobody listens. It calls runs after a second:
// an error would have been said by then.
func (h *hearing) run(late <-chan time.Time, runs func(), heard func(watch.Event)) {
	defer close(h.events)
	defer h.Interface.Stop()
	second := time.After(time.Second)
	for {
		select {
		case e, ok := <-h.Interface.ResultChan():
			if !ok {
				return
			}
			heard(e)
			select {
			case h.events <- e:
			case <-h.stopped:
				return
			}
		case <-second:
			runs()
		case <-late:
			return
		case <-h.stopped:
			return
		}
	}
}

// ResultChan implements watch.Interface.
func (h *hearing) ResultChan() <-chan watch.Event { return h.events }

// Stop implements watch.Interface.
func (h *hearing) Stop() { h.stop.Do(func() { close(h.stopped) }) }

// failed returns what is to be told of err, nil if nothing is.
func (q *query[T]) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil { // it was us who hung up
		return nil
	}
	return q.trouble.is(q.kind, q.what, err)
}

func (q *query[T]) lastHeard() time.Time {
	if q.selector.none {
		return time.Now() // nothing is waited for
	}
	ns := q.heard.Load()
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// kept is what stays of an object: what is read from it, and what the informer itself needs. Most of a Node's bytes
// are images and managed fields, and there may be thousands of Nodes; a Secret has much that is none of our business.
type kept[T any] struct {
	metav1.ObjectMeta
	value T
}

func (q *query[T]) strip(object any) (any, error) {
	o, ok := object.(runtime.Object)
	if !ok {
		return object, nil // a mark that says what was deleted, or one that is stripped
	}
	m, err := meta.Accessor(o)
	if err != nil {
		return nil, err
	}
	return &kept[T]{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.GetNamespace(), Name: m.GetName(), UID: m.GetUID(), ResourceVersion: m.GetResourceVersion()},
		value:      q.read(o),
	}, nil
}

func (k *kept[T]) newerThan(o *kept[T]) bool {
	order, err := resourceversion.CompareResourceVersion(k.ResourceVersion, o.ResourceVersion)
	return err == nil && order > 0
}

// objects in no order.
func (q *query[T]) objects() []*kept[T] {
	store := q.store.Load()
	if store == nil {
		return nil
	}
	list := (*store).List()
	objects := make([]*kept[T], len(list))
	for i, object := range list {
		objects[i] = object.(*kept[T])
	}
	return objects
}
