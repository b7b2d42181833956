package kube

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// TestAWatchGoesOn from a list, and from a watch that the server ended when it was asked to; from no other.
func TestAWatchGoesOn(t *testing.T) {
	const lasts = 7 * time.Minute
	for _, tc := range []struct {
		name   string
		listed bool          // in one piece, and not streamed
		after  time.Duration // the watch goes on
		away   bool          // the server, at the first try
		lapses bool
	}{
		{name: "at its time", after: lasts},
		{name: "a second early", after: lasts - time.Second},
		{name: "a second late", after: lasts + time.Second},
		{name: "at once", lapses: true},
		{name: "a minute early", after: lasts - time.Minute, lapses: true},
		{name: "a minute late", after: lasts + time.Minute, lapses: true},
		{name: "at its time, and there was no answer", after: lasts, away: true, lapses: true},
		{name: "from a list", listed: true},
		{name: "from a list, whenever that was", listed: true, after: time.Minute},
		{name: "from a list, and there was no answer", listed: true, away: true, lapses: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				away, lapses := false, false
				q := &query[string]{
					resource: resource[string]{
						list: func(context.Context, metav1.ListOptions) (runtime.Object, error) { return &corev1.NodeList{}, nil },
						watch: func(context.Context, metav1.ListOptions) (watch.Interface, error) {
							if away {
								return nil, errors.New("nobody is there")
							}
							return watch.NewEmptyWatch(), nil
						},
					},
					fails:   func(error) {},
					lapse:   func() { lapses = true; cancel() },
					trouble: newTrouble(slog.New(slog.DiscardHandler)),
					synced:  make(chan struct{}),
				}
				seconds, all := int64(lasts.Seconds()), true
				next := metav1.ListOptions{TimeoutSeconds: &seconds}
				var err error
				if tc.listed {
					_, err = q.first(ctx, metav1.ListOptions{})
				} else {
					_, err = q.stream(ctx, metav1.ListOptions{TimeoutSeconds: &seconds, SendInitialEvents: &all})
				}
				if err != nil {
					t.Fatal(err)
				}
				close(q.synced)
				time.Sleep(tc.after)
				if away = tc.away; away {
					if _, err := q.stream(ctx, next); err == nil || lapses {
						t.Fatalf("there was no answer: %v; lapses %v", err, lapses)
					}
					away = false
				}
				if _, err := q.stream(ctx, next); lapses != tc.lapses || (err != nil) != tc.lapses {
					t.Errorf("lapses %v, %v; want %v", lapses, err, tc.lapses)
				}
			})
		})
	}
}

// TestAWatchWithoutAnEnd: the server is long gone, and who stands before it has not noticed.
func TestAWatchWithoutAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := watch.NewFake()
		q := &query[string]{
			resource: resource[string]{watch: func(context.Context, metav1.ListOptions) (watch.Interface, error) { return silent, nil }},
			trouble:  newTrouble(slog.New(slog.DiscardHandler)),
			synced:   make(chan struct{}),
		}
		seconds := int64(60)
		w, err := q.stream(t.Context(), metav1.ListOptions{TimeoutSeconds: &seconds})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range w.ResultChan() {
		}
		if lasted := time.Since(began); lasted != time.Minute+2*punctual {
			t.Errorf("it lasted for %v", lasted)
		}
	})
}
