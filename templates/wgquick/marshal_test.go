package wgquick_test

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"wg-kube/internal/lab/golden"
	"wg-kube/templates/wgquick"
)

// testdata is where the files are that people read to see what Marshal writes.
const testdata = "../../testdata/wgquick"

var ignoreLine = cmp.Options{cmpopts.IgnoreFields(wgquick.Interface{}, "Line"), cmpopts.IgnoreFields(wgquick.Peer{}, "Line")}

// compare is cmp.Diff with the keys and addresses compared as values.
func compare(want, got *wgquick.Config) string {
	return cmp.Diff(want, got, ignoreLine, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{}))
}

func TestMarshalGolden(t *testing.T) {
	proposal := full(t)
	proposal.Interface = wgquick.Interface{ListenPort: 51820, Address: prefixes("100.96.0.1/32")}
	proposal.Peers[1].Held = time.Time{}
	for name, c := range map[string]*wgquick.Config{
		"full.conf":     full(t),
		"proposal.conf": proposal,
		"alone.conf":    {Interface: wgquick.Interface{Address: prefixes("100.96.0.2/32")}, End: true},
		"nothing.conf":  {},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, filepath.Join(testdata, name), got)
			back, err := wgquick.Parse(name, got)
			if err != nil {
				t.Fatal(err)
			}
			if d := compare(c, back); d != "" {
				t.Errorf("read back (-want +got):\n%s", d)
			}
			if wgquick.Complete(got) != c.End {
				t.Errorf("Complete: %v, want %v", !c.End, c.End)
			}
		})
	}
}

func TestMarshalRefuses(t *testing.T) {
	peer := func(f func(*wgquick.Peer)) func(*wgquick.Config) {
		return func(c *wgquick.Config) { f(&c.Peers[0]) }
	}
	for name, tc := range map[string]struct {
		change func(*wgquick.Config)
		want   string
	}{
		"a newline in the head":         {func(c *wgquick.Config) { c.Head[0] = "x\nPostUp = y" }, "does not belong"},
		"a carriage return in the head": {func(c *wgquick.Config) { c.Head[0] = "x\r" }, "does not belong"},
		"reversed text in a refusal":    {func(c *wgquick.Config) { c.Refused[0] = "x\u202ey" }, "does not belong"},
		"a newline in a refusal":        {func(c *wgquick.Config) { c.Refused[0] = "x\n[Peer]" }, "does not belong"},
		"a newline in a name":           {peer(func(p *wgquick.Peer) { p.Origin.Name = "x\n[Peer]" }), "does not belong"},
		"a space in a name":             {peer(func(p *wgquick.Peer) { p.Origin.Name = "x y" }), "comments over [Peer] " + keyB},
		"an origin without kind":        {peer(func(p *wgquick.Peer) { p.Origin.Kind = "" }), "comments over [Peer] " + keyB},
		"a uid alone":                   {peer(func(p *wgquick.Peer) { p.Origin = wgquick.Origin{UID: "x"} }), "comments over [Peer] " + keyB},
		"held since a fraction":         {peer(func(p *wgquick.Peer) { p.Held = time.Unix(1, 5) }), "comments over [Peer] " + keyB},
		"a newline in a hook":           {func(c *wgquick.Config) { c.Interface.PostUp[0] = "x\nPreUp = y" }, "[Interface]"},
		"a newline in a table":          {func(c *wgquick.Config) { c.Interface.Table = "x\nPreUp = y" }, "[Interface]"},
		"a comment in a search domain":  {func(c *wgquick.Config) { c.Interface.DNS[0] = "x#y" }, "[Interface]"},
		"an MTU that IPv6 refuses":      {func(c *wgquick.Config) { c.Interface.MTU = 1000 }, "which needs 1280"},
		"a newline in a host":           {peer(func(p *wgquick.Peer) { p.Endpoint.Host = "x\n" }), "written:"},
		"a host that is none":           {peer(func(p *wgquick.Peer) { p.Endpoint.Host = "" }), "no host"},
		"host bits in allowed IPs":      {peer(func(p *wgquick.Peer) { p.AllowedIPs = prefixes("10.0.0.1/24") }), "[Peer] " + keyB},
		"the zero prefix":               {peer(func(p *wgquick.Peer) { p.AllowedIPs[0] = netip.Prefix{} }), "a comma too many"},
		"no public key":                 {peer(func(p *wgquick.Peer) { p.PublicKey = wgquick.PublicKey{} }), "PublicKey: has no value"},
		"the same peer twice":           {func(c *wgquick.Config) { c.Peers[1].PublicKey = c.Peers[0].PublicKey }, "the same peer as in line"},
	} {
		t.Run(name, func(t *testing.T) {
			c := full(t)
			tc.change(c)
			b, err := c.Marshal()
			if err == nil {
				t.Fatalf("written:\n%s", b)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%q, want %q in it", err, tc.want)
			}
			if strings.Contains(err.Error(), keyA) {
				t.Errorf("the error shows the private key: %s", err)
			}
		})
	}
}

func TestCompleteSeesEveryChange(t *testing.T) {
	b, err := full(t).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !wgquick.Complete(b) || !wgquick.Complete(b[:len(b)-1]) {
		t.Error("not complete as written")
	}
	for n := range len(b) - 1 {
		if wgquick.Complete(b[:n]) {
			t.Fatalf("complete when cut to %d bytes", n)
		}
		b[n] ^= 1
		if wgquick.Complete(b) {
			t.Fatalf("complete with byte %d changed", n)
		}
		b[n] ^= 1
	}
	if wgquick.Complete(append(b, "\n"...)) {
		t.Error("complete with a line after the mark")
	}
}

// A command of one byte more than the reader's buffer, and ten thousand prefixes in a line.
func TestLongLines(t *testing.T) {
	c := full(t)
	c.Interface.PostUp = []string{strings.Repeat("x", 1<<20)}
	c.Peers[0].AllowedIPs = nil
	for i := range 10_000 {
		c.Peers[0].AllowedIPs = append(c.Peers[0].AllowedIPs, hostRoute(i))
	}
	if _, err := c.Marshal(); err != nil {
		t.Fatal(err)
	}
}
