package kube_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	rbacv1 "k8s.io/api/rbac/v1"

	"wg-kube/render/overlay"
	"wg-kube/render/source/kube"
)

func TestRequestsAreCounted(t *testing.T) {
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests"}, []string{"method", "code"})
	kube.CountRequests(counter)
	api := newCluster(t)
	run(t, api.User("nobody", rbacv1.GroupName), kube.Config{Node: hub, Role: overlay.Hub}).
		eventually("a refused request is counted", func() bool { return testutil.ToFloat64(counter.WithLabelValues("GET", "403")) > 0 })
}
