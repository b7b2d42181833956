package main

import (
	"errors"
	"net"
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
			if err := checkAddr(metricsAddr); err != nil {
				return cli.Usagef("--metrics-addr: %q: %w", metricsAddr, err)
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
			go func() {
				if err := service.Serve(c.Context(), metricsAddr, registry, d.Healthy); err != nil {
					p.Log.Error("no metrics are served", "err", err) // the tunnel matters more
				}
			}()
			return d.Run(c.Context())
		},
	}
	c.Flags().DurationVar(&p.Resync, "resync", 30*time.Second, "how often a device is looked at when nothing happens; 0: never")
	c.Flags().DurationVar(&p.GoneAfter, "gone-after", 0, "take an interface down when its file has been gone for so long; 0: never")
	c.Flags().StringVar(&metricsAddr, "metrics-addr", "", "serve /metrics and /healthz here, such as 127.0.0.1:9587")
	return p.beside(c)
}

// checkAddr says what is wrong with an address to listen on; "" is nowhere. Whether it is free is seen later.
func checkAddr(addr string) error {
	if addr == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return errors.New("HOST:PORT is wanted, such as 127.0.0.1:9587")
	}
	return nil
}
