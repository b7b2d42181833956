package wgquick_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"wg-kube/templates/wgquick"
)

// FuzzComments holds that what a comment says is read back as it was meant, or is never written.
func FuzzComments(f *testing.F) {
	f.Add("Node", "spoke-1", "uid", int64(1), "Node/x: refused")
	f.Add("fragment", "a b", "", int64(0), "\n[Peer]")
	f.Add("", "x", "y", int64(-1), "end sha256:00")
	f.Add("Node", "a/b", "\u202e", int64(1<<40), "#")
	f.Fuzz(func(t *testing.T, kind, name, uid string, held int64, refused string) {
		peer := wgquick.Peer{PublicKey: wgquick.SecretKey{1}.Public(), Origin: wgquick.Origin{Kind: kind, Name: name, UID: uid}}
		if held > 0 {
			peer.Held = time.Unix(held, 0).UTC()
			peer.Hub = held%2 == 0
			peer.Unjudged = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(held), byte(held >> 8)}), int(held%33))}
		}
		c := &wgquick.Config{Peers: []wgquick.Peer{peer}, Refused: []string{refused}}
		b, err := c.Marshal()
		if err != nil {
			return
		}
		back, err := wgquick.Parse("a", b)
		if err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		if len(back.Peers) != 1 || back.Peers[0].Origin != peer.Origin || !back.Peers[0].Held.Equal(peer.Held) || !slices.Equal(back.Peers[0].Unjudged, peer.Unjudged) || back.Peers[0].Hub != peer.Hub {
			t.Errorf("%+v reads back as %+v", peer, back.Peers)
		}
		if len(back.Refused) != 1 || back.Refused[0] != refused || strings.Contains(refused, "\n") {
			t.Errorf("%q reads back as %q", refused, back.Refused)
		}
	})
}
