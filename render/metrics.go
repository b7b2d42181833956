package render

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics is what wg-render counts. All of its names begin with wg_render_.
type Metrics struct {
	registry   prometheus.Registerer
	proposals  prometheus.Counter
	failures   prometheus.Counter
	peers      *census
	rejections *census
	waiting    *census
	unsynced   prometheus.Gauge
	lastSync   prometheus.Gauge
	published  *prometheus.CounterVec
}

// NewMetrics registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		registry: r,
		proposals: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wg_render_proposals_total",
			Help: "Proposals written, each with other bytes than the one before.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wg_render_failures_total",
			Help: "Times that a proposal could not be made or written; the old one stayed.",
		}),
		peers:      newCensus("wg_render_peers", "Peers in the proposal, by the kind of what they come from.", "kind"),
		rejections: newCensus("wg_render_rejections", "Claims that are refused now, by the kind of what makes them, the annotation or key, and the reason: malformed, never, excluded, held, loop or too-much, see docs/claims.md.", "kind", "field", "reason"),
		waiting:    newCensus("wg_render_waiting", "Peers that something is waited for now, by the kind of what they come from and the annotation or key that is not there yet.", "kind", "field"),
		unsynced: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wg_render_unsynced",
			Help: "1 while the proposal stays as it is because a source, or the own Node, is not there yet.",
		}),
		lastSync: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wg_render_last_sync_timestamp_seconds",
			Help: "When the proposal last agreed with everything the sources know.",
		}),
		published: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wg_render_publications_total",
			Help: "Times that the own Node was written, by result.",
		}, []string{"result"}),
	}
	r.MustRegister(m.proposals, m.failures, m.peers, m.rejections, m.waiting, m.unsynced, m.lastSync, m.published)
	return m
}

// Requests counts what is asked of the API server.
func (m *Metrics) Requests() *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wg_render_api_requests_total",
		Help: "Requests to the API server, by method and by the status code of the answer; <error>: there was none.",
	}, []string{"method", "code"})
	m.registry.MustRegister(c)
	return c
}

// SourceFaults reports the faults of a source, counted when the metric is read.
func (m *Metrics) SourceFaults(source string, count func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "wg_render_source_faults",
		Help:        "Files of a source, or its folder, that cannot be read as they are now.",
		ConstLabels: prometheus.Labels{"source": source},
	}, func() float64 { return float64(count()) }))
}

// SourceHeard reports when a source was last in touch with where it has its Nodes from: synced alone never goes back.
func (m *Metrics) SourceHeard(source string, last func() time.Time) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "wg_render_source_heard_timestamp_seconds",
		Help:        "When the source last heard from where it has its Nodes; zero: never.",
		ConstLabels: prometheus.Labels{"source": source},
	}, func() float64 {
		t := last()
		if t.IsZero() {
			return 0
		}
		return float64(t.Unix())
	}))
}

// SourceOutOfTouch reports whether a source cannot be read any more.
func (m *Metrics) SourceOutOfTouch(source string, why func() error) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "wg_render_source_out_of_touch",
		Help:        "1 while something of the source cannot be read any more: what was seen last stays.",
		ConstLabels: prometheus.Labels{"source": source},
	}, func() float64 {
		if why() == nil {
			return 0
		}
		return 1
	}))
}
