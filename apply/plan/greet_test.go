package plan

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Of a hub's peers some were talking when their sessions went.
func TestGreet(t *testing.T) {
	const conf = `[Interface]
# origin: Node/idle
[Peer]
PublicKey = idleAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
Endpoint = 192.0.2.1:1
# origin: Node/keepalive
[Peer]
PublicKey = keepAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
Endpoint = 192.0.2.2:2
PersistentKeepalive = 25
# origin: Node/lost
[Peer]
PublicKey = lostAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
# origin: Node/roamed
[Peer]
PublicKey = roamedAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
# origin: Node/talker
[Peer]
PublicKey = talkerAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
Endpoint = 192.0.2.3:3
`
	want, err := Want(parse(t, conf), "wg0", Underlay{})
	if err != nil {
		t.Fatal(err)
	}
	fresh := Live{}.After(Diff(want, Live{}))
	fresh.Now = now
	for i, p := range fresh.Peers {
		switch p.Name {
		case "idle":
			fresh.Peers[i].LastHandshake = now.Add(-time.Hour)
		case "roamed":
			fresh.Peers[i].Endpoint = netip.MustParseAddrPort("192.0.2.9:9")
			fallthrough
		default:
			fresh.Peers[i].LastHandshake = now.Add(-time.Minute)
		}
	}
	anew := want
	anew.Peers = nil
	for _, p := range want.Peers {
		p.Talking = p.Name != "idle"
		if p.Name == "roamed" {
			p.Endpoint = netip.MustParseAddrPort("192.0.2.9:9")
		}
		anew.Peers = append(anew.Peers, p)
	}
	down := fresh
	down.Up = false
	for _, tt := range []struct {
		name string
		want Desired
		live Live
		met  []string
	}{
		{"a link made anew", anew, Live{Now: now}, []string{"roamed", "talker"}},
		{"a link that was set down", want, down, []string{"roamed", "talker"}},
		{"a link that is up", want, fresh, nil},
		{"a new link", want, Live{Now: now}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Diff(tt.want, tt.live)
			var met []string
			up := false
			for _, s := range p.Steps {
				switch s := s.(type) {
				case SetUp:
					up = true
				case Greet:
					met = append(met, s.Name)
					if set := "wg set wg0 peer " + s.PublicKey.String() + " persistent-keepalive "; s.String() != set+"25; "+set+"off # "+s.Name {
						t.Errorf("in words: %s", s)
					}
					if !up {
						t.Error("before the link is up")
					}
				}
			}
			if d := cmp.Diff(tt.met, met); d != "" {
				t.Errorf("greeted (-want +got):\n%s\nin\n%s", d, strings.TrimSpace(p.String()))
			}
			checkLaws(t, tt.want, tt.live, p)
		})
	}
}
