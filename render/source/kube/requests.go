package kube

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/metrics"
)

// CountRequests has each request of this process counted in c, which has the labels method and code. client-go has
// one place for that in a process: only the first call counts.
func CountRequests(c *prometheus.CounterVec) {
	metrics.Register(metrics.RegisterOpts{RequestResult: requests{c}})
}

type requests struct{ counter *prometheus.CounterVec }

// Increment implements metrics.ResultMetric.
func (r requests) Increment(_ context.Context, code, method, _ string) {
	r.counter.WithLabelValues(method, code).Inc()
}
