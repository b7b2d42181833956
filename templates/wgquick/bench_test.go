package wgquick_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"wg-kube/templates/wgquick"
)

// hostRoute is the i-th address of 10.0.0.0/8.
func hostRoute(i int) netip.Prefix {
	a := [4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}
	return netip.PrefixFrom(netip.AddrFrom4(a), 32)
}

// crowd is a hub with n spokes.
func crowd(n int) *wgquick.Config {
	c := &wgquick.Config{
		Head:      []string{"Written by a benchmark."},
		Interface: wgquick.Interface{ListenPort: 51820, Address: []netip.Prefix{hostRoute(1)}},
		End:       true,
	}
	for i := range n {
		p := wgquick.Peer{
			Origin:              wgquick.Origin{Kind: "Node", Name: fmt.Sprintf("spoke-%d", i), UID: "0d3c8f0e-5f0a-4c55-9d0c-6a1f5b2d7e11"},
			AllowedIPs:          []netip.Prefix{hostRoute(i + 2), hostRoute(i + 1<<20)},
			Endpoint:            wgquick.Endpoint{Host: hostRoute(i).Addr().String(), Port: 51820},
			PersistentKeepalive: 25,
		}
		binary.BigEndian.PutUint32(p.PublicKey[:], uint32(i+1))
		c.Peers = append(c.Peers, p)
	}
	return c
}

var sizes = []int{10, 100, 1000, 10_000}

func BenchmarkParse(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			text, err := crowd(n).Marshal()
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wgquick.Parse("wg0.conf", text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMarshal(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			c := crowd(n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Marshal(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReader reads a file that has changed by one peer.
func BenchmarkReader(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			var texts [2][]byte
			for i := range texts {
				var err error
				if texts[i], err = crowd(n + i).Marshal(); err != nil {
					b.Fatal(err)
				}
			}
			var r wgquick.Reader
			b.SetBytes(int64(len(texts[0])))
			b.ReportAllocs()
			for turn := 0; b.Loop(); turn++ {
				if _, err := r.Parse("wg0.conf", texts[turn%2]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReaderMarshal writes a file of which one peer has changed.
func BenchmarkReaderMarshal(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			files := [2]*wgquick.Config{crowd(n), crowd(n + 1)}
			var r wgquick.Reader
			b.ReportAllocs()
			for turn := 0; b.Loop(); turn++ {
				if _, _, err := r.Marshal(files[turn%2]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
