package wgquick_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"wg-kube/templates/wgquick"
)

// Keys that are good in form and belong to nobody.
const (
	keyA = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	keyB = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
	keyC = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM="
	keyD = "BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ="
	zero = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
)

// withKeys puts the keys into a text that says A, B, C and Z between percent signs.
func withKeys(s string) string {
	return strings.NewReplacer("%A%", keyA, "%B%", keyB, "%C%", keyC, "%Z%", zero).Replace(s)
}

func prefixes(s ...string) (ps []netip.Prefix) {
	for _, p := range s {
		ps = append(ps, netip.MustParsePrefix(p))
	}
	return ps
}

func public(t testing.TB, s string) wgquick.PublicKey {
	t.Helper()
	k, err := wgquick.ParsePublicKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func secret(t testing.TB, s string) wgquick.SecretKey {
	t.Helper()
	k, err := wgquick.ParseSecretKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// full says everything that a file can say.
func full(t testing.TB) *wgquick.Config {
	return &wgquick.Config{
		Head: []string{"Written by a test.", "", "Edit nothing here."},
		Interface: wgquick.Interface{
			PrivateKey: secret(t, keyA),
			ListenPort: 51820,
			FwMark:     0xca6c,
			Address:    prefixes("10.0.0.1/24", "fd00::1/64"),
			MTU:        1420,
			Table:      "off",
			DNS:        []string{"10.0.0.53", "example.org"},
			PreUp:      []string{"echo before # kept"},
			PostUp:     []string{"echo up", `echo "%i; \`},
			PreDown:    []string{"echo down"},
			PostDown:   []string{"echo after"},
		},
		Peers: []wgquick.Peer{
			{
				Origin:              wgquick.Origin{Kind: "Node", Name: "spoke-1", UID: "6f1c"},
				Hub:                 true,
				Unjudged:            prefixes("fd01::/64"),
				PublicKey:           public(t, keyB),
				PresharedKey:        secret(t, keyD),
				AllowedIPs:          prefixes("10.0.1.0/24", "fd01::/64"),
				Endpoint:            wgquick.Endpoint{Host: "2001:db8::1", Port: 51820},
				PersistentKeepalive: 25,
			},
			{
				Origin:    wgquick.Origin{Kind: "fragment", Name: "office.conf"},
				Held:      time.Date(2026, 11, 21, 22, 0, 0, 0, time.UTC),
				PublicKey: public(t, keyC),
				Endpoint:  wgquick.Endpoint{Host: "vpn.example.org", Port: 443},
			},
		},
		Refused: []string{`Node spoke-2: allowed-ips: "0.0.0.0/0": a default route is not for a node to claim`},
		End:     true,
	}
}
