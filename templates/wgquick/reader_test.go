package wgquick_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"wg-kube/templates/wgquick"
)

// again reads one text after the other with one Reader, and fails where that is not the same as to read it alone.
func again(t *testing.T, a wgquick.Allow, texts ...[]byte) {
	t.Helper()
	r := wgquick.Reader{Allow: a}
	for i, b := range texts {
		want, wantErr := wgquick.ParseAllowed("wg0.conf", b, a)
		got, err := r.Parse("wg0.conf", bytes.Clone(b))
		if d := cmp.Diff(fmt.Sprint(wantErr), fmt.Sprint(err)); d != "" {
			t.Errorf("text %d: %s", i, d)
		}
		if reflect.DeepEqual(want, got) {
			continue // it is much faster than to tell the difference
		}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})); d != "" {
			t.Errorf("text %d: %s\n%s", i, d, b)
		}
	}
}

func TestReader(t *testing.T) {
	text := func(change func(c *wgquick.Config)) []byte {
		c := crowd(30)
		c.Refused = []string{"Node/late: too late"}
		change(c)
		b, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	plain := text(func(*wgquick.Config) {})
	edit := func(old, new string) []byte {
		if !bytes.Contains(plain, []byte(old)) {
			t.Fatalf("%q is not in the file", old)
		}
		return []byte(strings.Replace(string(plain), old, new, 1))
	}
	apart := edit("\n# origin: Node/spoke-5 ", "\n# held: since 2026-01-01T00:00:00Z\n\n# origin: Node/spoke-5 ")
	for _, tc := range []struct {
		name string
		next []byte
	}{
		{"nothing", plain},
		{"a peer less in the middle", text(func(c *wgquick.Config) { c.Peers = slices.Delete(c.Peers, 3, 4) })},
		{"the first peer goes", text(func(c *wgquick.Config) { c.Peers = c.Peers[1:] })},
		{"the last peer goes", text(func(c *wgquick.Config) { c.Peers = c.Peers[:29] })},
		{"two are swapped", text(func(c *wgquick.Config) { c.Peers[4], c.Peers[5] = c.Peers[5], c.Peers[4] })},
		{"one more", text(func(c *wgquick.Config) { c.Peers = append(c.Peers, crowd(31).Peers[30]) })},
		{"another prefix", text(func(c *wgquick.Config) { c.Peers[5].AllowedIPs = c.Peers[5].AllowedIPs[:1] })},
		{"another interface", text(func(c *wgquick.Config) { c.Interface.MTU = 1400 })},
		{"another head", text(func(c *wgquick.Config) { c.Head = append(c.Head, "more") })},
		{"another one refused", text(func(c *wgquick.Config) { c.Refused = nil })},
		{"a peer less and another one refused", text(func(c *wgquick.Config) { c.Refused, c.Peers = []string{"all"}, c.Peers[:29] })},
		{"no end mark", text(func(c *wgquick.Config) { c.End = false })},
		{"no peer", text(func(c *wgquick.Config) { c.Peers = nil })},
		{"a peer is there twice", edit("\n# origin: Node/spoke-6 ", "\n[Peer]\nPublicKey = "+crowd(1).Peers[0].PublicKey.String()+"\n\n# origin: Node/spoke-6 ")},
		{"a second interface among the peers", edit("\n# origin: Node/spoke-4 ", "\n[Interface]\nMTU = 1300\n\n# origin: Node/spoke-4 ")},
		{"a setting after an empty line", edit("\nAllowedIPs = 10.0.0.6/32", "\n\nAllowedIPs = 10.0.0.6/32")},
		{"a comment that stands apart", edit("\n# origin: Node/spoke-5 ", "\n# origin: Node/other\n\n# origin: Node/spoke-5 ")},
		{"a comment that stands apart and counts", apart},
		{"one under which nothing else is the same", bytes.Replace(apart, []byte("AllowedIPs = 10.0.0.7/32"), []byte("AllowedIPs = 10.1.0.7/32"), 1)},
		{"a fault", edit("AllowedIPs = 10.0.0.6/32", "AllowedIPs = 10.0.0.6/33")},
		{"a key is gone", edit("PublicKey = "+crowd(6).Peers[5].PublicKey.String()+"\n", "")},
		{"a header is gone", edit("\n[Peer]\nPublicKey = "+crowd(6).Peers[5].PublicKey.String(), "\nPublicKey = "+crowd(6).Peers[5].PublicKey.String())},
		{"what may not be said", edit("\n# origin: Node/spoke-4 ", "\n[Interface]\nTable = off\n\n# origin: Node/spoke-4 ")},
		{"not text", edit("# origin: Node/spoke-4 ", "# origin: Node/spoke-4\x00 ")},
		{"empty", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			again(t, wgquick.Allow{}, plain, tc.next, plain, apart, tc.next, apart)
			again(t, wgquick.Allow{Interface: []string{"Address", "ListenPort"}}, plain, tc.next, plain)
		})
	}
}

// TestReaderMarshals: whatever was written before, a file is written as it is written alone.
func TestReaderMarshals(t *testing.T) {
	var r wgquick.Reader
	random := rand.New(rand.NewPCG(3, 4))
	c := crowd(30)
	for turn := range 300 {
		p := &c.Peers[random.IntN(len(c.Peers))]
		switch random.IntN(9) {
		case 0:
			p.AllowedIPs = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(turn >> 8), byte(turn)}), 32)}
		case 1:
			p.PersistentKeepalive = uint16(turn)
		case 2:
			p.PresharedKey = wgquick.SecretKey{byte(turn), 1}
		case 3:
			p.Endpoint = wgquick.EndpointOf(netip.MustParseAddrPort(fmt.Sprintf("192.0.2.1:%d", 1+turn)))
		case 4:
			p.Origin.UID = fmt.Sprint("uid-", turn)
		case 5:
			p.Held = time.Date(2026, 1, 1, 0, 0, turn, 0, time.UTC)
		case 6:
			p.PublicKey = wgquick.PublicKey{byte(turn), byte(turn >> 8), 7}
		case 7:
			c.Peers[0], *p = *p, c.Peers[0]
		case 8:
			c.Peers = slices.Concat(c.Peers[1:], crowd(100 + turn).Peers[99+turn:])
		}
		want, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, back, err := r.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(got)); d != "" {
			t.Fatalf("turn %d (-alone +again):\n%s", turn, d)
		}
		if !back.SameMeaning(c) {
			t.Fatalf("turn %d: read back as something else", turn)
		}
	}
}

// FuzzReader replaces a piece of a file by another one: whatever is read again is what would be read anew.
func FuzzReader(f *testing.F) {
	b, err := crowd(5).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, 400, 30, []byte("\n\n[Peer]\n"))
	f.Add(b, 700, 0, []byte("\n# refused: somebody\n"))
	files, err := filepath.Glob(filepath.Join(testdata, "*.conf"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden files: %v", err)
	}
	for i, name := range files {
		if b, err = os.ReadFile(name); err != nil {
			f.Fatal(err)
		}
		f.Add(b, 37*i, i, []byte("\n\n# origin: a/b\n[Peer]\nPublicKey = 4Gp3sQ0Gz2pW3mQGQkWmT7m8nJ0pK1aQm8c0d3v5a3k=\n\n"))
	}
	f.Fuzz(func(t *testing.T, b []byte, at, n int, piece []byte) {
		at = max(0, min(at, len(b)))
		n = max(0, min(n, len(b)-at))
		next := slices.Concat(b[:at], piece, b[at+n:])
		again(t, wgquick.Allow{}, b, next, b)
	})
}

// TestReaderOfManyEdits moves, doubles, cuts and inserts lines, whatever becomes of the file.
func TestReaderOfManyEdits(t *testing.T) {
	b, err := crowd(20).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	pieces := []string{"\n", "\n\n", "[Peer]\n", "[Interface]\n", "\n[Peer]\n", "# refused: a\n", "# origin: a/b c\n", "# a\n", "#\n",
		"PublicKey = " + crowd(21).Peers[20].PublicKey.String() + "\n", "MTU = 1400\n", "AllowedIPs = 10.9.9.9/32\n", " # x\n", "Table = off\n"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		lines := strings.SplitAfter(string(b), "\n")
		texts := [][]byte{b}
		for range 1 + random.IntN(4) {
			at := random.IntN(len(lines))
			switch from := random.IntN(len(lines)); random.IntN(4) {
			case 0:
				lines = slices.Insert(lines, at, pieces[random.IntN(len(pieces))])
			case 1:
				lines = slices.Insert(lines, at, slices.Clone(lines[from:min(len(lines), from+random.IntN(9))])...)
			default:
				lines = slices.Delete(lines, at, min(len(lines), at+random.IntN(9)))
			}
			if len(lines) == 0 {
				break
			}
			texts = append(texts, []byte(strings.Join(lines, "")))
		}
		again(t, wgquick.Allow{}, append(texts, b)...)
		if t.Failed() {
			return
		}
	}
}
