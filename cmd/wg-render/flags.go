package main

import (
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"wg-kube/internal/cli"
	"wg-kube/internal/service"
	"wg-kube/render/overlay"
	"wg-kube/render/source/secrets"
	"wg-kube/templates/wgquick"
)

// options is the command line as it was given. The zero value of a field: it was not, and complete fills it in.
type options struct {
	role       string
	iface      string
	nodeName   string
	prefix     string
	address    []netip.Prefix
	listenPort uint16
	mtu        int
	allowedIPs []netip.Prefix
	hubAllowed []netip.Prefix
	hubs       []string
	hubKeys    []wgquick.PublicKey
	endpoint   netip.AddrPort
	site       string
	vpcIP      netip.Addr
	keepalive  uint16
	nodes      string
	kubeconfig string
	apiServer  []netip.Addr
	peerCIDRs  []netip.Prefix

	peersNamespace   string
	crdPeerCIDRs     []netip.Prefix
	secretsNamespace string
	secretPeerCIDRs  []netip.Prefix
	maxPeers         int

	out         string
	peersDir    string
	runDir      string
	settle      time.Duration
	metricsAddr string
	logLevel    string
	logFormat   string
}

// envNames are the environment variables that are not WG_ and the flag's name.
var envNames = map[string]string{
	"annotation-prefix": "ANNOTATION_PREFIX",
	"hub-allowed-ips":   "HUB_ALLOWED_IPS",
	"kubeconfig":        "KUBECONFIG",
	"node-name":         "NODE_NAME",
}

// noUse are environment variables of an earlier shell spoke, and why they do nothing any more.
var noUse = map[string]string{
	"POLL_INTERVAL": "nothing is polled: every change is watched",
	"WG_DAEMONIZE":  "wg-render stays in the foreground: systemd or the kubelet runs it",
	"WG_LOG_FILE":   "the log goes to standard error: journald or the kubelet keeps it",
}

const (
	defaultPeersDir   = "/etc/wg-kube/IFACE.peers.d"
	hubAddress        = "100.96.0.1/32"
	spokeAddress      = "100.96.0.2/32"
	spokeKubeconfig   = "/etc/kubernetes/kubelet.conf"
	defaultListenPort = 51820
	defaultKeepalive  = 25
)

func (o *options) register(fs *pflag.FlagSet) {
	fs.StringVar(&o.role, "role", "", "`hub|spoke|mesh`; required. A hub peers with every peer, a spoke with the hubs and its own site, a mesh node with every labelled Node")

	fs.StringVar(&o.nodes, "nodes", "", "read Nodes from this file or folder of YAML or JSON, not from Kubernetes")
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "how to reach Kubernetes (hub, mesh: in-cluster, spoke: "+spokeKubeconfig+")")
	fs.StringVar(&o.nodeName, "node-name", "", "the name of the own Node (the host's name)")
	fs.StringVar(&o.prefix, "annotation-prefix", "wireguard.kube/", "put in front of each label and annotation as it is")

	fs.StringVar(&o.iface, "interface", "wg0", "the interface")
	list(fs, &o.address, parseCIDR, "address", "CIDR,...", "the interface's addresses (hub: "+hubAddress+", spoke: "+spokeAddress+", mesh: the first of each podCIDR)")
	fs.Uint16Var(&o.listenPort, "listen-port", defaultListenPort, "the UDP port")
	fs.IntVar(&o.mtu, "mtu", 0, "in bytes; 0 is wg-quick's rule")
	fs.Uint16Var(&o.keepalive, "keepalive", defaultKeepalive, "in seconds, towards peers with an endpoint; 0 is off")
	one(fs, &o.endpoint, parseIPPort, "endpoint", "IP:PORT", "where others reach this node (hub, mesh: its ExternalIP, in a mesh else its InternalIP, at the listen port)")
	list(fs, &o.allowedIPs, parseCIDR, "allowed-ips", "CIDR,...", "what this node advertises, in a mesh beside its podCIDRs (the addresses)")
	list(fs, &o.hubAllowed, parseCIDR, "hub-allowed-ips", "CIDR,...", "spoke: what it sends to the hub, a default route included (what the hub advertises)")
	list(fs, &o.hubs, parseNodeName, "hub", "NAME,...", "spoke: take no other Node for a hub (any with the hub label)")
	list(fs, &o.hubKeys, wgquick.ParsePublicKey, "hub-public-key", "KEY,...", "spoke: take no other key from a hub (any)")
	fs.StringVar(&o.site, "site", "", "spoke: peer directly with the Nodes of this site (the site label of the own Node)")
	one(fs, &o.vpcIP, parseIP, "vpc-ip", "IP", "spoke: where the Nodes of its site reach it (the address of the default route's device)")

	list(fs, &o.peerCIDRs, parseCIDR, "peer-cidrs", "CIDR,...", "what a Node may claim at all (anything)")
	fs.StringVar(&o.peersNamespace, "peers-namespace", "", "the WireGuardPeers of this namespace are peers (none are)")
	list(fs, &o.crdPeerCIDRs, parseCIDR, "crd-peer-cidrs", "CIDR,...", "what a WireGuardPeer may claim at all (anything)")
	fs.StringVar(&o.secretsNamespace, "secrets-namespace", "", "the Secrets of this namespace with the label "+secrets.Selector+" are peers (none are)")
	list(fs, &o.secretPeerCIDRs, parseCIDR, "secret-peer-cidrs", "CIDR,...", "what such a Secret may claim at all (anything)")
	fs.IntVar(&o.maxPeers, "max-peers", wgquick.MaxPeers, "how many peers are proposed, and four times as many prefixes, which must be no more than wg-apply takes; 0: any number")
	list(fs, &o.apiServer, parseIP, "api-server", "IP,...", "addresses of the API server, which no spoke may claim (those of the kubeconfig)")

	fs.StringVar(&o.out, "out", "/var/lib/wg-render", "the folder of proposals")
	fs.StringVar(&o.peersDir, "peers-dir", "", "the folder of static fragments ("+defaultPeersDir+")")
	fs.StringVar(&o.runDir, "run-dir", "/run/wg-kube", "where wg-apply says which public key the interface has")
	fs.DurationVar(&o.settle, "settle", 100*time.Millisecond, "after a change, how long further ones are collected, for each peer that it concerned; 1.2 s at most")

	fs.StringVar(&o.metricsAddr, "metrics-addr", "127.0.0.1:9586", "serve /metrics, /healthz and /readyz on this `HOST:PORT`, or off")
	fs.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&o.logFormat, "log-format", "text", "text or json")

	cli.ShowEnv(fs, envNames)
}

// complete takes what the command line left alone from the environment, refuses what contradicts itself, and fills
// in the defaults that hang on the role or on this host.
func (o *options) complete(fs *pflag.FlagSet, getenv func(string) string) error {
	onLine := fs.Changed("kubeconfig") // the variable is in many a shell, and --nodes goes before it
	if err := cli.FromEnv(fs, envNames, getenv); err != nil {
		return err
	}
	if onLine && o.nodes != "" {
		return cli.Usagef("--nodes, --kubeconfig: Nodes come from manifests or from Kubernetes, not from both")
	}
	switch overlay.Role(o.role) {
	case overlay.Hub, overlay.Mesh:
		for _, flag := range []string{"hub", "hub-allowed-ips", "hub-public-key", "site", "vpc-ip"} {
			if fs.Changed(flag) {
				return cli.Usagef("--%s: it is for a spoke, and --role is %s", flag, o.role)
			}
		}
	case overlay.Spoke:
	case "":
		return cli.Usagef("--role: it is required: hub, spoke or mesh")
	default:
		return cli.Usagef("--role: %q: hub, spoke or mesh is wanted", o.role)
	}
	o.defaults()
	return o.check()
}

func (o *options) defaults() {
	if o.nodeName == "" {
		name, _ := os.Hostname() // an empty one is refused below
		o.nodeName = strings.ToLower(name)
	}
	if o.peersDir == "" {
		o.peersDir = strings.ReplaceAll(defaultPeersDir, "IFACE", o.iface)
	}
	switch overlay.Role(o.role) {
	case overlay.Hub:
		if len(o.address) == 0 {
			o.address = []netip.Prefix{netip.MustParsePrefix(hubAddress)}
		}
	case overlay.Spoke:
		if len(o.address) == 0 {
			o.address = []netip.Prefix{netip.MustParsePrefix(spokeAddress)}
		}
		if o.kubeconfig == "" {
			o.kubeconfig = spokeKubeconfig
		}
		if !o.vpcIP.IsValid() {
			o.vpcIP = underlayAddress()
		}
	}
}

func (o *options) check() error {
	if err := wgquick.CheckName(o.iface); err != nil {
		return cli.Usagef("--interface: %w", err)
	}
	if _, err := parseNodeName(o.nodeName); err != nil {
		return cli.Usagef("--node-name: %w", err)
	}
	if faults := validation.IsQualifiedName(o.prefix + overlay.AnnotationPublicKey); len(faults) > 0 {
		return cli.Usagef("--annotation-prefix: %q: %q is no name of an annotation", o.prefix, o.prefix+overlay.AnnotationPublicKey)
	}
	for _, n := range []struct{ flag, value string }{{"peers-namespace", o.peersNamespace}, {"secrets-namespace", o.secretsNamespace}} {
		switch {
		case n.value == "":
		case len(validation.IsDNS1123Label(n.value)) > 0:
			return cli.Usagef("--%s: %q: no namespace has such a name", n.flag, n.value)
		case o.role == string(overlay.Spoke):
			return cli.Usagef("--%s: it is not for a spoke, which peers with Nodes alone", n.flag)
		case o.nodes != "":
			return cli.Usagef("--nodes, --%s: with manifests nothing comes from an API server", n.flag)
		}
	}
	if faults := validation.IsValidLabelValue(o.site); len(faults) > 0 {
		return cli.Usagef("--site: %q: no label has such a value", o.site)
	}
	if o.listenPort == 0 {
		return cli.Usagef("--listen-port: 0: the others must know the port, so the kernel cannot choose it")
	}
	if err := service.CheckAddr(o.metricsAddr); err != nil {
		return cli.Usagef("--metrics-addr: %w", err)
	}
	if o.maxPeers < 0 {
		return cli.Usagef("--max-peers: %d: less than nothing", o.maxPeers)
	}
	if o.settle < 0 {
		return cli.Usagef("--settle: %v: it is negative", o.settle)
	}
	return nil
}
