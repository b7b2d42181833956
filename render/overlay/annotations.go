package overlay

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"wg-kube/templates/wgquick"
)

// The vocabulary, without the prefix that Policy puts in front. Labels are compared, annotations are parsed:
// each annotation has its row in read.
const (
	LabelHub  = "hub"  // "true": a hub
	LabelPeer = "peer" // "true": a spoke that takes part
	LabelSite = "site" // spokes that share it peer directly

	AnnotationPublicKey  = "public-key"  // base64
	AnnotationEndpoint   = "endpoint"    // IP:port
	AnnotationAllowedIPs = "allowed-ips" // CIDRs, comma-separated
	AnnotationVPCIP      = "vpc-ip"      // IP, within the site
	AnnotationListenPort = "listen-port" // at vpc-ip
)

// FieldPodCIDRs is what a Rejection calls the podCIDRs of a Node, which are its claim in a mesh. The controller manager
// fills them in, or once the kubelet itself, where no fences keep it from that; so they are judged like the rest.
const FieldPodCIDRs = "podCIDRs"

// defaultPort is where a Node of the same site listens when neither its listen-port nor its endpoint says.
const defaultPort = 51820

// said is what a Node, or another object, says, in types.
type said struct {
	publicKey    reading[wgquick.PublicKey]
	presharedKey Preshared
	endpoint     reading[netip.AddrPort]
	vpcIP        reading[netip.Addr]
	listenPort   reading[uint16]
	allowedIPs   []reading[netip.Prefix] // one an element; empty: not said
	keepalive    reading[uint16]
	words        words
}

// words is what an object calls what it says.
type words struct{ publicKey, presharedKey, endpoint, allowedIPs, keepalive string }

// reading is one value as it came and as it was understood.
type reading[T any] struct {
	raw   string // without the white space around it; "": not said
	value T
	err   error // raw is malformed
}

// annotations are the names, with their prefix, or the values.
type annotations struct{ publicKey, endpoint, vpcIP, listenPort, allowedIPs string }

func newAnnotations(prefix string) annotations {
	return annotations{
		publicKey: prefix + AnnotationPublicKey, endpoint: prefix + AnnotationEndpoint, allowedIPs: prefix + AnnotationAllowedIPs,
		vpcIP: prefix + AnnotationVPCIP, listenPort: prefix + AnnotationListenPort,
	}
}

// of are the values that a Node has.
func (a *annotations) of(n *Node) annotations {
	said := n.Annotations
	return annotations{said[a.publicKey], said[a.endpoint], said[a.vpcIP], said[a.listenPort], said[a.allowedIPs]}
}

func read(values annotations) said {
	return said{
		publicKey:  readOne(values.publicKey, parsePublicKey),
		endpoint:   readOne(values.endpoint, parseEndpoint),
		vpcIP:      readOne(values.vpcIP, parseAddr),
		listenPort: readOne(values.listenPort, parsePort),
		allowedIPs: readList(values.allowedIPs, parsePrefix),
		words:      words{publicKey: AnnotationPublicKey, endpoint: AnnotationEndpoint, allowedIPs: AnnotationAllowedIPs},
	}
}

func readOne[T any](raw string, parse func(string) (T, error)) (r reading[T]) {
	r.raw = strings.TrimSpace(raw)
	if r.raw != "" {
		r.value, r.err = parse(r.raw)
	}
	return r
}

// maxElements of a list are looked at: each costs time at every change of anything, and an object is granted a sixteenth of
// as many.
const maxElements = 16 * maxPrefixes

// tooMany is one reading in the place of so many elements, nil if they are not too many.
func tooMany[T any](elements int) []reading[T] {
	if elements <= maxElements {
		return nil
	}
	return []reading[T]{{raw: fmt.Sprintf("(%d elements)", elements), err: fmt.Errorf("more than the %d that are looked at", maxElements)}}
}

func readList[T any](raw string, parse func(string) (T, error)) (list []reading[T]) {
	if strings.TrimSpace(raw) == "" {
		return nil
	}
	elements := strings.Count(raw, ",") + 1
	if list = tooMany[T](elements); list != nil {
		return list
	}
	list = make([]reading[T], 0, elements)
	for element := range strings.SplitSeq(raw, ",") {
		list = append(list, readNeeded(element, parse, "an empty element between commas"))
	}
	return list
}

// readNeeded is readOne of what must be said.
func readNeeded[T any](raw string, parse func(string) (T, error), missing string) reading[T] {
	r := readOne(raw, parse)
	if r.raw == "" {
		r.err = errors.New(missing)
	}
	return r
}

// zeroKey parses, and is refused where keys are judged: it is well-formed.
var zeroKey = strings.Repeat("A", 43) + "="

func parsePublicKey(s string) (wgquick.PublicKey, error) {
	if s == zeroKey {
		return wgquick.PublicKey{}, nil
	}
	return wgquick.ParsePublicKey(s)
}

func parseEndpoint(s string) (netip.AddrPort, error) {
	e, err := netip.ParseAddrPort(s)
	if err != nil || e.Port() == 0 || e.Addr().Zone() != "" {
		return netip.AddrPort{}, errors.New("not IP:port, with a port from 1 to 65535")
	}
	return netip.AddrPortFrom(e.Addr().Unmap(), e.Port()), nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, errors.New("not an IP address")
	}
	return a.Unmap(), nil
}

func parsePort(s string) (uint16, error) {
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil || port == 0 {
		return 0, errors.New("not a port from 1 to 65535")
	}
	return uint16(port), nil
}

// parsePrefix masks host bits, as the kernel does. A bare address is a host prefix, as for wg(8).
func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		if p, err := netip.ParsePrefix(s); err == nil {
			return p.Masked(), nil
		}
	} else if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return host(a), nil
	}
	return netip.Prefix{}, errors.New("not a CIDR")
}

// host is the prefix of one address.
func host(a netip.Addr) netip.Prefix {
	a = a.WithZone("")
	return netip.PrefixFrom(a, a.BitLen())
}
