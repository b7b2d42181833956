package apply

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wg-kube/apply/plan"
)

// metric is one row of /metrics: for each interface a number that is read when it is asked for.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(s state) float64
}

func row(name, help string, kind prometheus.ValueType, value func(s state) float64) metric {
	return metric{prometheus.NewDesc("wg_apply_"+name, help, []string{"iface"}, nil), kind, value}
}

func rows() []metric {
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	return []metric{
		row("in_sync", "1 if the device is as the file in force says.", gauge, func(s state) float64 { return number(s.inSync()) }),
		row("last_in_sync_timestamp_seconds", "When the device was last seen to be as the file says.", gauge, func(s state) float64 { return seconds(s.right) }),
		row("peers", "Peers in the file in force.", gauge, func(s state) float64 { return float64(s.last.peers) }),
		row("device_peers", "Peers of the device, when it was last looked at.", gauge, func(s state) float64 { return float64(s.devicePeers()) }),
		row("errors", "Reasons why the device is not as the file in force says.", gauge, func(s state) float64 { return float64(len(s.last.status.Errors)) }),
		row("held_peers", `Peers that wait for "wg-apply accept" to be removed.`, gauge, func(s state) float64 {
			peers, _ := countHeld(s.last.status.Held)
			return float64(peers)
		}),
		row("held_prefixes", `Prefixes of peers that wait for "wg-apply accept" to be removed.`, gauge, func(s state) float64 {
			_, prefixes := countHeld(s.last.status.Held)
			return float64(prefixes)
		}),
		row("looks_total", "Looks at the files and the device.", counter, func(s state) float64 { return float64(s.looks) }),
		row("failures_total", "Looks that failed and were tried again.", counter, func(s state) float64 { return float64(s.failures) }),
		row("steps_total", "Changes made to the device.", counter, func(s state) float64 { return float64(s.steps) }),
		row("look_seconds", "How long the last look took.", gauge, func(s state) float64 { return s.last.took.Seconds() }),
	}
}

var (
	refused = prometheus.NewDesc("wg_apply_refused", "Faults that are refused now, by the file and the reason. malformed: it cannot be read, or says what it may not; guard: it goes further than a proposal may; machine: what this machine cannot have.",
		[]string{"iface", "file", "reason"}, nil)
	fileInfo = prometheus.NewDesc("wg_apply_file_info", "1: the hashes of the files last read, and of the one that the device was last made to match.",
		[]string{"iface", "proposed", "in_force", "applied"}, nil)
	repairs = prometheus.NewDesc("wg_apply_drift_repairs_total", "Changes made to the device though its file had not changed, by what was repaired.",
		[]string{"iface", "kind"}, nil)
)

// What is known of each peer, as of the last look at the device.
var (
	peerLabels    = []string{"iface", "peer", "public_key"}
	peerHandshake = prometheus.NewDesc("wg_apply_peer_last_handshake_timestamp_seconds", "When the peer last shook hands; 0: never.", peerLabels, nil)
	peerReceived  = prometheus.NewDesc("wg_apply_peer_received_bytes_total", "Bytes received from the peer.", peerLabels, nil)
	peerSent      = prometheus.NewDesc("wg_apply_peer_sent_bytes_total", "Bytes sent to the peer.", peerLabels, nil)
)

// Describe tells prometheus what Collect sends.
func (d *Daemon) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range rows() {
		ch <- m.desc
	}
	ch <- refused
	ch <- fileInfo
	ch <- repairs
	if d.PeerMetrics {
		ch <- peerHandshake
		ch <- peerReceived
		ch <- peerSent
	}
}

// Collect sends what is known of every interface. The device is not asked: a scrape costs it nothing.
func (d *Daemon) Collect(ch chan<- prometheus.Metric) {
	all := rows()
	for _, l := range d.all() {
		s := l.state()
		for _, m := range all {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s), l.iface.name)
		}
		for refusal, n := range s.last.refused {
			of := refusals[refusal]
			ch <- prometheus.MustNewConstMetric(refused, prometheus.GaugeValue, float64(n), l.iface.name, of.file, of.reason)
		}
		st := s.last.status
		ch <- prometheus.MustNewConstMetric(fileInfo, prometheus.GaugeValue, 1, l.iface.name, st.Proposed, st.InForce, st.Applied)
		for kind, n := range s.repairs {
			ch <- prometheus.MustNewConstMetric(repairs, prometheus.CounterValue, float64(n), l.iface.name, repaired[kind])
		}
		if s.live == nil || !d.PeerMetrics {
			continue
		}
		for _, p := range s.live.Peers {
			labels := []string{l.iface.name, cmp.Or(p.Name, p.PublicKey.String()), p.PublicKey.String()}
			ch <- prometheus.MustNewConstMetric(peerHandshake, prometheus.GaugeValue, seconds(p.LastHandshake), labels...)
			ch <- prometheus.MustNewConstMetric(peerReceived, prometheus.CounterValue, float64(p.RxBytes), labels...)
			ch <- prometheus.MustNewConstMetric(peerSent, prometheus.CounterValue, float64(p.TxBytes), labels...)
		}
	}
}

// What is refused of which file, and why.
const (
	badProposal = iota
	unguarded
	notForProposal
	badFile
	notForFile
)

var refusals = [...]struct{ file, reason string }{
	badProposal:    {"proposal", "malformed"},
	unguarded:      {"proposal", "guard"},
	notForProposal: {"proposal", "machine"},
	badFile:        {"in_force", "malformed"},
	notForFile:     {"in_force", "machine"},
}

// The kinds of what is repaired.
const (
	aLink = iota
	anAddress
	aDevice
	aPeer
	aRoute
	aRule
	aFirewall
)

var repaired = [...]string{aLink: "link", anAddress: "address", aDevice: "device", aPeer: "peer", aRoute: "route", aRule: "rule", aFirewall: "firewall"}

// kinds is a number of steps of each kind.
type kinds [len(repaired)]int

// add counts the steps of p.
func (k *kinds) add(p plan.Plan) {
	for _, s := range p.Steps {
		switch s.(type) {
		case plan.AddLink, plan.SetMTU, plan.SetUp:
			k[aLink]++
		case plan.AddAddress, plan.DelAddress:
			k[anAddress]++
		case plan.SetDevice:
			k[aDevice]++
		case plan.AddRoute, plan.DelRoute:
			k[aRoute]++
		case plan.AddRule, plan.DelRule:
			k[aRule]++
		case plan.SetFirewall, plan.DelFirewall, plan.SetSrcValidMark:
			k[aFirewall]++
		default:
			k[aPeer]++
		}
	}
}

func (s state) devicePeers() int {
	if s.live == nil {
		return 0
	}
	return len(s.live.Peers)
}

// inSync reports whether the device is as the file in force says, as far as the last look knows.
func (s state) inSync() bool {
	st := s.last.status
	return st.InForce != "" && st.InForce == st.Applied && len(st.Errors) == 0 && s.last.err == nil
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
