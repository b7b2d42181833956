package kube

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// What the queries of a connection have is of one past of the server: each lists once, and from there on it is told
// of changes. When one of them cannot go on, because the server was emptied or restored, has forgotten too much, or
// does not show these objects any more, all of them begin anew on a connection of their own, and what they had is shown
// until they have everything. Otherwise an emptied server would be believed in parts: our own Node from before, and
// none beside it.

// goesOn waits for ctx if a request with these options cannot go on from what q has. first: the request is a list.
func (q *query[T]) goesOn(ctx context.Context, o metav1.ListOptions, first bool) error {
	select {
	case <-q.synced:
	default:
		return nil // it has nothing yet
	}
	if !first {
		if same, err := q.samePast(ctx, o); same || err != nil && !denies(err) {
			return err
		}
	}
	q.lapse()
	<-ctx.Done()
	return ctx.Err()
}

// samePast reports whether the server knows the past after which a watch with these options goes on.
//
// One that was emptied, or restored from a backup, has lower resource versions than it had. It does not refuse such a
// watch: it is silent until it has caught up, and what happens until then would not be seen.
func (q *query[T]) samePast(ctx context.Context, o metav1.ListOptions) (bool, error) {
	one, err := q.list(ctx, metav1.ListOptions{LabelSelector: o.LabelSelector, FieldSelector: o.FieldSelector, Limit: 1})
	if err != nil {
		return false, err
	}
	list, err := meta.ListAccessor(one)
	if err != nil {
		return false, err
	}
	order, err := resourceversion.CompareResourceVersion(o.ResourceVersion, list.GetResourceVersion())
	return err != nil || order <= 0, nil
}

// denies reports whether err is the answer of a server that does not show the objects: they may not be read, or it
// knows no such type.
func denies(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) }
