package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"wg-kube/apply"
	"wg-kube/internal/cli"
	"wg-kube/internal/service"
)

func (p *program) run() *cobra.Command {
	var metricsAddr string
	c := &cobra.Command{
		Use:   "run [IFACE...]",
		Short: "Keep interfaces as their files say, until told to stop; they stay up then",
		Args:  some,
		RunE: func(c *cobra.Command, args []string) error {
			if p.Resync < 0 || p.GoneAfter < 0 {
				return cli.Usagef("--resync and --gone-after: less than nothing")
			}
			if err := service.CheckAddr(metricsAddr); err != nil {
				return cli.Usagef("--metrics-addr: %w", err)
			}
			p.sayMisnamed()
			k, err := p.open()
			if err != nil {
				return err
			}
			defer k.Close()
			p.Events = k.Events
			d := apply.New(p.Config, args...)
			registry := prometheus.NewRegistry()
			registry.MustRegister(d, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
			go service.HTTP{Addr: metricsAddr, Metrics: registry, Alive: d.Alive, Ready: d.Ready, Log: p.Log}.Serve(c.Context())
			return d.Run(c.Context())
		},
	}
	c.Flags().DurationVar(&p.Resync, "resync", 30*time.Second, "how often a device is looked at when nothing happens; 0: never")
	c.Flags().DurationVar(&p.GoneAfter, "gone-after", 0, "take an interface down when its file has been gone for so long; 0: never")
	c.Flags().StringVar(&metricsAddr, "metrics-addr", "127.0.0.1:9587", "serve /metrics, /healthz and /readyz here, or off")
	c.Flags().BoolVar(&p.PeerMetrics, "metrics-peers", true, "handshake, received and sent bytes of each peer are among the metrics")
	return p.beside(c)
}
