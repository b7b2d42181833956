package overlay

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"wg-kube/templates/wgquick"
)

// What a WireGuardPeer and a Secret call what they say.
var (
	peerWords = words{
		publicKey:    "publicKey",
		presharedKey: "presharedKeySecretRef",
		endpoint:     "endpoint",
		allowedIPs:   "allowedIPs",
		keepalive:    "persistentKeepalive",
	}
	secretWords = words{
		publicKey:    "public-key",
		presharedKey: "preshared-key",
		endpoint:     "endpoint",
		allowedIPs:   "allowed-ips",
	}
)

// said is what p says, in types. A Node may have to say something yet; a peer that is nothing else is wrong until it does.
func (p Peer) said() said {
	s := said{
		publicKey:    readNeeded(p.PublicKey, parsePublicKey, "not set"),
		presharedKey: p.PresharedKey,
		endpoint:     readOne(p.Endpoint, parseEndpoint),
		keepalive:    readOne(p.Keepalive, parseKeepalive),
		words:        peerWords,
	}
	if p.Kind == KindSecret {
		s.words = secretWords
	}
	if s.allowedIPs = tooMany[netip.Prefix](len(p.AllowedIPs)); s.allowedIPs != nil {
		return s
	}
	for _, element := range p.AllowedIPs {
		s.allowedIPs = append(s.allowedIPs, readNeeded(element, parsePrefix, "an empty element"))
	}
	if len(p.AllowedIPs) == 0 {
		s.allowedIPs = append(s.allowedIPs, readNeeded("", parsePrefix, "not set"))
	}
	return s
}

func parseKeepalive(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, errors.New("not a number of seconds from 0 to 65535")
	}
	return uint16(n), nil
}

func (p Peer) origin() wgquick.Origin {
	return wgquick.Origin{Kind: p.Kind, Name: p.Name, UID: p.UID}
}

// peers are the candidates that are no Nodes.
func (j *judge) peers(peers []Peer, lasts map[wgquick.Origin]*wgquick.Peer) (cs []*candidate) {
	broken := make(map[wgquick.Origin]bool)
	for _, p := range peers {
		if p.Err != nil {
			broken[p.origin()] = true
			j.rejections = append(j.rejections, Rejection{Origin: p.origin(), Cause: Malformed, Reason: p.Err.Error()})
		}
	}
	for _, p := range slices.SortedFunc(slices.Values(peers), comparePeers) {
		o := p.origin()
		if broken[o] {
			continue
		}
		cs = append(cs, &candidate{
			node:     &Node{Name: p.Name, UID: p.UID, Created: p.Created},
			said:     new(p.said()),
			origin:   o,
			who:      o.String(),
			relation: asSpoke,
			last:     lasts[o],
		})
	}
	return cs
}

// comparePeers orders by identity; of one there is only one in an API.
func comparePeers(a, b Peer) int {
	if n := cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID)); n != 0 {
		return n
	}
	return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) // which shows no secret
}

// hearPreshared: a preshared key that cannot be had leaves the last good one in its place. A newcomer is no peer
// without it: that would be less than was asked for.
func (j *judge) hearPreshared(c *candidate) bool {
	p := c.said.presharedKey
	if p.Err == nil {
		c.presharedKey = p.Key
		return true
	}
	j.rejections = append(j.rejections, Rejection{Origin: c.origin, Cause: Malformed, Field: c.said.words.presharedKey, Reason: p.Err.Error(), Waiting: p.Waiting})
	if c.last == nil {
		return false
	}
	c.presharedKey = c.last.PresharedKey
	return true
}

func (j *judge) hearKeepalive(c *candidate) {
	r := &c.said.keepalive
	switch {
	case r.raw == "":
	case r.err == nil:
		c.keepalive = &r.value
	default:
		j.reject(c, Malformed, c.said.words.keepalive, r.raw, r.err.Error())
		if c.last != nil {
			c.keepalive = &c.last.PersistentKeepalive
		}
	}
}
