// Package service is a daemon's side of its service manager: sd_notify(3) and the HTTP address on which
// /metrics, /healthz and /readyz are served. Without systemd, and with the address Off, it does nothing.
package service

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"wg-kube/internal/retry"
)

// Ready tells systemd that the service is up. It may be called again; only the first time counts.
func Ready() { notify(daemon.SdNotifyReady) }

// Status tells systemd in one line how the service stands.
func Status(line string) { notify("STATUS=" + line) }

// Stopping tells systemd that the service is on its way out.
func Stopping() { notify(daemon.SdNotifyStopping) }

// notify is daemon.SdNotify, which waits for ever for a service manager that is there and does not read. One that does
// not listen is no reason to fail, nor to wait for long: the tunnel matters more.
func notify(state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = c.Write([]byte(state))
}

// Heartbeat ticks as often as a loop is to say Alive: three times in what systemd's watchdog allows. It is nil, and
// never ticks, where there is none.
func Heartbeat() (beat <-chan time.Time, stop func()) {
	allowed, err := daemon.SdWatchdogEnabled(false)
	if err != nil || allowed == 0 {
		return nil, func() {}
	}
	t := time.NewTicker(allowed / 3)
	return t.C, t.Stop
}

// Alive tells systemd's watchdog that the loop that says so goes round. Nothing else may say it for the loop.
func Alive() { notify(daemon.SdNotifyWatchdog) }

// Off is the address on which nothing is served.
const Off = "off"

// CheckAddr says what is wrong with an address to listen on. Whether it is free is seen later.
func CheckAddr(addr string) error {
	if addr == Off {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil || strings.ContainsAny(host, " /") {
		return fmt.Errorf("%q: HOST:PORT is wanted, such as 127.0.0.1:9586, or off", addr)
	}
	return nil
}

// HTTP is what a daemon shows of itself. Whoever can reach Addr can read it: it holds names and public keys, no secret.
type HTTP struct {
	Addr    string // HOST:PORT, or Off
	Metrics *prometheus.Registry
	Alive   func() error // /healthz: what only a restart can cure; nil: nothing
	Ready   func() error // /readyz: why the daemon is not yet, or no longer, as it should be; nil: it is
	Log     *slog.Logger
}

// Serve serves it until ctx is done. Addr may be one that the machine gets later, such as that of the tunnel, or that
// somebody else has for a moment: that is said once, and tried again.
func (h HTTP) Serve(ctx context.Context) {
	if h.Addr == Off {
		return
	}
	retrying := retry.Backoff{First: time.Second, Last: time.Minute}
	for said := ""; ; {
		err := h.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		if said != err.Error() {
			said = err.Error()
			h.Log.Error("no metrics are served", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retrying.Next()):
		}
	}
}

// serve returns why it cannot, or can no longer, serve.
func (h HTTP) serve(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", h.Addr)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.Metrics, promhttp.HandlerOpts{}))
	mux.Handle("GET /healthz", probe(h.Alive))
	mux.Handle("GET /readyz", probe(h.Ready))
	conns := &newest{Listener: l}
	srv := &http.Server{Handler: conns.answer(mux), ConnState: conns.state, ReadTimeout: 2 * time.Second, WriteTimeout: 10 * time.Second}
	srv.SetKeepAlivesEnabled(false)
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	return fmt.Errorf("metrics: %w", srv.Serve(conns))
}

// probe answers 200 if there is nothing to say, else 503 with what there is.
func probe(ask func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := ask(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}
