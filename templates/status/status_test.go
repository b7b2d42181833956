package status

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"wg-kube/templates/wgquick"
)

func TestParseReadsBackWhatMarshalWrote(t *testing.T) {
	key := wgquick.PublicKey{1, 2, 3}
	for _, tc := range []struct {
		name string
		is   Status
	}{
		{"nothing known yet", Status{Interface: "wg0"}},
		{"everything said", Status{
			Interface: "wg0", PublicKey: key, Proposed: "sha256:aa", InForce: "sha256:bb", Applied: "sha256:cc",
			Errors: []string{"wg0: no such device"}, Refused: []string{`wg0.conf:3: [Interface] PostUp: may not be said here`},
			Held:     []Held{{PublicKey: key, Peer: "Node/spoke-1", Since: time.Unix(1e9, 0).UTC(), Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}},
			HeldWhy:  "1 of 1 peers would go",
			Warnings: []string{"DNS is left alone"},
			Peers:    []Peer{{PublicKey: key, Asked: wgquick.Endpoint{Host: "hub.example", Port: 51820}, Resolved: netip.MustParseAddr("192.0.2.1"), Roamed: netip.MustParseAddrPort("192.0.2.1:4711")}},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, err := tc.is.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			got, err := Parse("wg0.json", b)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.is, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParseOfANewerFileKeepsWhatItKnows(t *testing.T) {
	got, err := Parse("wg0.json", []byte(`{"interface":"wg0","fromTheFuture":{"x":1}}`))
	if err != nil || got.Interface != "wg0" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestParseNamesTheFile(t *testing.T) {
	for _, bad := range []string{"", "{", "[]", `{"publicKey":"x"}`} {
		if _, err := Parse("wg0.json", []byte(bad)); err == nil || !strings.HasPrefix(err.Error(), "wg0.json: ") {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"interface":"wg0","publicKey":"IKTy2zSYiUnTJUNFrGFCOattmGH0uLtnzgDu2o5eEzM="}`))
	f.Add([]byte(`[{"until":"2026-11-21T22:00:00Z","peers":[{"publicKey":"IKTy2zSYiUnTJUNFrGFCOattmGH0uLtnzgDu2o5eEzM=","origin":{"Kind":"Node","Name":"a","UID":""},"allowedIPs":["10.0.0.0/8"]}]}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ParsePast("wg0.past", b); err == nil {
			if one, err := p.Marshal(); err == nil {
				again, err := ParsePast("wg0.past", one)
				if two, _ := again.Marshal(); err != nil || string(one) != string(two) {
					t.Fatalf("%v\n%s\n%s", err, one, two)
				}
			}
		}
		s, err := Parse("wg0.json", b)
		if err != nil {
			return
		}
		one, err := s.Marshal()
		if err != nil {
			return // a time that JSON has no form for
		}
		again, err := Parse("wg0.json", one)
		if err != nil {
			t.Fatalf("its own output: %v\n%s", err, one)
		}
		two, err := again.Marshal()
		if err != nil || string(one) != string(two) {
			t.Fatalf("%v\n%s\n%s", err, one, two)
		}
	})
}
