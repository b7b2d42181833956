package plan

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"wg-kube/templates/wgquick"
)

// Step is one change. Each names its interface, so that it can be read, logged and carried out alone.
// The concrete types in this file are all there are; all are values, none are pointers.
//
// Where a step is satisfied by what is there, or gone, already, its comment says so.
type Step interface {
	// String is the ip(8), wg(8), nft(8) or sysctl(8) command that a person would type. It shows no secret.
	String() string
	// after does the same to a simulated device.
	after(*model)
}

// AddLink makes the interface: the kernel's, or where it can not, one that a wg-device serves. It is down.
type AddLink struct{ Iface string }

// SetMTU sets the MTU of the link.
type SetMTU struct {
	Iface string
	MTU   int // bytes
}

// SetUp brings the link up. There is no step that takes it down.
type SetUp struct{ Iface string }

// AddAddress adds an address, without broadcast. An address that is there already satisfies it.
type AddAddress struct {
	Iface   string
	Address netip.Prefix // with host bits
}

// DelAddress removes an address. The kernel may remove more with it: see the package comment.
// An address that is gone already satisfies it.
type DelAddress struct {
	Iface   string
	Address netip.Prefix // with host bits
}

// SetDevice changes fields of the WireGuard device. A nil field stays as it is.
type SetDevice struct {
	Iface      string
	PrivateKey *wgquick.SecretKey // clamped
	ListenPort *uint16            // never zero
	FwMark     *uint32            // zero: off
}

// AddPeer makes a peer that is not there, with all that it has. Prefixes that another peer has move to it.
type AddPeer struct {
	Iface        string
	Name         string // for people
	PublicKey    wgquick.PublicKey
	PresharedKey wgquick.SecretKey // zero: none
	Endpoint     netip.AddrPort    // zero: none
	Keepalive    uint16            // seconds; zero: off
	AllowedIPs   []netip.Prefix
}

// SetPeer changes fields of a peer that is there, and does nothing if it is not (UpdateOnly).
// A nil field stays as it is.
type SetPeer struct {
	Iface        string
	Name         string // for people
	PublicKey    wgquick.PublicKey
	PresharedKey *wgquick.SecretKey // zero: remove it
	Endpoint     *netip.AddrPort    // never zero
	Keepalive    *uint16            // seconds; zero: off
}

// AddPrefixes gives prefixes to a peer that is there (UpdateOnly, without ReplaceAllowedIPs).
// One that another peer has moves at once, without a moment in which nobody has it.
type AddPrefixes struct {
	Iface     string
	Name      string // for people
	PublicKey wgquick.PublicKey
	Prefixes  []netip.Prefix
}

// DropPrefixes takes prefixes off a peer that stays, and gives them to nobody.
// It is carried out with a throw-away peer: its key is random, the prefixes move to it, and it is removed,
// in two calls. The peer that stays is not touched.
type DropPrefixes struct {
	Iface     string
	Name      string // for people
	PublicKey wgquick.PublicKey
	Prefixes  []netip.Prefix
}

// RemovePeer removes a peer, with its session.
type RemovePeer struct {
	Iface     string
	Name      string // for people; often unknown
	PublicKey wgquick.PublicKey
}

// Greet starts a handshake with a peer that is there and has no keepalive of its own: it gets one, which makes the
// device call at once, and loses it again. Nothing else of the peer is changed. The link is up.
type Greet struct {
	Iface     string
	Name      string // for people
	PublicKey wgquick.PublicKey
}

// GreetKeepalive is the keepalive that a peer has for a moment, in seconds.
const GreetKeepalive = 25

// AddRoute adds a route through the interface with our Protocol: scope link for IPv4, as wg-quick does.
// A route of somebody else with the same destination makes it fail, unless Append is set.
type AddRoute struct {
	Iface  string
	Route  Route
	Append bool // IPv4 only: beside the kernel's own route for an address that is about to go (NLM_F_APPEND, not NLM_F_EXCL)
}

// DelRoute removes a route of ours. Route.Protocol and Route.Metric are those of the live one and go into
// the message, so that the kernel refuses to delete another's. A route that is gone already satisfies it.
type DelRoute struct {
	Iface string
	Route Route
}

// AddRule adds a policy routing rule with our Protocol.
// With Priority zero the kernel chooses one before all others but that of the local table.
type AddRule struct {
	Iface string
	Rule  Rule
}

// DelRule removes a rule. Rule is the live one, with its priority and protocol.
// A rule that is gone already satisfies it.
type DelRule struct {
	Iface string
	Rule  Rule
}

// SetFirewall makes or replaces, in one transaction, the nftables tables wg-quick-IFACE that go with a default
// route: drop what is sent to one of our addresses on another interface from afar, and carry the mark of our
// own packets through conntrack. There is a table for each family of V4, V6; a table of the other family goes.
type SetFirewall struct {
	Iface  string
	FwMark uint32
	Families
	Guard []netip.Addr // our addresses, of those families only
}

// DelFirewall removes the tables of SetFirewall.
type DelFirewall struct{ Iface string }

// SetSrcValidMark sets net.ipv4.conf.all.src_valid_mark to 1. It is never set back: others may rely on it.
type SetSrcValidMark struct{ Iface string }

func (s AddLink) String() string { return "ip link add " + s.Iface + " type wireguard" }
func (s SetMTU) String() string  { return fmt.Sprintf("ip link set mtu %d dev %s", s.MTU, s.Iface) }
func (s SetUp) String() string   { return "ip link set up dev " + s.Iface }

func (s AddAddress) String() string {
	return fmt.Sprintf("ip address replace %s dev %s", s.Address, s.Iface)
}

func (s DelAddress) String() string {
	return fmt.Sprintf("ip address delete %s dev %s", s.Address, s.Iface)
}

func (s SetDevice) String() string {
	b := "wg set " + s.Iface
	if s.PrivateKey != nil {
		b += " private-key " + s.PrivateKey.String()
	}
	if s.ListenPort != nil {
		b += fmt.Sprintf(" listen-port %d", *s.ListenPort)
	}
	if s.FwMark != nil {
		b += " fwmark " + orOff(uint64(*s.FwMark))
	}
	return b
}

func (s AddPeer) String() string {
	b := wgSetPeer(s.Iface, s.PublicKey)
	if !s.PresharedKey.IsZero() {
		b += " preshared-key " + s.PresharedKey.String()
	}
	if s.Endpoint.IsValid() {
		b += " endpoint " + s.Endpoint.String()
	}
	if s.Keepalive != 0 {
		b += " persistent-keepalive " + orOff(uint64(s.Keepalive))
	}
	if len(s.AllowedIPs) > 0 {
		b += " allowed-ips " + list("", s.AllowedIPs)
	}
	return b + comment(s.Name)
}

func (s SetPeer) String() string {
	b := wgSetPeer(s.Iface, s.PublicKey)
	if s.PresharedKey != nil {
		if s.PresharedKey.IsZero() {
			b += " preshared-key /dev/null"
		} else {
			b += " preshared-key " + s.PresharedKey.String()
		}
	}
	if s.Endpoint != nil {
		b += " endpoint " + s.Endpoint.String()
	}
	if s.Keepalive != nil {
		b += " persistent-keepalive " + orOff(uint64(*s.Keepalive))
	}
	return b + comment(s.Name)
}

func (s AddPrefixes) String() string {
	return wgSetPeer(s.Iface, s.PublicKey) + " allowed-ips " + list("+", s.Prefixes) + comment(s.Name)
}

func (s DropPrefixes) String() string {
	return wgSetPeer(s.Iface, s.PublicKey) + " allowed-ips " + list("-", s.Prefixes) + comment(s.Name)
}

func (s RemovePeer) String() string {
	return wgSetPeer(s.Iface, s.PublicKey) + " remove" + comment(s.Name)
}

func (s Greet) String() string {
	set := wgSetPeer(s.Iface, s.PublicKey) + " persistent-keepalive "
	return fmt.Sprintf("%s%d; %soff%s", set, GreetKeepalive, set, comment(s.Name))
}

func (s AddRoute) String() string {
	verb := "add"
	if s.Append {
		verb = "append"
	}
	s.Route.Protocol = Protocol
	return s.Route.words(verb, s.Iface)
}

func (s DelRoute) String() string { return s.Route.words("delete", s.Iface) }

func (s AddRule) String() string {
	s.Rule.Protocol = Protocol
	return s.Rule.words("add")
}

func (s DelRule) String() string { return s.Rule.words("delete") }

func (s SetFirewall) String() string {
	var tables []string
	for _, t := range []struct {
		on     bool
		family string
	}{{s.V4, "ip"}, {s.V6, "ip6"}} {
		if t.on {
			tables = append(tables, "add table "+t.family+" wg-quick-"+s.Iface)
		}
	}
	b := fmt.Sprintf("nft '%s' # mark %d", strings.Join(tables, "; "), s.FwMark)
	for _, a := range s.Guard {
		b += ", guard " + a.String()
	}
	return b
}

func (s DelFirewall) String() string {
	return fmt.Sprintf("nft 'destroy table ip wg-quick-%[1]s; destroy table ip6 wg-quick-%[1]s'", s.Iface)
}

func (SetSrcValidMark) String() string { return "sysctl net.ipv4.conf.all.src_valid_mark=1" }

func wgSetPeer(iface string, key wgquick.PublicKey) string {
	return fmt.Sprintf("wg set %s peer %s", iface, key)
}

func (r Route) words(verb, iface string) string {
	b := "ip"
	if r.Dst.Addr().Is6() {
		b += " -6"
	}
	b += fmt.Sprintf(" route %s %s dev %s", verb, r.Dst, iface)
	if r.Table != tableMain {
		b += fmt.Sprintf(" table %d", r.Table)
	}
	if r.Dst.Addr().Is4() {
		b += " scope link"
	}
	return b + " protocol " + protocolName(r.Protocol)
}

func (r Rule) words(verb string) string {
	b := "ip -4 rule " + verb
	if r.V6 {
		b = "ip -6 rule " + verb
	}
	if r.Priority != 0 {
		b += fmt.Sprintf(" priority %d", r.Priority)
	}
	if r.Not {
		b += " not"
	}
	if r.Mark != 0 {
		b += fmt.Sprintf(" fwmark %d", r.Mark)
	}
	b += " table " + tableName(r.Table)
	if r.Suppress >= 0 {
		b += fmt.Sprintf(" suppress_prefixlength %d", r.Suppress)
	}
	return b + " protocol " + protocolName(r.Protocol)
}

func tableName(t uint32) string {
	if t == tableMain {
		return "main"
	}
	return strconv.FormatUint(uint64(t), 10)
}

func protocolName(p int) string {
	if p == protocolBoot {
		return "boot"
	}
	return strconv.Itoa(p)
}

func orOff(n uint64) string {
	if n == 0 {
		return "off"
	}
	return strconv.FormatUint(n, 10)
}

// list is the form of wg(8), each prefix with a sign in front.
func list(sign string, prefixes []netip.Prefix) string {
	words := make([]string, len(prefixes))
	for i, p := range prefixes {
		words[i] = sign + p.String()
	}
	return strings.Join(words, ",")
}

func comment(name string) string {
	if name == "" {
		return ""
	}
	return " # " + name
}
