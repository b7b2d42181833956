// Package wgquick is the wg-quick file as a value: Parse reads it, Marshal writes it.
//
// The grammar is that of wg(8) and wg-quick(8), as the programs behave and not only as they are documented;
// files that they refuse are refused here with file and line. A few files that they accept are refused as well,
// because what they mean is never what was meant (the same peer twice, a port above 65535, SaveConfig,
// an MTU below 1280 beside an IPv6 address) or not the same to every reader (octal numbers, ports by name).
// The list is whole in judge_test.go, with the reason for each: there the real programs judge this package.
//
// Where versions of wg-quick differ, the newer one counts: # does not end a hook.
//
// The package is pure. It opens no file, resolves no name and knows no device.
package wgquick

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// ProposalHead is the first line of Head in every file that wg-render writes. Such a file ends with an end mark.
const ProposalHead = "Proposed by wg-render."

// MaxSize of a file, in bytes: wg-apply reads no larger one, so wg-render writes none. 2^16 peers have room in it.
const MaxSize = 16 << 20

// MaxPeers is how many peers a proposal has at most, where --max-peers of both programs does not say otherwise, and
// PrefixesAPeer times as many prefixes: every peer costs the kernel memory, every prefix a route.
const (
	MaxPeers      = 16384
	PrefixesAPeer = 4
)

// MaxNames is how many endpoints of a proposal may be names; only fragments have such. Each is a question to the resolver.
const MaxNames = 256

// Config is one wg-quick file.
// The zero value is an interface without key, address or peer.
type Config struct {
	Head      []string // comment lines before the first section, without their "# "
	Interface Interface
	Peers     []Peer   // in the order of the file
	Refused   []string // "# refused: " comment lines after the last peer, without that prefix
	End       bool     // the last line is an end mark that holds: the file is complete as its writer meant it
}

// Interface is the [Interface] section. For each field the zero value means: not said.
type Interface struct {
	PrivateKey SecretKey
	ListenPort uint16 // zero: the kernel chooses
	FwMark     uint32
	Address    []netip.Prefix // with host bits, in the order of the file: the first of a family is the primary one
	MTU        int            // bytes; zero: wg-quick's rule
	Table      string         // "" and "auto": wg-quick's rule; "off"; a number; a name of rt_tables(5)
	DNS        []string       // addresses and search domains
	PreUp      []string
	PostUp     []string
	PreDown    []string
	PostDown   []string
	Line       int // of the first section's header, from 1; zero: there is none. Not part of the interface's meaning
}

// Peer is one [Peer] section. For each field but PublicKey the zero value means: not said.
type Peer struct {
	Origin              Origin         // who asked for this peer; read back from the comment over it
	Hub                 bool           // all that is no peer here is reached through it
	Held                time.Time      // since when its removal waits for "wg-apply accept", in UTC, whole seconds; zero: it does not
	Unjudged            []netip.Prefix // those of AllowedIPs that came while the name of an endpoint in the file had no address, and may hold it
	PublicKey           PublicKey
	PresharedKey        SecretKey
	AllowedIPs          []netip.Prefix // masked, in the order of the file
	Endpoint            Endpoint
	PersistentKeepalive uint16 // seconds; zero: off
	Line                int    // of the section's header, from 1; zero: not read from a file. Not part of the peer's meaning
}

// Origin names the object that a peer comes from, so that people find it and Build knows its incumbents.
// The zero value is a peer that somebody wrote by hand.
type Origin struct {
	Kind string // "Node", "fragment"; no white space and no slash
	Name string // as the source names it; no white space
	UID  string // where the source has one; no white space
}

// String is KIND/NAME, the form used in comments, logs and errors. The zero value gives "".
func (o Origin) String() string {
	if o == (Origin{}) {
		return ""
	}
	return o.Kind + "/" + o.Name
}

// Endpoint is a host, which may be a name, and a UDP port. The zero value is no endpoint.
type Endpoint struct {
	Host string // an IP address without brackets, or a name
	Port uint16
}

// IsZero reports whether there is no endpoint.
func (e Endpoint) IsZero() bool { return e == Endpoint{} }

// AddrPort returns the endpoint as an address, and false if its host is a name or there is none.
func (e Endpoint) AddrPort() (netip.AddrPort, bool) {
	if e.Host == "" {
		return netip.AddrPort{}, false
	}
	a, err := netip.ParseAddr(e.Host)
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap(), e.Port), true
}

// String is host:port, with brackets around an IPv6 address. The zero value gives "".
func (e Endpoint) String() string {
	if e.IsZero() {
		return ""
	}
	host := e.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(e.Port))
}

// MarshalText is String, for JSON.
func (e Endpoint) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText is the inverse of MarshalText; the empty text is no endpoint.
func (e *Endpoint) UnmarshalText(b []byte) error {
	*e = Endpoint{}
	if len(b) == 0 {
		return nil
	}
	return readEndpoint(e, string(b))
}

// EndpointOf is the endpoint at an address.
func EndpointOf(a netip.AddrPort) Endpoint {
	return Endpoint{Host: a.Addr().String(), Port: a.Port()}
}
