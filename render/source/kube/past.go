package kube

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// What the queries of a connection have is of one past of the server: each lists once, and from there on it is told
// of changes. When one of them cannot go on, because the server has forgotten too much, does not show these objects any
// more, or may be another one by now, all of them begin anew on a connection of their own, and what they had is shown
// until they have everything. Otherwise an emptied server would be believed in parts: our own Node from before, and
// none beside it.
//
// A server that was emptied, or restored from a backup, does not refuse to go on from a resource version that it never
// had: it is silent until it gets there, or is there already and says nothing of what happened below. Nothing that is
// cheap to ask tells it from the one before. So a watch goes on only from one that the server ended when it was asked
// to: whoever was there to do that is the same as before. Whatever else ends a watch may have been a server's end.

// punctual is how far from its time the end of a watch may be.
const punctual = 3 * time.Second

// end is when a watch may end that ends at its time: the server counts from some moment between request and answer.
type end struct{ early, late time.Time }

// goesOn waits for ctx if a request cannot go on from what q has. first: the request is for all objects.
func (q *query[T]) goesOn(ctx context.Context, first bool) error {
	ends := q.ends.Swap(&end{}) // long ago, unless the request succeeds
	select {
	case <-q.synced:
	default:
		return nil // it has nothing yet
	}
	if now := time.Now(); !first && (ends == nil || now.After(ends.early) && now.Before(ends.late)) {
		return nil
	}
	q.lapse()
	<-ctx.Done()
	return ctx.Err()
}

// denies reports whether err is the answer of a server that does not show the objects: they may not be read, or it
// knows no such type.
func denies(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) }
