package kube

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// TestAStreamThatDoesNotCome is asked for less and less often, and what is wrong is told once.
func TestAStreamThatDoesNotCome(t *testing.T) {
	expired := watch.Event{Type: watch.Error, Object: &metav1.Status{
		Status: metav1.StatusFailure, Code: 410, Reason: metav1.StatusReasonExpired, Message: "too old"}}
	node := watch.Event{Type: watch.Added, Object: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a", ResourceVersion: "1"}}}
	mark := watch.Event{Type: watch.Bookmark, Object: &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		ResourceVersion: "1", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}}
	for _, tc := range []struct {
		name string
		not  error // what it says in the place of a stream
		says []watch.Event
		ends bool
		told string // "": nothing
	}{
		{name: "it says that it has forgotten too much", says: []watch.Event{expired}, told: "too old"},
		{name: "it says so, and hangs up", says: []watch.Event{expired}, ends: true, told: "too old"},
		{name: "it says so before there is a stream", not: apierrors.NewResourceExpired("too old"), told: "too old"},
		{name: "it ends before its time", says: []watch.Event{node}, ends: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer synctest.Wait()
				defer cancel()
				var asked atomic.Int64
				var well atomic.Bool
				var log strings.Builder
				fails := ""
				q := &query[string]{
					resource: resource[string]{
						kind:    "Nodes",
						example: &corev1.Node{},
						list: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
							return nil, fmt.Errorf("a list was asked for")
						},
						watch: func(context.Context, metav1.ListOptions) (watch.Interface, error) {
							asked.Add(1)
							time.Sleep(time.Millisecond) // the way there
							switch {
							case well.Load():
								return said(false, node, mark), nil
							case tc.not != nil:
								return nil, tc.not
							}
							return said(tc.ends, tc.says...), nil
						},
						read: func(runtime.Object) string { return "" },
					},
					what:     "peers",
					patience: time.Hour,
					changed:  func() {},
					fails:    func(err error) { fails = err.Error() },
					lapse:    func() { t.Error("it lapses") },
					trouble:  newTrouble(slog.New(slog.NewTextHandler(&log, nil))),
					synced:   make(chan struct{}),
				}
				q.start(ctx)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if n := asked.Load(); n < 3 || n > 6 {
					t.Errorf("%d requests in 10 s", n)
				}
				if told := strings.Count(log.String(), "cannot read Nodes"); told != strings.Count(tc.told, "too old") || !strings.Contains(fails, tc.told) {
					t.Errorf("it is told %d times, and fails with %q:\n%s", told, fails, &log)
				}
				if err := q.trouble.first(); (err != nil) != (tc.told != "") {
					t.Errorf("out of touch: %v", err)
				}
				well.Store(true)
				time.Sleep(time.Minute)
				synctest.Wait()
				if !q.wait(ctx) || len(q.objects()) != 1 || q.trouble.first() != nil {
					t.Errorf("it has %v, and %v is wrong", q.objects(), q.trouble.first())
				}
			})
		})
	}
}

// said is a watch that says all this.
func said(ends bool, events ...watch.Event) watch.Interface {
	w := watch.NewFakeWithChanSize(len(events), false)
	for _, e := range events {
		w.Action(e.Type, e.Object)
	}
	if ends {
		w.Stop()
	}
	return w
}

// TestAWatchThatHasBeenForgotten is no trouble: a server that was away for long, or a quiet kind, and all begins anew.
func TestAWatchThatHasBeenForgotten(t *testing.T) {
	mark := watch.Event{Type: watch.Bookmark, Object: &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		ResourceVersion: "1", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		var log strings.Builder
		lapsed, refused := 0, 0
		q := &query[string]{
			resource: resource[string]{
				kind:    "Nodes",
				example: &corev1.Node{},
				watch: func(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
					if o.SendInitialEvents == nil {
						refused++
						return nil, apierrors.NewResourceExpired("too old")
					}
					w := watch.NewFakeWithChanSize(1, false)
					w.Action(mark.Type, mark.Object)
					time.AfterFunc(time.Duration(*o.TimeoutSeconds)*time.Second, w.Stop)
					return w, nil
				},
				read: func(runtime.Object) string { return "" },
			},
			what:     "peers",
			patience: time.Hour,
			changed:  func() {},
			fails:    func(err error) { t.Errorf("it fails: %v", err) },
			lapse:    func() { lapsed++ },
			trouble:  newTrouble(slog.New(slog.NewTextHandler(&log, nil))),
			synced:   make(chan struct{}),
		}
		q.start(ctx)
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if refused == 0 || lapsed == 0 || log.Len() > 0 || q.trouble.first() != nil {
			t.Errorf("refused %d times, it lapses %d times, and %v is wrong:\n%s", refused, lapsed, q.trouble.first(), &log)
		}
	})
}
