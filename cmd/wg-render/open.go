package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"wg-kube/internal/cli"
	"wg-kube/render"
	"wg-kube/render/overlay"
	"wg-kube/render/source/fragments"
	"wg-kube/render/source/kube"
	"wg-kube/render/source/manifests"
	"wg-kube/render/source/peers"
	"wg-kube/render/source/secrets"
	"wg-kube/templates/wgquick"
)

// program is everything wired together, and not yet running.
type program struct {
	loop     *render.Loop
	log      *slog.Logger
	registry *prometheus.Registry
}

// flagOf is the flag that a key of the [Interface] section comes from.
var flagOf = map[string]string{"Address": "--address", "ListenPort": "--listen-port", "MTU": "--mtu"}

func open(o *options, cmd *cobra.Command) (*program, error) {
	if err := o.complete(cmd.Flags(), os.Getenv); err != nil {
		return nil, err
	}
	log, err := cli.Logger(cmd.ErrOrStderr(), o.logLevel, o.logFormat)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(noUse)) {
		if os.Getenv(name) != "" {
			log.Info(name + " is accepted and does nothing: " + noUse[name])
		}
	}

	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	c := render.Config{
		Self:    o.self(),
		Policy:  o.policy(),
		Out:     o.out,
		RunDir:  o.runDir,
		Settle:  o.settle,
		Log:     log,
		Metrics: render.NewMetrics(registry),
	}
	if _, err := overlay.Alone(c.Self, c.Policy).Marshal(); err != nil {
		var faults wgquick.Faults
		if errors.As(err, &faults) {
			err = fmt.Errorf("%s: %s", flagOf[faults[0].Key], strings.ReplaceAll(faults[0].Msg, `"`, ""))
		}
		return nil, cli.Exit{Code: cli.Usage, Err: err}
	}

	static, err := fragments.New(o.peersDir, log)
	if err != nil {
		return nil, err
	}
	c.Fragments = static
	c.Metrics.SourceFaults("fragments", static.Faults)
	if err := o.openNodes(&c); err != nil {
		return nil, err
	}
	loop, err := render.New(c)
	return &program{loop, log, registry}, err
}

// openNodes adds the source of Nodes to c.
func (o *options) openNodes(c *render.Config) error {
	if o.nodes != "" {
		nodes, err := manifests.New(o.nodes, c.Log)
		if err != nil {
			return err
		}
		c.Nodes = nodes
		c.Metrics.SourceFaults("manifests", nodes.Faults)
		return nil
	}
	klog.SetSlogLogger(c.Log) // what client-go says
	nodes, err := kube.New(kube.Config{
		Kubeconfig: o.kubeconfig,
		Node:       o.nodeName,
		Role:       c.Self.Role,
		Prefix:     o.prefix,
		Site:       o.site,
		Log:        c.Log,
	})
	if err != nil {
		return cli.Exit{Code: cli.Usage, Err: err}
	}
	c.Nodes = nodes
	c.Metrics.SourceHeard("kube", nodes.LastSync)
	c.Metrics.SourceOutOfTouch("kube", nodes.OutOfTouch)
	kube.CountRequests(c.Metrics.Requests())
	if o.peersNamespace != "" {
		from := peers.New(nodes, o.peersNamespace)
		c.Peers = append(c.Peers, from)
		c.Metrics.SourceHeard("peers", from.LastSync)
	}
	if o.secretsNamespace != "" {
		from := secrets.New(nodes, o.secretsNamespace)
		c.Peers = append(c.Peers, from)
		c.Metrics.SourceHeard("secrets", from.LastSync)
	}
	if len(o.apiServer) == 0 {
		c.APIServer = nodes.APIServerAddrs
	}
	return nil
}

func (o *options) self() overlay.Self {
	return overlay.Self{
		Node:          o.nodeName,
		Role:          overlay.Role(o.role),
		Interface:     o.iface,
		Address:       o.address,
		ListenPort:    o.listenPort,
		MTU:           o.mtu,
		AllowedIPs:    o.allowedIPs,
		HubAllowedIPs: o.hubAllowed,
		Endpoint:      o.endpoint,
		Site:          o.site,
		VPCIP:         o.vpcIP,
		Keepalive:     o.keepalive,
	}
}

func (o *options) policy() overlay.Policy {
	from := "Kubernetes"
	if o.nodes != "" {
		from = o.nodes
	}
	if o.peersNamespace != "" {
		from += ", the WireGuardPeers of " + o.peersNamespace
	}
	if o.secretsNamespace != "" {
		from += ", the Secrets of " + o.secretsNamespace
	}
	return overlay.Policy{
		Prefix:    o.prefix,
		APIServer: o.apiServer,
		PeerCIDRs: map[string][]netip.Prefix{
			overlay.KindNode:          o.peerCIDRs,
			overlay.KindWireGuardPeer: o.crdPeerCIDRs,
			overlay.KindSecret:        o.secretPeerCIDRs,
		},
		MaxPeers: o.maxPeers,
		Hubs:     o.hubs,
		HubKeys:  o.hubKeys,
		From:     from,
		PeersDir: o.peersDir,
	}
}
