// Package overlay decides who peers with whom: Nodes, other objects of the API and static fragments go in, a wg-quick
// file comes out.
//
// It is where a claim is judged. What an object of the API says is a request; what the local flags and the
// fragments say is the owner's word. One bad peer never costs another peer anything.
//
// The package is pure. It talks to no API server, reads no file and no clock, logs nothing: what it has to say
// about bad input it returns.
package overlay

import (
	"net/netip"
	"time"

	"wg-kube/templates/wgquick"
)

// Role says whom this node peers with.
type Role string

// The roles that --role takes.
const (
	Hub   Role = "hub"   // peers with every Node that carries the peer label
	Spoke Role = "spoke" // peers with the hubs, and directly with the Nodes of its own site
	Mesh  Role = "mesh"  // peers with every Node that carries the peer or the hub label
)

// Self is this node as its owner configured it. None of it is judged.
type Self struct {
	Node          string // the name of its own Node
	Role          Role
	Interface     string
	Address       []netip.Prefix // empty: in a mesh, the first address of each of its podCIDRs, else none
	ListenPort    uint16
	MTU           int               // bytes; zero: wg-quick's rule
	AllowedIPs    []netip.Prefix    // what this node advertises, in a mesh beside its podCIDRs; empty: Address
	HubAllowedIPs []netip.Prefix    // what a spoke sends to the hub; empty: what the hub advertises
	Endpoint      netip.AddrPort    // where others reach this node; zero: its ExternalIP at ListenPort, in a mesh else its InternalIP; a spoke has none
	Site          string            // empty: the site label of its own Node
	VPCIP         netip.Addr        // where the nodes of its site reach it; zero: nowhere
	Keepalive     uint16            // seconds, towards a peer with an endpoint; zero: off
	PublicKey     wgquick.PublicKey // zero: not known yet
}

// Policy is what holds for everyone.
type Policy struct {
	Prefix    string                    // put in front of every label and annotation as it is
	APIServer []netip.Addr              // no claim of a spoke may cover these
	PeerCIDRs map[string][]netip.Prefix // by the kind of origin: a claim, but for a hub's, must lie inside one of these; none: anywhere
	MaxPeers  int                       // how many peers the file has at most, and wgquick.PrefixesAPeer times as many prefixes; zero: any number
	Hubs      []string                  // the only Nodes that a spoke takes for hubs; empty: any that has the label
	HubKeys   []wgquick.PublicKey       // the only keys that a spoke takes from a hub; empty: any
	From      string                    // where the Nodes come from, for the head of the file; the same from run to run
	PeersDir  string                    // where the fragments come from, for the head of the file; empty: not named
}

// Snapshot is everything the sources know at one moment. The order of its slices means nothing.
type Snapshot struct {
	Nodes     []Node
	Peers     []Peer
	Fragments []Fragment
	Unread    []string // KIND/NAME of what may be there and cannot be read: what it has in the last proposal stays
	Met       []Met    // the peers that call
}

// Met is from where a key calls of which nobody has said where it is, or from where an object called last.
type Met struct {
	PublicKey wgquick.PublicKey // with which it called
	Origin    wgquick.Origin    // the object, which may have another key by now; zero: it is the key that calls
	Addr      netip.Addr
}

// Node is what the overlay needs of a Kubernetes Node. Labels and annotations are as the API has them: unjudged.
type Node struct {
	Name        string
	UID         string
	Created     time.Time
	Labels      map[string]string
	Annotations map[string]string
	PodCIDRs    []netip.Prefix // masked
	InternalIPs []netip.Addr
	ExternalIPs []netip.Addr
	Ready       bool
}

// Peer is an object of the API that describes a peer which is no Node: somebody's laptop, an office. What it says is
// unjudged. A hub takes it for a spoke.
type Peer struct {
	Kind         string // KindWireGuardPeer or KindSecret
	Name         string // NAMESPACE/NAME
	UID          string
	Created      time.Time
	Generation   int64 // of what it says; zero: it has none
	PublicKey    string
	Endpoint     string // "": it calls us
	AllowedIPs   []string
	PresharedKey Preshared
	Keepalive    string // seconds; "": ours, towards a peer with an endpoint
	Err          error  // none of the above can be read: what it has stays
}

// Preshared is a preshared key, as far as it is known. The zero value: there is none.
type Preshared struct {
	Key     wgquick.SecretKey
	Err     error // there should be one. It never contains any of it
	Waiting bool  // Err is that the key is not there yet
}

// Fragment is one file of static peers.
type Fragment struct {
	Name  string         // the file's base name
	Peers []wgquick.Peer // Origin is filled in by Build
	Err   error          // the file cannot be read as it is now: its former peers stay
}
