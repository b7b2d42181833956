package pipeline

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"wg-kube/templates/wgquick"
)

var (
	hubKey     = wgquick.SecretKey{0: 8, 1: 1, 31: 64} // clamped, as the kernel keeps it
	hubAddress = netip.MustParsePrefix("10.255.0.1/32")
)

// peerKey is the public key of peer i. Of all but the first nobody has the private half.
func peerKey(i int) (k wgquick.PublicKey) {
	if i == 0 {
		return spokeKey.Public()
	}
	binary.BigEndian.PutUint32(k[:], uint32(i+1)*2654435761) // scattered, as real keys are
	binary.BigEndian.PutUint32(k[4:], uint32(i+1))
	return k
}

// peerRoute is the prefix of peer i: each has a route of its own.
func peerRoute(i int) netip.Prefix {
	i++
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(1 + i>>16), byte(i >> 8), byte(i)}), 32)
}

// crowd is a hub with n spokes that call it.
func crowd(n int) *wgquick.Config {
	c := &wgquick.Config{Interface: wgquick.Interface{Address: []netip.Prefix{hubAddress}, ListenPort: 51820}, End: true}
	for i := range n {
		c.Peers = append(c.Peers, wgquick.Peer{
			Origin:     wgquick.Origin{Kind: "Node", Name: fmt.Sprintf("spoke-%05d", i), UID: fmt.Sprintf("0d3c8f0e-5f0a-4c55-9d0c-%012d", i)},
			PublicKey:  peerKey(i),
			AllowedIPs: []netip.Prefix{peerRoute(i)},
		})
	}
	return c
}

// texts are a file without and with one peer more than n, as it is in force or as it is proposed.
func texts(n int, proposed bool) (out [2][]byte, err error) {
	for i := range out {
		c := crowd(n + i)
		if proposed {
			c.Head = []string{wgquick.ProposalHead}
		} else {
			c.Interface.PrivateKey = hubKey
		}
		if out[i], err = c.Marshal(); err != nil {
			return out, err
		}
	}
	return out, nil
}
