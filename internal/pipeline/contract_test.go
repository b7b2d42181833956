package pipeline

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"wg-kube/apply"
	"wg-kube/render/overlay"
	"wg-kube/templates/wgquick"
)

func TestWhatIsRenderedIsAccepted(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { renderedIsAccepted(t, seed, injected) })
	}
}

const injected = "10.0.0.0/8\n[Interface]\nPostUp = true"

// FuzzWhatIsRenderedIsAccepted is the same with other seeds and other texts.
func FuzzWhatIsRenderedIsAccepted(f *testing.F) {
	f.Add(uint64(300), injected)
	f.Fuzz(renderedIsAccepted)
}

// renderedIsAccepted holds the two halves to their contract: whatever Nodes and others say, wg-render never writes a
// proposal that "wg-apply check" refuses, nor one that is too large for it.
func renderedIsAccepted(t *testing.T, seed uint64, text string) {
	r := rand.New(rand.NewPCG(seed, 0))
	self := overlay.Self{
		Node: "n0", Role: overlay.Hub, Interface: "wg0", ListenPort: 51820, Keepalive: 25,
		Address: []netip.Prefix{netip.MustParsePrefix("100.96.0.1/16"), netip.MustParsePrefix("fd96::1/64")},
	}
	switch r.IntN(3) {
	case 0:
		self.Role, self.Site = overlay.Spoke, "lab"
	case 1:
		self.Role, self.Address = overlay.Mesh, nil
	}
	path := filepath.Join(t.TempDir(), "wg0.conf")
	var prev *wgquick.Config
	maxPeers := 3 + r.IntN(9)
	for range 3 { // each round from what the one before left on disk
		c, _ := overlay.Build(self, somebody(r, text), prev, overlay.Policy{Prefix: "wireguard.kube/", From: text, MaxPeers: maxPeers})
		b, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o640); err != nil {
			t.Fatal(err)
		}
		if err := apply.Check(path, true); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		if prev, err = wgquick.Parse(path, b); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := apply.Promote(&wgquick.Config{}, prev, apply.Guard{MaxPeers: maxPeers}); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
	}
}

// somebody says all that Nodes, WireGuardPeers, Secrets and fragments say, in good and in bad faith.
func somebody(r *rand.Rand, text string) overlay.Snapshot {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	key := func() string {
		return pick("", "x", text, wgquick.SecretKey{byte(r.IntN(9))}.Public().String(),
			wgquick.SecretKey{byte(1 + r.IntN(200))}.Public().String())
	}
	cidr := func() string {
		return pick("0.0.0.0/0", "::/0", "10.0.0.0/33", text, "127.0.0.1/8", "::ffff:10.0.0.1/128", "fd96::/64",
			fmt.Sprintf("100.96.%d.%d/%d", r.IntN(3), r.IntN(9), 16+r.IntN(17)), fmt.Sprintf("10.%d.0.0/16", r.IntN(5)))
	}
	podCIDR := func() string {
		return pick("0.0.0.0/0", "::/0", "::ffff:10.0.0.0/120", "127.0.0.0/8", "fe80::/64", fmt.Sprintf("10.%d.0.0/24", r.IntN(5)), fmt.Sprintf("fd44:%d::/64", r.IntN(5)))
	}
	endpoint := func() string {
		return pick("", text, "203.0.113.7:51820", "[2001:db8::7]:1", "10.1.0.1:99999", "100.96.1.1:51820",
			fmt.Sprintf("192.0.2.%d:51820", r.IntN(9)))
	}
	var s overlay.Snapshot
	for i := range 2 + r.IntN(8) {
		n := overlay.Node{
			Name: fmt.Sprintf("n%d", i), UID: pick("", "u", text), Created: time.Unix(int64(r.IntN(3)), 0),
			Labels: map[string]string{"wireguard.kube/" + pick("hub", "peer"): "true", "wireguard.kube/site": pick("lab", "", text)},
			Annotations: map[string]string{
				"wireguard.kube/public-key":  key(),
				"wireguard.kube/allowed-ips": pick("", ",", " ") + cidr() + pick(",", ", ", "\n") + cidr(),
				"wireguard.kube/endpoint":    endpoint(),
				"wireguard.kube/vpc-ip":      pick("", text, "172.31.0.9", "::1"),
			},
			PodCIDRs:    []netip.Prefix{netip.MustParsePrefix(podCIDR()), netip.MustParsePrefix(podCIDR())},
			InternalIPs: []netip.Addr{{}, netip.AddrFrom4([4]byte{100, 96, 2, byte(i)})},
			Ready:       r.IntN(2) == 0,
		}
		for k := range n.Annotations {
			if r.IntN(6) == 0 {
				delete(n.Annotations, k)
			}
		}
		s.Nodes = append(s.Nodes, n)
	}
	for i := range r.IntN(5) {
		p := overlay.Peer{
			Kind: pick(overlay.KindWireGuardPeer, overlay.KindSecret), Name: fmt.Sprintf("%s/p%d", pick("ns", "ns", text), i),
			UID: pick("", "u", text), Created: time.Unix(int64(r.IntN(3)), 0),
			PublicKey: key(), Endpoint: endpoint(), AllowedIPs: []string{cidr(), cidr()},
			Keepalive: pick("", "", "7", "-7", "65536", text),
		}
		switch r.IntN(4) {
		case 0:
			p.PresharedKey.Key = wgquick.SecretKey{byte(r.IntN(9))}
		case 1:
			p.PresharedKey.Err = errors.New(text)
		case 2:
			p.Err = errors.New(text)
		}
		s.Peers = append(s.Peers, p)
	}
	if r.IntN(2) == 0 {
		s.Fragments = append(s.Fragments, overlay.Fragment{Name: "a.conf", Peers: []wgquick.Peer{{
			PublicKey:  wgquick.SecretKey{99}.Public(),
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.3.0.0/24")},
			Endpoint:   wgquick.Endpoint{Host: "office.example", Port: 51820},
		}}})
	}
	if r.IntN(3) == 0 {
		s.Fragments = append(s.Fragments, overlay.Fragment{Name: "b.conf", Err: errors.New(text)})
	}
	return s
}
