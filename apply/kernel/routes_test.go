package kernel

import (
	"context"
	"strings"
	"testing"

	"wg-kube/apply/plan"
)

// A route that the kernel will not have costs nothing else, and a new link only if its file is one whole.
func TestARouteThatCannotBeAdded(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		const iface = "[Interface]\n" + private + "Address = 10.1.0.1/24\n"
		const conf = iface + peerA + "AllowedIPs = 10.2.0.0/16, 10.3.0.0/16\n" + peerB + "AllowedIPs = 10.4.0.0/16, 10.5.0.0/16\n"
		ctx := context.Background()
		run(t, "ip", "link", "set", "lo", "up")
		run(t, "ip", "route", "add", "10.2.0.0/16", "dev", "lo")
		fails := func(p plan.Plan) {
			t.Helper()
			err := s.Apply(ctx, p)
			if err == nil || strings.Count(err.Error(), "ip route add") != 1 || !strings.Contains(err.Error(), "10.2.0.0/16") {
				t.Errorf("%v", err)
			}
		}
		want, err := plan.Want(parse(t, conf), "wg0", plan.Underlay{})
		if err != nil {
			t.Fatal(err)
		}
		p := plan.Diff(want, plan.Live{})
		if fails(p); observe(t, s, "wg0").Exists {
			t.Error("a new link stays")
		}
		p.KeepLink = true
		if fails(p); len(observe(t, s, "wg0").Peers) != 2 {
			t.Error("with KeepLink it does not")
		}
		rest := plan.Diff(want, observe(t, s, "wg0"))
		if len(rest.Steps) != 1 {
			t.Errorf("more than the route is left to do:\n%s", rest)
		}

		up(t, s, "wg0", iface+peerA+"AllowedIPs = 10.6.0.0/16\n")
		fails(plan.Diff(want, observe(t, s, "wg0")))
		rest = plan.Diff(want, observe(t, s, "wg0"))
		if len(rest.Steps) != 1 {
			t.Errorf("on a link that is up more than the route is left to do:\n%s", rest)
		}
		if err := s.Delete(ctx, "wg0"); err != nil {
			t.Fatal(err)
		}
		p.Steps = append(p.Steps, plan.SetMTU{Iface: "wg0", MTU: -1})
		if err := s.Apply(ctx, p); err == nil || observe(t, s, "wg0").Exists {
			t.Errorf("KeepLink forgives something else than routes: %v", err)
		}
	})
}

func TestMissingRoutesAreToldInBrief(t *testing.T) {
	var m missing
	if m.err() != nil {
		t.Error(m.err())
	}
	for range 12 {
		m.add(context.Canceled)
	}
	if got := m.err().Error(); strings.Count(got, "\n") != 10 || !strings.HasSuffix(got, "\n... and 2 more routes") {
		t.Errorf("%q", got)
	}
}

func TestIPv6Off(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		const conf = "[Interface]\n" + private + "Address = 10.1.0.1/24\n" + peerA + "AllowedIPs = 10.2.0.0/16, fd00:2::/64\n"
		look := func() plan.Most {
			t.Helper()
			c := parse(t, conf)
			u, err := s.Underlay(context.Background(), "wg0", c)
			if err != nil {
				t.Fatal(err)
			}
			most, err := plan.WantMost(c, "wg0", u, plan.Kept{})
			if err != nil {
				t.Fatal(err)
			}
			return most
		}
		up(t, s, "wg0", conf)
		if n := len(look().Refused); n != 0 {
			t.Errorf("%d refused", n)
		}
		for _, link := range []string{"a link that is there", "a new link"} {
			run(t, "sysctl", "-w", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
			most := look()
			if len(most.Refused) != 1 || !strings.Contains(most.Refused[0].Error(), `"fd00:2::/64": IPv6 is off`) {
				t.Errorf("%s: %v", link, most.Refused)
			}
			if err := s.Apply(context.Background(), plan.Diff(most.Want, observe(t, s, "wg0"))); err != nil {
				t.Errorf("%s: %v", link, err)
			}
			if err := s.Delete(context.Background(), "wg0"); err != nil {
				t.Fatal(err)
			}
		}
	})
}
