// Package plan says what has to be done so that a live device is what a file wants.
//
// Want gives a file its meaning, which is wg-quick's. Diff compares that with what is live and returns the
// steps between them. The package is pure: time, resolved names, path MTUs and the endpoints last asked for
// are inputs. It refuses to take a link down, to replace a peer or its prefixes as a whole, and to touch
// what is not ours.
//
// What is ours, on our device: the peers; the addresses, but the link-local one that a userspace device gets
// from the kernel; every route with our protocol number, and on a link that is not of our making those with "boot"
// for one of the AllowedIPs, which is what wg-quick leaves behind (a hook adds others, and with Table=off these
// as well: they stay). And of the rules, with our number or "boot", "not fwmark T lookup T" where T is the device's
// mark, that of its firewall, or the table of a default route of ours, with the "lookup main suppress_prefixlength 0" directly before it.
//
// The order of a plan: link, firewall, addresses, device, peers gained, prefixes moved, MTU and up, talkers
// greeted, routes gained, mark, rules gained, default routes gained; then rules, routes, prefixes, peers, addresses,
// firewall removed. So nothing that is wanted before and after is ever missing in between, nothing but what a default
// route is for ever takes it, and a plan that stops half way leaves a difference that the next one sees. The
// exceptions, each with its reason:
//
//   - Taking a prefix off a peer that stays needs a throw-away peer (DropPrefixes): the kernel's own way
//     replaces all the prefixes of the peer, one by one, and drops packets meanwhile.
//   - The first IPv4 address of a subnet takes the others with it when it goes, and of those of all subnets the first
//     is the source of what the routes send. So they have to be in the order of the file. To get there, an address is
//     taken away and comes back behind the others; while it is away, the same address with another prefix length and
//     a route for the subnet hold its place. They are gone at the end.
//   - With the last IPv4 address the kernel removes every IPv4 route of the device: they are added once more.
//   - An IPv6 address is there once, whatever its prefix length: with a new length it is removed and added.
//   - A mark that changes does so between the routes and the rules gained, one that goes after the rules
//     removed: the rules send whatever lacks the mark into the tunnel, the tunnel's own packets included.
//
// The order of the IPv6 addresses of a live device is not repaired. It decides only between addresses that are equally
// near to where a packet goes, and IPv6 has nothing that could hold the place of one.
package plan

import (
	"net/netip"
	"strings"
	"time"

	"wg-kube/templates/wgquick"
)

// Protocol is the number (rtm_protocol, fra_protocol) on the routes and rules that wg-apply adds.
const Protocol = 151

// What the kernel and ip(8) call things.
const (
	protocolKernel = 2 // the connected route of an address
	protocolBoot   = 3 // whatever ip(8) adds, and so wg-quick

	tableMain  = 254
	tableLocal = 255

	metricV6 = 1024 // of an IPv6 route that is added with none
)

// Underlay is what the meaning of a file depends on beside the file.
type Underlay struct {
	Resolved map[string]netip.AddrPort // an endpoint's String, as written in the file, to its address; missing: not resolved yet
	PathMTU  map[netip.Addr]int        // endpoint address to the MTU of the path or device towards it; missing: no route
	MTU      int                       // of the default route's device; zero: there is no default route
	Tables   map[string]uint32         // the names of rt_tables(5)
	Used     map[uint32]bool           // routing tables that hold a route of somebody else
	FwMark   uint32                    // of our own live device; zero: none. Without FwMark in the file it is kept
	Routes   []Route                   // every table but local, without our device, for conflicts
	NoIPv6   bool                      // the device can have no IPv6 address and no IPv6 route
	LinkMTU  int                       // of our own live device; zero: there is none
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
	Table        string // as in the file, "auto" where it is silent: tells what wg-quick left behind from what a person did
	Firewall     Families
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
	Talking      bool             // want only, for a link that is made anew: it was talking when the old one went

	// live only
	LastHandshake time.Time
	RxBytes       int64
	TxBytes       int64
	Unanswered    bool // we sent, and nothing came back, for long enough to matter; whoever keeps the counters says so
}

// Route is a route through our device with scope link (v4), as wg-quick adds it.
type Route struct {
	Table    uint32
	Dst      netip.Prefix
	Protocol int    // live only
	Metric   int    // live and Underlay.Routes only; what we add has none, which IPv6 calls 1024
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

// Plan is an ordered list of steps. The zero value does nothing.
type Plan struct {
	Interface string
	Steps     []Step
	KeepLink  bool // a new link stays when nothing but some of its routes could not be added
}

// Empty reports whether there is nothing to do.
func (p Plan) Empty() bool { return len(p.Steps) == 0 }

// String is the plan as the ip(8) and wg(8) commands that a person would type, a line each. It shows no secret.
func (p Plan) String() string {
	var b strings.Builder
	for _, s := range p.Steps {
		b.WriteString(s.String())
		b.WriteByte('\n')
	}
	return b.String()
}
