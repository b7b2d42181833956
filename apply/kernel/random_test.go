package kernel

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// From a device that was left as one file says, and to which something happened since, to another file. After each
// step of the way the device is what the simulation says, and every kind of step has been taken.
func TestRandomPlans(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		w := dice{rand.New(rand.NewPCG(1, 2))}
		taken := map[string]bool{"Greet": true} // it needs a peer that answers: see TestGreeting
		for n := range 150 {
			drift := ""
			if n > 0 {
				drift = w.drift(t, s)
			}
			conf := w.conf()
			p, err := apply(s, "wg0", parse(t, conf))
			if err != nil {
				t.Fatalf("%d: after %q, to\n%s%v", n, drift, conf, err)
			}
			for _, step := range p.Steps {
				taken[strings.TrimPrefix(fmt.Sprintf("%T", step), "plan.")] = true
			}
		}
		for _, kind := range kindsOfSteps(t) {
			if !taken[kind] {
				t.Errorf("no plan has a step %s: the test is not random enough", kind)
			}
		}
		if err := s.Delete(context.Background(), "wg0"); err != nil {
			t.Error(err)
		}
	})
}

// kindsOfSteps are the types of apply/plan/steps.go but for the interface.
func kindsOfSteps(t *testing.T) (names []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../plan/steps.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok && ast.IsExported(spec.Name.Name) && spec.Name.Name != "Step" {
			names = append(names, spec.Name.Name)
		}
		return true
	})
	return names
}

// dice draw from few values, so that what they draw often meets.
type dice struct{ *rand.Rand }

func (d dice) pick(from ...string) string { return from[d.IntN(len(from))] }

// some draws a few values, none of them twice.
func (d dice) some(most int, from ...string) []string {
	from = slices.Clone(from)
	d.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	return from[:d.IntN(most+1)]
}

func (d dice) conf() string {
	b := "[Interface]\n" + private
	for _, a := range d.some(4, "10.1.0.1/24", "10.1.0.2/24", "10.1.0.3/24", "10.2.0.1/16", "10.9.0.1/32",
		"fd00:1::1/64", "fd00:1::2/64", "fd00:2::1/128") {
		b += "Address = " + a + "\n"
	}
	b += d.pick("", "ListenPort = 51820\n", "ListenPort = 51821\n")
	b += d.pick("", "MTU = 1400\n", "MTU = 1380\n")
	b += d.pick("", "", "FwMark = 99\n")
	b += d.pick("", "", "", "", "Table = 77\n", "Table = off\n")
	for i, peer := range []string{peerA, peerB, peerC} {
		if d.IntN(3) == 0 {
			continue
		}
		b += peer + d.pick("", psk) + d.pick("", "PersistentKeepalive = 9\n") + d.pick("", fmt.Sprintf("Endpoint = 192.0.2.%d:%d\n", 7+i, 1+d.IntN(2)))
		if prefixes := d.some(4, "10.1.0.0/24", "10.3.0.0/24", "10.3.0.0/16", "10.4.0.0/16", "10.5.0.9/32", "fd00:4::/64", "fd00:5::/64"); len(prefixes) > 0 {
			b += "AllowedIPs = " + strings.Join(prefixes, ", ") + "\n"
		}
		b += d.pick("", "", "", "AllowedIPs = 0.0.0.0/0, ::/0\n", "AllowedIPs = 0.0.0.0/0\n", "AllowedIPs = ::/0\n")
	}
	return b
}

// drift does something to the device behind our back, or nothing. What cannot be done now does not matter.
func (d dice) drift(t *testing.T, s *System) string {
	t.Helper()
	if d.IntN(10) == 0 {
		if err := s.Delete(context.Background(), "wg0"); err != nil {
			t.Fatal(err)
		}
		return "wg-apply down"
	}
	key := strings.Fields(d.pick(peerA, peerB, peerC))[3]
	command := d.pick("true", "true",
		"ip link set wg0 mtu 1300",
		"ip link set wg0 down",
		"ip address flush dev wg0 scope global",
		"ip address delete 10.1.0.1/24 dev wg0",
		"ip address delete 10.1.0.2/24 dev wg0",
		"sysctl -w net.ipv4.conf.all.promote_secondaries=1",
		"sysctl -w net.ipv4.conf.all.promote_secondaries=0",
		"ip address add 10.1.0.9/24 dev wg0",
		"ip -6 address add fd00:1::9/64 dev wg0",
		"ip route flush dev wg0 protocol 151",
		"ip -6 route flush dev wg0 protocol 151",
		"ip route flush table 51820",
		"ip route add 10.66.0.0/16 dev wg0 protocol 151",
		"ip route add 10.66.0.0/16 dev wg0 protocol bird",
		"ip rule delete not fwmark 51820 table 51820",
		"ip -6 rule delete table main suppress_prefixlength 0",
		"ip rule add not fwmark 51820 table 51820 protocol 151",
		"nft delete table ip wg-quick-wg0",
		"nft delete table ip6 wg-quick-wg0",
		"sysctl -w net.ipv4.conf.all.src_valid_mark=0",
		"wg set wg0 fwmark 7",
		"wg set wg0 listen-port 7777",
		"wg set wg0 peer "+key+" remove",
		"wg set wg0 peer "+key+" allowed-ips 10.3.0.0/16,fd00:5::/64",
		"wg set wg0 peer "+key+" preshared-key /dev/null persistent-keepalive 3",
		"wg set wg0 peer "+key+" endpoint 192.0.2.99:9",
	)
	_ = exec.Command("sh", "-c", command).Run()
	return command
}
