package tunnel

import (
	"fmt"
	"path/filepath"

	"wg-kube/internal/lab/hosts"
	"wg-kube/templates/wgquick"
)

// The two sides of a pair: a wire between them, and a tunnel over it.
var sides = [2]struct{ name, wire, inside string }{
	{"client", "192.0.2.1", "10.255.0.1"},
	{"server", "192.0.2.2", "10.255.0.2"},
}

// Pair is two hosts in namespaces of their own, for want of two machines.
type Pair struct{ Client, Server *hosts.Host }

// NewPair makes a pair with a tunnel that wg-apply, in the folder bin, brings up. It works only behind the wall of
// namespaces that hosts.Enter makes.
func NewPair(bin string) (p *Pair, err error) {
	p = &Pair{}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	var ends [2]hosts.End
	var keys [2]wgquick.SecretKey
	for i, host := range []**hosts.Host{&p.Client, &p.Server} {
		if *host, err = hosts.New(sides[i].name); err != nil {
			return nil, err
		}
		ends[i] = hosts.End{Host: *host, Dev: "eth0", Addrs: []string{sides[i].wire + "/24"}}
		if keys[i], err = wgquick.NewPrivateKey(); err != nil {
			return nil, err
		}
	}
	if err := hosts.Connect(ends[0], ends[1]); err != nil {
		return nil, err
	}
	for i, e := range ends {
		to := 1 - i
		file := fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = %s/32\nListenPort = 51820\n[Peer]\nPublicKey = %s\nEndpoint = %s:51820\nAllowedIPs = %s/32\n",
			keys[i].Reveal(), sides[i].inside, keys[to].Public(), sides[to].wire, sides[to].inside)
		if err := e.Host.WriteFile("/etc/wireguard/wg0.conf", file, 0o600); err != nil {
			return nil, err
		}
		if out, code := e.Host.Try(filepath.Join(bin, "wg-apply"), "once", "wg0"); code != 0 {
			return nil, fmt.Errorf("%s: wg-apply once wg0: exit status %d: %s", e.Host.Name, code, out)
		}
	}
	return p, nil
}

// Wire and Inside are the server's addresses, without the tunnel and with it.
func (p *Pair) Wire() string   { return sides[1].wire }
func (p *Pair) Inside() string { return sides[1].inside }

// Close takes the pair away, with all that runs on it.
func (p *Pair) Close() {
	for _, h := range []*hosts.Host{p.Client, p.Server} {
		if h != nil {
			h.Close()
		}
	}
}
