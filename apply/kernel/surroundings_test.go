package kernel

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wg-kube/apply/hints"
	"wg-kube/internal/lab"
)

func TestForwardDrops(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		lab.Skip(t, "nft is not installed (Debian: nftables)")
	}
	const drop, pass = "type filter hook forward priority 0; policy drop;", "type filter hook forward priority 0; policy accept;"
	table := func(chains string) string { return "table inet fw {\n" + chains + "\n}\n" }
	forward := func(policy, rules string) string { return table("chain forward { " + policy + "\n" + rules + "\n}") }
	found := []hints.Chain{{Family: "inet", Table: "fw", Name: "forward"}}
	type firewall struct {
		rules string
		want  []hints.Chain
	}
	cases := map[string]firewall{
		"none":                            {"", nil},
		"a policy that accepts":           {forward(pass, ""), nil},
		"a policy that drops":             {forward(drop, ""), found},
		"answers alone are accepted":      {forward(drop, "ct state vmap { established : accept, related : accept, invalid : drop }"), found},
		"another interface":               {forward(drop, `iifname "docker0" accept`), found},
		"a longer name":                   {forward(drop, `iifname "wg01" accept`), found},
		"a shorter name":                  {forward(drop, `iifname "wg" accept`), found},
		"our interface":                   {forward(drop, `iifname "wg0" accept`), nil},
		"our interface, on the way out":   {forward(drop, `oifname "wg0" accept`), nil},
		"all that begin so":               {forward(drop, `iifname "wg*" accept`), nil},
		"all that begin otherwise":        {forward(drop, `iifname "wgx*" accept`), found},
		"a set of interfaces":             {forward(drop, `iifname { "eth0", "wg0" } accept`), nil},
		"all but another":                 {forward(drop, `iifname != "eth0" accept`), nil},
		"loopback by its index":           {forward(drop, `iif "lo" accept`), found},
		"everything is accepted":          {forward(drop, "counter accept"), nil},
		"everything is rejected":          {forward(pass, `ct state established accept; counter reject`), found},
		"everything is dropped at last":   {forward(pass, "ct state established accept; counter drop"), found},
		"some of it is dropped at last":   {forward(pass, "tcp dport 22 drop"), nil},
		"accepted in a chain further on":  {table("chain more { accept; }\nchain forward { " + drop + " jump more; }"), nil},
		"named in a chain further on":     {table("chain more { iifname \"wg0\" accept; }\nchain forward { " + drop + " jump more; }"), nil},
		"accepted where it does not lead": {table("chain other { accept; }\nchain forward { " + drop + " }"), found},
		"chains that lead in circles":     {table("chain a { }\nchain forward { " + drop + " jump a; goto a; }"), found},
		"what comes in is dropped":        {table("chain input { type filter hook input priority 0; policy drop; }"), nil},
		"two families, as iptables has them": {
			"table ip filter {\nchain FORWARD { " + drop + "; }\n}\ntable ip6 filter {\nchain FORWARD { " + drop + "; }\n}\n",
			[]hints.Chain{{Family: "ip", Table: "filter", Name: "FORWARD"}, {Family: "ip6", Table: "filter", Name: "FORWARD"}},
		},
	}
	onHost(t, func(t *testing.T, s *System) {
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				load := exec.Command("nft", "-f", "-")
				load.Stdin = strings.NewReader("flush ruleset\n" + c.rules)
				if out, err := load.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				got, err := s.forwardDrops(t.Context(), "wg0")
				if d := cmp.Diff(c.want, got); d != "" || err != nil {
					t.Errorf("%v\n-want +got:\n%s", err, d)
				}
			})
		}
	})
}

func TestSurroundings(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		set := func(name, value string) {
			t.Helper()
			if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}
		all := hints.Ask{Forwarding: true, RPFilter: true}
		set("ipv4/ip_forward", "0")
		set("ipv6/conf/all/forwarding", "0")
		set("ipv4/conf/all/rp_filter", "0")
		set("ipv4/conf/lo/rp_filter", "2")
		seen, err := s.Surroundings(t.Context(), "lo", all)
		seen.Module = false
		if d := cmp.Diff(hints.Seen{RPFilter: 2}, seen); d != "" || err != nil {
			t.Errorf("%v\n-want +got:\n%s", err, d)
		}
		set("ipv4/ip_forward", "1")
		set("ipv6/conf/all/forwarding", "1")
		set("ipv4/conf/lo/rp_filter", "0")
		set("ipv4/conf/all/rp_filter", "1")
		seen, err = s.Surroundings(t.Context(), "lo", all)
		seen.Module = false
		if d := cmp.Diff(hints.Seen{Forwarding4: true, Forwarding6: true, RPFilter: 1}, seen); d != "" || err != nil {
			t.Errorf("%v\n-want +got:\n%s", err, d)
		}
		set("ipv4/conf/lo/forwarding", "0")
		if seen, _ = s.Surroundings(t.Context(), "lo", all); seen.Forwarding4 {
			t.Error("IPv4 goes by the interface")
		}
		if seen, _ = s.Surroundings(t.Context(), "nosuch", hints.Ask{}); !seen.Forwarding4 || !seen.Forwarding6 || seen.RPFilter != 0 {
			t.Errorf("what was not asked for counts as in order: %+v", seen)
		}
	})
}
