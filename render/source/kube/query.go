package kube

import (
	"context"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"

	"wg-kube/render/overlay"
	"wg-kube/render/source"
)

// selector says which Nodes a query watches. The zero value: none at all.
type selector struct{ labels, fields string }

// query is one watch of the API server, and the Nodes that it gave.
type query struct {
	what     string // for messages
	selector selector
	prefix   string
	patience time.Duration
	client   typedcorev1.NodeInterface
	changed  func() // its Nodes are others than before
	trouble  *trouble
	fails    func(error) // it cannot list its Nodes

	stop   context.CancelFunc // its Nodes stay readable
	synced chan struct{}      // closed when it has had all its Nodes once
	store  atomic.Pointer[cache.Store]
	heard  atomic.Int64 // when the server last said something, in Unix nanoseconds; zero: never
}

func (c *connection) query(what string, s selector, changed func()) *query {
	return &query{
		what:     what,
		selector: s,
		prefix:   c.cfg.Prefix,
		patience: c.cfg.FirstSync,
		client:   c.client,
		changed:  changed,
		trouble:  c.trouble,
		fails:    c.fails,
		synced:   make(chan struct{}),
	}
}

// start watches until stop is called or ctx is done.
func (q *query) start(ctx context.Context) {
	ctx, q.stop = context.WithCancel(ctx)
	go q.run(ctx)
}

// run watches until ctx is done.
//
// The first list comes as a stream. A server, or a proxy before it, that never sends the mark at its end would be
// waited for in vain, so after a while a plain list is asked for.
func (q *query) run(ctx context.Context) {
	if q.selector == (selector{}) {
		close(q.synced)
		return
	}
	// client-go's log lines repeat with every try. What they are about is told once, by trouble.
	ctx = logr.NewContext(ctx, logr.Discard())
	streamed, cancel := context.WithCancel(ctx)
	defer cancel()
	sync := q.watch(streamed, true)
	select {
	case <-ctx.Done():
		return
	case <-sync:
	case <-time.After(q.patience):
		cancel()
		q.trouble.stalled(q.what, q.patience)
		sync = q.watch(ctx, false)
	}
	select {
	case <-ctx.Done():
	case <-sync:
		close(q.synced)
		q.changed()
		<-ctx.Done()
	}
}

// wait returns true when all Nodes have been seen once, false when ctx is done.
func (q *query) wait(ctx context.Context) bool {
	select {
	case <-q.synced:
		return true
	case <-ctx.Done():
		return false
	}
}

// watch begins an informer, which ends with ctx. The channel is closed when it has all Nodes.
func (q *query) watch(ctx context.Context, streamed bool) (synced <-chan struct{}) {
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc:  q.list,
		WatchFuncWithContext: q.stream,
	}, listKind{plain: !streamed})
	informer := cache.NewSharedIndexInformer(lw, &corev1.Node{}, 0, cache.Indexers{})
	// These fail only for an informer that runs or has been stopped already.
	_ = informer.SetTransform(q.strip)
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { q.changed() },
		DeleteFunc: func(any) { q.changed() },
		UpdateFunc: func(old, now any) {
			// A kubelet writes its Node every few minutes, to say that nothing is new.
			if !reflect.DeepEqual(source.Node(old.(*corev1.Node)), source.Node(now.(*corev1.Node))) {
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

func (q *query) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	o.LabelSelector, o.FieldSelector = q.selector.labels, q.selector.fields
	list, err := q.client.List(ctx, o)
	if err != nil {
		if told := q.failed(ctx, err); told != nil {
			q.fails(told)
		}
		return nil, err
	}
	q.heard.Store(time.Now().UnixNano())
	return list, nil
}

func (q *query) stream(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	o.LabelSelector, o.FieldSelector = q.selector.labels, q.selector.fields
	w, err := q.client.Watch(ctx, o)
	if err != nil {
		told := q.failed(ctx, err)
		if told != nil && apierrors.ReasonForError(err) == metav1.StatusReasonUnknown {
			q.fails(told) // else the server has answered, and a list follows
		}
		return nil, err
	}
	q.heard.Store(time.Now().UnixNano())
	q.trouble.over(q.what) // a list alone is not enough: it may be allowed where a watch is not
	return watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
		q.heard.Store(time.Now().UnixNano()) // bookmarks too
		return e, true
	}), nil
}

// failed returns what is to be told of err, nil if nothing is.
func (q *query) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil { // it was us who hung up
		return nil
	}
	return q.trouble.is(q.what, err)
}

func (q *query) lastHeard() time.Time {
	if q.selector == (selector{}) {
		return time.Now() // nothing is waited for
	}
	ns := q.heard.Load()
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// strip keeps of a Node what source.Node reads, and what the informer itself needs: most of a Node's bytes are
// images and managed fields, and there may be thousands of Nodes.
func (q *query) strip(object any) (any, error) {
	n, ok := object.(*corev1.Node)
	if !ok {
		return object, nil // a mark that says what was deleted
	}
	stripped := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:              n.Name,
			UID:               n.UID,
			ResourceVersion:   n.ResourceVersion,
			CreationTimestamp: n.CreationTimestamp,
			Labels:            withPrefix(n.Labels, q.prefix),
			Annotations:       withPrefix(n.Annotations, q.prefix),
		},
		Spec:   corev1.NodeSpec{PodCIDRs: n.Spec.PodCIDRs},
		Status: corev1.NodeStatus{Addresses: n.Status.Addresses},
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			stripped.Status.Conditions = []corev1.NodeCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	return stripped, nil
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

// versioned is a Node, and which state of it.
type versioned struct {
	overlay.Node
	version string
}

func (v versioned) newerThan(o versioned) bool {
	order, err := resourceversion.CompareResourceVersion(v.version, o.version)
	return err == nil && order > 0
}

// nodes in no order.
func (q *query) nodes() []versioned {
	store := q.store.Load()
	if store == nil {
		return nil
	}
	list := (*store).List()
	nodes := make([]versioned, len(list))
	for i, object := range list {
		n := object.(*corev1.Node)
		nodes[i] = versioned{source.Node(n), n.ResourceVersion}
	}
	return nodes
}
