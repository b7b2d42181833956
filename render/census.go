package render

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// census is a gauge that is counted anew as a whole: whoever reads it meanwhile sees the count before.
type census struct {
	desc   *prometheus.Desc
	labels int
	now    atomic.Pointer[map[label]int]
}

// label is the values of the labels of one number; those that it has not are empty.
type label [3]string

func newCensus(name, help string, labels ...string) *census {
	return &census{desc: prometheus.NewDesc(name, help, labels, nil), labels: len(labels)}
}

// set takes over the map: it is not changed any more.
func (c *census) set(now map[label]int) { c.now.Store(&now) }

// Describe implements prometheus.Collector.
func (c *census) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *census) Collect(ch chan<- prometheus.Metric) {
	now := c.now.Load()
	if now == nil {
		return
	}
	for of, n := range *now {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), of[:c.labels]...)
	}
}
