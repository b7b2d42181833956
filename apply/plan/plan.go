// Package plan says what has to be done so that a live device is what a file wants.
//
// Want gives a file its meaning, which is wg-quick's. Diff compares that with what is live and returns the
// steps between them. The package is pure: time, resolved names, path MTUs and the endpoints last asked for
// are inputs.
//
// What is ours: on our device, every route with our protocol number or "boot" (which is what wg-quick leaves
// behind); every rule with our protocol number or the device's fwmark. Nothing else is ever touched.
package plan

import (
	"net/netip"
	"time"

	"wg-kube/templates/wgquick"
)

// Protocol is the number (rtm_protocol, fra_protocol) on the routes and rules that wg-apply adds.
const Protocol = 151

// Underlay is what the meaning of a file depends on beside the file.
type Underlay struct {
	Resolved map[string]netip.AddrPort // an endpoint's String, as written in the file, to its address; missing: not resolved yet
	PathMTU  map[netip.Addr]int        // endpoint address to the MTU of the path or device towards it; missing: no route
	MTU      int                       // of the default route's device; zero: there is no default route
	Tables   map[string]uint32         // the names of rt_tables(5)
	Used     map[uint32]bool           // routing tables that hold a route of somebody else
	Routes   []Route                   // the main table without our device, for conflicts
}

// Desired is what a file means for the kernel.
type Desired struct {
	Interface    string
	MTU          int // bytes
	Addresses    []netip.Prefix
	PrivateKey   wgquick.SecretKey // clamped; zero: none
	ListenPort   uint16            // zero: the kernel's choice
	FwMark       uint32            // the device's, with a default route the table's number too
	Peers        []Peer            // by public key; each prefix belongs to one peer only
	Routes       []Route
	Rules        []Rule
	Firewall     bool // the nftables table that goes with a default route
	SrcValidMark bool // net.ipv4.conf.all.src_valid_mark=1
}

// Peer is a peer as the kernel has it, or should.
type Peer struct {
	Name         string // for people; the origin
	PublicKey    wgquick.PublicKey
	PresharedKey wgquick.SecretKey
	Asked        wgquick.Endpoint // want: what the file says. live: what the file last asked for
	Endpoint     netip.AddrPort   // want: Asked resolved, zero: none or not resolved. live: the one in use
	AllowedIPs   []netip.Prefix   // masked, sorted
	Keepalive    uint16           // seconds; zero: off

	// live only
	LastHandshake time.Time
	RxBytes       int64
	TxBytes       int64
}

// Route is a route through our device with scope link (v4), as wg-quick adds it.
type Route struct {
	Table    uint32
	Dst      netip.Prefix
	Protocol int    // live only
	Device   string // Underlay.Routes only
}

// Rule is a policy routing rule of a default route.
type Rule struct {
	V6       bool
	Priority int    // live only; zero: the kernel chooses, as for wg-quick
	Not      bool   // "not fwmark"
	Mark     uint32 // zero: none
	Table    uint32
	Suppress int // suppress_prefixlength; -1: none
	Protocol int // live only
}

// Live is what was observed of one interface. The zero value is an interface that does not exist.
type Live struct {
	Exists       bool
	Userspace    bool // a wg-device serves it
	Ours         bool // its alias says that wg-apply made it
	Up           bool
	MTU          int
	Addresses    []netip.Prefix
	PrivateKey   wgquick.SecretKey
	ListenPort   uint16
	FwMark       uint32
	Peers        []Peer
	Routes       []Route // what is ours, and of everyone else's on our device what covers one of ours
	Rules        []Rule
	Firewall     bool
	SrcValidMark bool
	Now          time.Time
}

// Want gives a file its meaning. The error names file line and peer: what wg-quick would fail on, and a route
// that would swallow a peer's own endpoint.
func Want(c *wgquick.Config, iface string, u Underlay) (Desired, error) { panic("not written yet") }

// Plan is an ordered list of steps. The zero value does nothing.
type Plan struct {
	Interface string
	Steps     []Step
}

// Diff returns the steps that lead from live to want.
func Diff(want Desired, live Live) Plan { panic("not written yet") }

// Empty reports whether there is nothing to do.
func (p Plan) Empty() bool { return len(p.Steps) == 0 }

// String is the plan as the ip(8) and wg(8) commands that a person would type, a line each. It shows no secret.
func (p Plan) String() string { panic("not written yet") }

// After simulates the plan on what is ours.
func (l Live) After(p Plan) Live { panic("not written yet") }

// Step is one change.
type Step interface{ String() string }
