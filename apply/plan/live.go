package plan

import (
	"net/netip"
	"time"

	"wg-kube/templates/wgquick"
)

// Live is what was observed of one interface. The zero value is an interface that does not exist.
type Live struct {
	Exists       bool
	Userspace    bool // a wg-device serves it
	Ours         bool // its alias says that wg-apply brought it up
	Up           bool
	MTU          int            // bytes
	Addresses    []netip.Prefix // in the kernel's order: the first IPv4 address of a subnet is its primary one
	PrivateKey   wgquick.SecretKey
	ListenPort   uint16
	FwMark       uint32
	Peers        []Peer
	Routes       []Route // on our device, in every table but local: also those of somebody else, told by Protocol
	Rules        []Rule  // of both families, all that have the form of a default route's, told by Protocol and Mark
	Firewall     Families
	FirewallMark uint32 // that the firewall goes by; it is there when the link, and with it FwMark, is gone; zero: none
	SrcValidMark bool
	Now          time.Time
}
