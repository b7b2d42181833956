package kube

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// samePast is an error if the server does not know the past after which a watch with these options would go on.
//
// One that was emptied, or restored from a backup, has lower resource versions than it had. It does not refuse such a
// watch: it is silent until it has caught up, and what happens until then would not be seen. With this error
// everything is listed anew.
func (q *query[T]) samePast(ctx context.Context, o metav1.ListOptions) error {
	if o.ResourceVersion == "" || o.ResourceVersion == "0" {
		return nil // it begins with a list
	}
	one, err := q.list(ctx, metav1.ListOptions{LabelSelector: o.LabelSelector, FieldSelector: o.FieldSelector, Limit: 1})
	if err != nil {
		return err
	}
	list, err := meta.ListAccessor(one)
	if err != nil {
		return err
	}
	now := list.GetResourceVersion()
	order, err := resourceversion.CompareResourceVersion(o.ResourceVersion, now)
	if err == nil && order > 0 {
		return apierrors.NewResourceExpired(fmt.Sprintf("resource version %s is ahead of the server's %s", o.ResourceVersion, now))
	}
	return nil
}
