// Package service is a daemon's side of its service manager: sd_notify(3) and the HTTP address on which
// /metrics and /healthz are served. Without systemd, and without an address, it does nothing.
package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Ready tells systemd that the service is up. It may be called again; only the first time counts.
func Ready() { notify(daemon.SdNotifyReady) }

// Status tells systemd in one line how the service stands.
func Status(line string) { notify("STATUS=" + line) }

// Stopping tells systemd that the service is on its way out.
func Stopping() { notify(daemon.SdNotifyStopping) }

// A service manager that does not listen is no reason to fail: the tunnel matters more.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }

// Watchdog pets systemd's watchdog, where the unit has one, for as long as alive returns true and ctx lasts.
func Watchdog(ctx context.Context, alive func() bool) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return
	}
	t := time.NewTicker(interval / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if alive() {
				notify(daemon.SdNotifyWatchdog)
			}
		}
	}
}

// Serve serves /metrics from r and /healthz on addr until ctx is done. An empty addr serves nothing.
func Serve(ctx context.Context, addr string, r *prometheus.Registry, healthy func() error) error {
	if addr == "" {
		<-ctx.Done()
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := healthy(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}
