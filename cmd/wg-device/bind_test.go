package main

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"wg-kube/internal/lab"
)

// Of peers that are met by IPv4 and by IPv6 each gets what is for it, whoever got something before.
func TestEachPeerGetsWhatIsForIt(t *testing.T) {
	h := lab.NewHost(t, "host")
	h.Run(t, "ip", "address", "add", "2001:db8::2/128", "dev", "lo", "nodad")
	b := newBind()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(h.Do(func() error {
		_, _, err := b.Open(0)
		return err
	}))
	t.Cleanup(func() { _ = b.Close() })

	var peers []*net.UDPConn
	for _, addr := range []string{"::1", "127.0.0.1", "2001:db8::2"} {
		must(h.Do(func() error {
			peer, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 51820)))
			if err == nil {
				t.Cleanup(func() { _ = peer.Close() })
			}
			peers = append(peers, peer)
			return err
		}))
	}
	for n := range 100 {
		for i, peer := range peers {
			to, err := b.ParseEndpoint(peer.LocalAddr().String())
			must(err)
			must(b.Send([][]byte{{byte(n), byte(i)}}, to))
			must(peer.SetReadDeadline(time.Now().Add(soon)))
			var got [2]byte
			if _, err := peer.Read(got[:]); err != nil || got != [2]byte{byte(n), byte(i)} {
				t.Fatalf("%s got %v, %v; want: %v", peer.LocalAddr(), got, err, [2]byte{byte(n), byte(i)})
			}
		}
	}
}
