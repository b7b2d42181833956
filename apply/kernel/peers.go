package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"wg-kube/apply/plan"
)

// What wgctrl sends in one message. Above either it splits, and repeats key, port and mark with every part.
const (
	maxPeers    = 32
	maxPrefixes = 256
)

// peerChange is what a step means for one peer.
type peerChange struct {
	wgtypes.PeerConfig
	step plan.Step
}

// peerChanges collects what neighbouring steps change in peers. The zero value is empty.
type peerChanges struct {
	list    []peerChange
	drop    wgtypes.Key // the throw-away peer, which is the last of the list; zero: none
	greeted []plan.Greet
}

// add takes the step, and reports false if it does not touch peers.
func (p *peerChanges) add(step plan.Step) bool {
	if st, ok := step.(plan.DropPrefixes); ok {
		p.dropPrefixes(st)
		return true
	}
	var c wgtypes.PeerConfig
	switch st := step.(type) {
	case plan.AddPeer:
		c = wgtypes.PeerConfig{PublicKey: wgtypes.Key(st.PublicKey), AllowedIPs: ipNets(st.AllowedIPs)}
		if !st.PresharedKey.IsZero() {
			c.PresharedKey = (*wgtypes.Key)(&st.PresharedKey)
		}
		if st.Endpoint.IsValid() {
			c.Endpoint = net.UDPAddrFromAddrPort(st.Endpoint)
		}
		if st.Keepalive != 0 {
			c.PersistentKeepaliveInterval = seconds(st.Keepalive)
		}
	case plan.SetPeer:
		c = wgtypes.PeerConfig{
			PublicKey: wgtypes.Key(st.PublicKey), UpdateOnly: true,
			PresharedKey: (*wgtypes.Key)(st.PresharedKey), // zero removes it
		}
		if st.Endpoint != nil {
			c.Endpoint = net.UDPAddrFromAddrPort(*st.Endpoint)
		}
		if st.Keepalive != nil {
			c.PersistentKeepaliveInterval = seconds(*st.Keepalive)
		}
	case plan.Greet:
		c = keepalive(st, plan.GreetKeepalive)
		p.greeted = append(p.greeted, st)
	case plan.AddPrefixes:
		c = wgtypes.PeerConfig{PublicKey: wgtypes.Key(st.PublicKey), UpdateOnly: true, AllowedIPs: ipNets(st.Prefixes)}
	case plan.RemovePeer:
		c = wgtypes.PeerConfig{PublicKey: wgtypes.Key(st.PublicKey), Remove: true}
	default:
		return false
	}
	p.throwAway()
	p.list = append(p.list, peerChange{c, step})
	return true
}

// dropPrefixes moves prefixes off a peer that stays to a throw-away one. There is no other way that neither touches
// the peer nor leaves a moment in which its other prefixes are gone.
func (p *peerChanges) dropPrefixes(st plan.DropPrefixes) {
	moved := ipNets(st.Prefixes)
	if p.drop != (wgtypes.Key{}) { // neighbours share it
		last := &p.list[len(p.list)-1]
		last.AllowedIPs, last.step = append(last.AllowedIPs, moved...), st
		return
	}
	// 32 random bytes are as good a public key as any; nobody has the private half.
	p.drop, _ = wgtypes.GenerateKey() // crypto/rand does not fail
	p.list = append(p.list, peerChange{wgtypes.PeerConfig{PublicKey: p.drop, AllowedIPs: moved}, st})
}

// throwAway removes the throw-away peer, with what it has taken.
func (p *peerChanges) throwAway() {
	if p.drop == (wgtypes.Key{}) {
		return
	}
	p.list = append(p.list, peerChange{wgtypes.PeerConfig{PublicKey: p.drop, Remove: true}, p.list[len(p.list)-1].step})
	p.drop = wgtypes.Key{}
}

// all returns the changes with their ends: the throw-away peer goes, and so do the keepalives of those who were
// greeted, together, for a key is in a message once.
func (p *peerChanges) all() []peerChange {
	p.throwAway()
	for _, st := range p.greeted {
		p.list = append(p.list, peerChange{keepalive(st, 0), st})
	}
	p.greeted = nil
	return p.list
}

func keepalive(st plan.Greet, n uint16) wgtypes.PeerConfig {
	return wgtypes.PeerConfig{PublicKey: wgtypes.Key(st.PublicKey), UpdateOnly: true, PersistentKeepaliveInterval: seconds(n)}
}

// setPeers sends what was collected. If a message fails, each of its peers is tried alone: one that the kernel will
// not have costs no other anything, and is named.
func (a *applying) setPeers(ctx context.Context, p *peerChanges) error {
	if len(p.greeted) > 0 && a.isTun(a.iface) {
		a.awaitPort(ctx, a.iface)
	}
	defer func() { *p = peerChanges{} }()
	var errs []error
	for _, msg := range messages(p.all()) {
		err := a.send(ctx, msg)
		if err == nil {
			continue
		}
		if ctx.Err() != nil || len(msg) == 1 {
			errs = append(errs, fmt.Errorf("%s: %s: %w", a.iface, msg[0].step, err))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		for i, c := range msg {
			if err := a.send(ctx, msg[i:i+1]); err != nil {
				errs = append(errs, fmt.Errorf("%s: %s: %w", a.iface, c.step, err))
			}
		}
	}
	return errors.Join(errs...)
}

// send sends one message. In the kernel an endpoint with a zone goes by itself, afterwards; a wg-device takes it as it
// is, whether there is such an interface or not.
func (a *applying) send(ctx context.Context, msg []peerChange) error {
	cfg := wgtypes.Config{Peers: make([]wgtypes.PeerConfig, len(msg))}
	var apart []wgtypes.PeerConfig
	for i, c := range msg {
		cfg.Peers[i] = c.PeerConfig
		if c.Endpoint == nil || c.Endpoint.Zone == "" {
			continue
		}
		if _, err := zoneIndex(c.Endpoint.Zone); err != nil {
			return err
		}
		if !a.isTun(a.iface) {
			apart = append(apart, c.PeerConfig)
			cfg.Peers[i].Endpoint = nil
		}
	}
	if err := a.configure(ctx, a.iface, cfg); err != nil {
		return err
	}
	for _, p := range apart {
		if err := setZoned(a.iface, p.PublicKey, p.Endpoint); err != nil {
			return err
		}
	}
	return nil
}

// messages splits changes, in their order, into what fits one message. A key is in a message once at most, since
// the second mention would undo the first; a peer with too many prefixes gets the rest with further messages.
func messages(list []peerChange) [][]peerChange {
	var (
		out      [][]peerChange
		msg      []peerChange
		keys     = map[wgtypes.Key]bool{}
		prefixes int
	)
	next := func() {
		if len(msg) > 0 {
			out = append(out, msg)
		}
		msg, prefixes = nil, 0
		clear(keys)
	}
	for _, c := range list {
		for {
			if len(msg) == maxPeers || keys[c.PublicKey] || len(msg) > 0 && prefixes+len(c.AllowedIPs) > maxPrefixes {
				next()
			}
			part := c
			n := min(len(c.AllowedIPs), maxPrefixes)
			part.AllowedIPs = c.AllowedIPs[:n:n]
			msg, prefixes, keys[c.PublicKey] = append(msg, part), prefixes+n, true
			if n == len(c.AllowedIPs) {
				break
			}
			c.PeerConfig = wgtypes.PeerConfig{PublicKey: c.PublicKey, UpdateOnly: true, AllowedIPs: c.AllowedIPs[n:]}
		}
	}
	next()
	return out
}

func seconds(n uint16) *time.Duration {
	d := time.Duration(n) * time.Second
	return &d
}

func ipNets(ps []netip.Prefix) []net.IPNet {
	out := make([]net.IPNet, len(ps))
	for i, p := range ps {
		out[i] = *ipNet(p)
	}
	return out
}
