package kernel

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"wg-kube/internal/lab"
)

// Keys that mean nothing to anybody.
const (
	private = "PrivateKey = iAkbTpZAXPvjDeXgy8x9VFbXXrFZ9f9wHhg3Y1uVKHA=\n"
	peerA   = "[Peer]\nPublicKey = NPmHA4hNCHeZ5nJ7mfqDLS0PoJ+EnYbZbfuVuDxvYGM=\n"
	peerB   = "[Peer]\nPublicKey = 3cGtHYFiTJFKVZl6tbCzhW6wvSnmqfJ0TVcnWsHc8x0=\n"
	peerC   = "[Peer]\nPublicKey = TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=\n"
	psk     = "PresharedKey = /UwcSPg38hW/D9Y3tcS1FOV0K1wuURMbS0sesJEP5ak=\n"
)

// The world around the interface: a wire with a default route of both families.
const world = `
ip link add name eth0 type veth peer name far
ip link set eth0 mtu 1440 up
ip link set far up
ip address add 192.0.2.2/24 dev eth0
ip address add 2001:db8:f::2/64 dev eth0 nodad
ip route add default via 192.0.2.1
ip -6 route add default via 2001:db8:f::1
ip route add 198.51.100.0/24 via 192.0.2.1 mtu 1300
`

var wgQuickCases = []struct {
	name, conf string
	world      string // more of it
}{
	{name: "interface alone", conf: "[Interface]\n" + private},
	{name: "no private key", conf: "[Interface]\nAddress = 10.1.0.1/24\n"},
	{name: "address and port", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\nListenPort = 51820\n"},
	{name: "host addresses", conf: "[Interface]\n" + private + "Address = 10.1.0.1, fd00:1::1\n"},
	{name: "two addresses of a subnet", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24, 10.1.0.2/24\nAddress = 10.2.0.1/16\n"},
	{name: "dual stack", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24, fd00:1::1/64\n" + peerA + "AllowedIPs = 10.1.0.2/32, fd00:1::2/128, 10.9.0.0/16, fd00:9::/48\n"},
	{name: "loopback address", conf: "[Interface]\n" + private + "Address = 127.0.5.1/32\n"},
	{name: "link-local address of a person", conf: "[Interface]\n" + private + "Address = fe80::5/64\n"},
	{name: "mtu", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\nMTU = 1380\n"},
	{name: "mtu of the default route's device", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\n" + peerA + "AllowedIPs = 10.1.0.2/32\n"},
	{name: "mtu of the path to an endpoint", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\n" + peerA + "AllowedIPs = 10.1.0.2/32\nEndpoint = 198.51.100.7:51820\n"},
	{name: "mtu of the device to an endpoint", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\n" + peerA + "AllowedIPs = 10.1.0.2/32\nEndpoint = [2001:db8:f::7]:51820\n"},
	{name: "mtu without a default route", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\n",
		world: "ip route del default"},
	{name: "keepalive, preshared key, endpoint", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\n" +
		peerA + psk + "AllowedIPs = 10.1.0.2/32\nEndpoint = 192.0.2.7:1\nPersistentKeepalive = 25\n" +
		peerB + "AllowedIPs = 10.1.0.3/32\nEndpoint = [2001:db8:f::7]:65535\nPersistentKeepalive = off\n"},
	{name: "prefix covered by the connected subnet", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\n" + peerA + "AllowedIPs = 10.1.0.0/24\n" + peerB + "AllowedIPs = 10.1.0.128/25, 10.2.0.0/24\n"},
	{name: "prefix inside another", conf: "[Interface]\n" + private + "Address = 10.1.0.1/32\n" + peerA + "AllowedIPs = 10.0.0.0/8\n" + peerB + "AllowedIPs = 10.9.0.0/16, 10.9.9.0/24\n"},
	{name: "the same prefix in two peers", conf: "[Interface]\n" + private + "Address = 10.1.0.1/32\n" + peerA + "AllowedIPs = 10.2.0.0/24, 10.3.0.0/24\n" + peerB + "AllowedIPs = 10.2.0.0/24\n"},
	{name: "host bits in a prefix", conf: "[Interface]\n" + private + "Address = 10.1.0.1/32\n" + peerA + "AllowedIPs = 10.2.3.4/16, fd00:7::9/64\n"},
	{name: "table off", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\nTable = off\n" + peerA + "AllowedIPs = 10.2.0.0/24, 0.0.0.0/0\n"},
	{name: "table by number", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\nTable = 1234\n" + peerA + "AllowedIPs = 10.2.0.0/24, 10.1.0.0/24, fd00:2::/64\n"},
	{name: "table by number with a default route", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24, fd00:1::1/64\nTable = 0x7d\n" + peerA + "AllowedIPs = 0.0.0.0/0, ::/0\n"},
	{name: "table by name", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\nTable = default\n" + peerA + "AllowedIPs = 10.2.0.0/24\n"},
	{name: "mark without a default route", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\nFwMark = 0x2a\n" + peerA + "AllowedIPs = 10.2.0.0/24\n"},
	{name: "default route", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\n" + peerA + "AllowedIPs = 0.0.0.0/0\nEndpoint = 192.0.2.7:51820\n"},
	{name: "default route, IPv6", conf: "[Interface]\n" + private + "Address = fd00:1::1/64\n" + peerA + "AllowedIPs = ::/0\nEndpoint = 192.0.2.7:51820\n"},
	{name: "default route, dual stack", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24, fd00:1::1/64, 10.5.0.1/32\n" + peerA + "AllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = 192.0.2.7:51820\n" + peerB + "AllowedIPs = 10.7.0.0/16\n"},
	{name: "default route without an address", conf: "[Interface]\n" + private + peerA + "AllowedIPs = 0.0.0.0/0\nEndpoint = 192.0.2.7:51820\n"},
	{name: "default route with a mark", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\nFwMark = 0xbeef\n" + peerA + "AllowedIPs = 0.0.0.0/0\n"},
	{name: "default route with a small mark", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\nFwMark = 42\n" + peerA + "AllowedIPs = 0.0.0.0/0\n"},
	{name: "default route, the first table in use", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\n" + peerA + "AllowedIPs = 0.0.0.0/0, ::/0\n",
		world: "ip route add 203.0.113.0/24 dev eth0 table 51820; ip -6 route add 2001:db8:7::/64 dev eth0 table 51821"},
	{name: "default route in halves", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24, fd00:1::1/64\nFwMark = 7\n" + peerA + "AllowedIPs = 0.0.0.0/1, 128.0.0.0/1, ::/1, 8000::/1\n"},
	{name: "default route with mtu", conf: "[Interface]\n" + private + "Address = 10.1.0.1/24\nMTU = 1300\n" + peerA + "AllowedIPs = 0.0.0.0/0\n"},
	{name: "many peers", conf: "[Interface]\n" + private + "Address = 10.1.0.1/32\n" + manyPeers(100) + peerC + "AllowedIPs = " + strings.TrimSuffix(strings.Repeat("10.77.0.0/16, ", 300), ", ") + "\n"},
}

// For each file: a fresh interface is what wg-quick makes of it; one that wg-quick has made is adopted as it is;
// and wg-quick takes down what we have adopted.
func TestAsWGQuick(t *testing.T) {
	env := hostEnv(t)
	for _, tt := range wgQuickCases {
		t.Run(tt.name, func(t *testing.T) {
			const file = "/run/wg0.conf"
			theirs, ours := lab.NewHost(t, "theirs"), lab.NewHost(t, "ours")
			for _, h := range []*lab.Host{theirs, ours} {
				h.Run(t, "sh", "-ec", world+tt.world)
				h.Write(t, file, tt.conf, 0o600)
			}
			bringUp := append(env, bringUpEnv+"="+file, os.Args[0])

			lab.WGQuickUp(t, theirs, file)
			log := ours.Run(t, bringUp...)
			made := state(t, theirs)
			if d := cmp.Diff(made, state(t, ours), port(strings.Contains(tt.conf, "ListenPort"))); d != "" {
				t.Errorf("(-wg-quick +ours):\n%s\nours was:\n%s", d, log)
			}

			if done := theirs.Run(t, bringUp...); done != "" {
				t.Errorf("adopting it has changed something:\n%s", done)
			}
			if d := cmp.Diff(made, state(t, theirs)); d != "" {
				t.Errorf("adopting it has changed something (-before +after):\n%s", d)
			}
			if out, code := lab.TryWGQuick(t, theirs, "down", file); code != 0 {
				t.Errorf("wg-quick down afterwards: exit status %d\n%s", code, out)
			}
		})
	}
}

// looks prints what there is of wg0 and of what goes with it, a line of JSON each.
const looks = `
for c in "ip -j address show dev wg0" "ip -j -4 rule" "ip -j -6 rule" "ip -j -4 route show table all" \
	"ip -j -6 route show table all" "nft -j list ruleset"; do
	printf '%s|' "$c"; $c | tr -d '\n'; echo
done
printf 'src_valid_mark|'; cat /proc/sys/net/ipv4/conf/all/src_valid_mark
echo; wg showconf wg0
`

// state is what looks prints, in a normal form.
func state(t *testing.T, h *lab.Host) map[string]any {
	t.Helper()
	system, wg, _ := strings.Cut(h.Run(t, "sh", "-ec", looks), "\n\n")
	out := map[string]any{"wg": strings.Split(wgConfig(wg), "\n")}
	for line := range strings.Lines(system) {
		what, text, _ := strings.Cut(strings.TrimSpace(line), "|")
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil && text != "" {
			t.Fatalf("%s: %v\n%s", what, err, text)
		}
		v = normal(v)
		switch {
		case strings.Contains(what, " route "):
			v = sorted(v)
		case strings.HasPrefix(what, "nft"):
			v = byFamily(v)
		}
		out[what] = v
	}
	return out
}

// incidental are the fields that differ from one run to the next, or by design.
var incidental = []string{"protocol", "handle", "metainfo", "ifindex", "ifalias", "link_netnsid", "qdisc"}

// normal takes out what is incidental.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if slices.Contains(incidental, k) {
				delete(v, k)
			} else {
				v[k] = normal(e)
			}
		}
	case []any:
		v = slices.DeleteFunc(v, kernelsOwn)
		for i := range v {
			v[i] = normal(v[i])
		}
		return v
	}
	return v
}

// kernelsOwn finds what the kernel adds for a link-local address that it makes up, some time after the link is up.
func kernelsOwn(v any) bool {
	m, _ := v.(map[string]any)
	dst, _ := m["dst"].(string)
	_, meta := m["metainfo"]
	rule, _ := m["rule"].(map[string]any) // that guards the address of a userspace device, which wg-quick finds as well
	return meta || m["stable-privacy"] == true || strings.HasPrefix(dst, "fe80:") || strings.HasPrefix(dst, "ff00:") ||
		rule != nil && strings.Contains(fmt.Sprint(rule), "right:fe80:")
}

// sorted is for routes: their order says nothing. That of rules does.
func sorted(v any) any {
	list, _ := v.([]any)
	return slices.SortedFunc(slices.Values(list), func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

// byFamily keeps the order in each table.
func byFamily(v any) any {
	m, _ := v.(map[string]any)
	list, _ := m["nftables"].([]any)
	family := func(v any) string {
		for _, e := range v.(map[string]any) {
			return fmt.Sprint(e.(map[string]any)["family"])
		}
		return ""
	}
	return slices.SortedStableFunc(slices.Values(list), func(a, b any) int { return strings.Compare(family(a), family(b)) })
}

// wgConfig sorts peers and prefixes: their order says nothing.
func wgConfig(s string) string {
	sections := strings.Split(strings.TrimSpace(s), "\n\n")
	for i, sec := range sections {
		lines := strings.Split(sec, "\n")
		for j, line := range lines {
			if list, ok := strings.CutPrefix(line, "AllowedIPs = "); ok {
				ps := strings.Split(list, ", ")
				slices.Sort(ps)
				lines[j] = "AllowedIPs = " + strings.Join(ps, ", ")
			}
		}
		sections[i] = strings.Join(lines, "\n")
	}
	if len(sections) > 1 {
		slices.Sort(sections[1:])
	}
	return strings.Join(sections, "\n\n")
}

// port says whether the listen port counts: one that was drawn does not.
func port(counts bool) cmp.Option {
	return cmpopts.IgnoreSliceElements(func(line string) bool { return !counts && strings.HasPrefix(line, "ListenPort") })
}
