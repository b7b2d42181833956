package render

import (
	"errors"
	"fmt"
	"time"

	"wg-kube/internal/service"
	"wg-kube/render/overlay"
)

// tell says how things stand: to the log what has changed, to the metrics and to systemd all of it.
// r is nil where the proposal on disk stays as it is.
func (l *Loop) tell(v view, r *rendered, err error) {
	unready := err
	if err == nil && v.waits != "" {
		unready = errors.New("waiting for " + v.waits)
		if source, ok := l.Nodes.(Remote); ok && !v.synced && source.Trouble() != nil {
			unready = fmt.Errorf("%w: %w", unready, source.Trouble())
		}
	}
	l.unready.Store(&unready)
	if err != nil {
		l.Metrics.failures.Inc()
	}
	if l.said.news("err", text(err)) {
		l.Log.Error("not proposed", "path", l.path(), "err", err)
	}
	if l.said.news("waits", v.waits) {
		l.Log.Info("waiting for "+v.waits, "path", l.path())
	}
	l.Metrics.unsynced.Set(0)
	if v.waits != "" {
		l.Metrics.unsynced.Set(1)
	}
	if r != nil && v.waits == "" {
		l.tellRefused(r.refused)
	}
	if err == nil && v.waits == "" {
		l.Metrics.lastSync.Set(float64(time.Now().Unix()))
	}
	peers := 0
	if l.disk.config != nil {
		peers = len(l.disk.config.Peers)
	}
	l.tellPeers()
	if l.disk.file != nil {
		service.Ready()
	}
	l.standing.is(l.summary(peers, v, err))
}

// tellPeers counts those of the proposal.
func (l *Loop) tellPeers() {
	of := map[label]int{{overlay.KindNode}: 0, {overlay.KindWireGuardPeer}: 0, {overlay.KindSecret}: 0, {overlay.KindFragment}: 0}
	if l.disk.config != nil {
		for _, p := range l.disk.config.Peers {
			of[label{p.Origin.Kind}]++
		}
	}
	l.Metrics.peers.set(of)
}

// tellRefused logs each claim once when it is refused or waits, and once when it no longer does.
func (l *Loop) tellRefused(rs []overlay.Rejection) {
	changes := l.refused.take(rs, time.Now())
	rejections, waiting := map[label]int{}, map[label]int{}
	for _, r := range rs {
		if r.Waiting {
			waiting[label{r.Origin.Kind, r.Field}]++
		} else {
			rejections[label{r.Origin.Kind, r.Field, string(r.Cause)}]++
		}
	}
	l.Metrics.rejections.set(rejections)
	l.Metrics.waiting.set(waiting)
	for _, c := range changes {
		for _, r := range c.refused {
			if r.Waiting {
				l.Log.Info("peer waits", "peer", c.object, "err", r.Claim())
			} else {
				l.Log.Warn("claim refused", "peer", c.object, "err", r.Claim())
			}
		}
		if c.more > 0 {
			l.Log.Warn("claim refused", "peer", c.object, "err", fmt.Sprintf("and %d more, which it makes no longer", c.more))
		}
		for _, r := range c.over {
			l.Log.Info("no longer so", "peer", c.object, "err", r.Claim())
		}
	}
}

// summary is one line for "systemctl status".
func (l *Loop) summary(peers int, v view, err error) string {
	refused, waiting := 0, 0
	for _, r := range l.refused.now {
		if r.Waiting {
			waiting++
		} else {
			refused++
		}
	}
	s := fmt.Sprintf("%s: %d peers, %d refused, %d waiting", l.Self.Interface, peers, refused, waiting)
	if v.waits != "" {
		s += "; waiting for " + v.waits
	}
	if err != nil {
		s += "; " + err.Error()
	}
	return s
}

// said is what was last logged about a thing, so that each line is logged once.
type said map[string]string

// news reports whether text, about a thing, is worth a line: it is another one than before, and not empty.
func (s said) news(about, text string) bool {
	if s[about] == text {
		return false
	}
	s[about] = text
	return text != ""
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
