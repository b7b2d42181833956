package live

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"wg-kube/templates/wgquick"
)

// file is a wg-quick file that a test changes and writes again.
type file struct {
	key       wgquick.SecretKey
	port      int
	mtu       int    // zero: none
	dns       string // empty: none
	addresses []string
	peers     []peer
	note      int // a comment: it changes the bytes and nothing else
}

// peer is a section of a file. What is empty is left out.
type peer struct {
	key       wgquick.PublicKey
	allowed   []string
	psk       wgquick.SecretKey
	endpoint  string
	keepalive int
}

func newKey(t testing.TB) wgquick.SecretKey {
	t.Helper()
	key, err := wgquick.NewPrivateKey()
	must(t, err)
	return key
}

// stranger is a peer that nobody plays.
func stranger(t testing.TB, allowed ...string) peer {
	t.Helper()
	return peer{key: newKey(t).Public(), allowed: allowed}
}

func (f *file) clone() *file {
	c := *f
	c.addresses = slices.Clone(f.addresses)
	c.peers = slices.Clone(f.peers)
	for i := range c.peers {
		c.peers[i].allowed = slices.Clone(c.peers[i].allowed)
	}
	return &c
}

func (f *file) String() string {
	var b strings.Builder
	line := func(key, value string) {
		if value != "" && value != "0" {
			fmt.Fprintf(&b, "%s = %s\n", key, value)
		}
	}
	fmt.Fprintf(&b, "# %d\n[Interface]\n", f.note)
	line("PrivateKey", f.key.Reveal())
	line("ListenPort", fmt.Sprint(f.port))
	line("MTU", fmt.Sprint(f.mtu))
	line("DNS", f.dns)
	line("Address", strings.Join(f.addresses, ", "))
	for _, p := range f.peers {
		b.WriteString("\n[Peer]\n")
		line("PublicKey", p.key.String())
		if !p.psk.IsZero() {
			line("PresharedKey", p.psk.Reveal())
		}
		line("Endpoint", p.endpoint)
		line("PersistentKeepalive", fmt.Sprint(p.keepalive))
		line("AllowedIPs", strings.Join(p.allowed, ", "))
	}
	return b.String()
}
