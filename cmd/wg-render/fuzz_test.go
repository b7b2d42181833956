package main

import (
	"errors"
	"testing"

	"github.com/spf13/pflag"

	"wg-kube/internal/cli"
	"wg-kube/render/overlay"
	"wg-kube/templates/wgquick"
)

// FuzzEnvironment starts with any environment: it makes sense, or is refused as a command line is that makes none.
// What makes sense can be proposed, but for what a file cannot say, of which the flag is known.
func FuzzEnvironment(f *testing.F) {
	f.Add("hub", "wg0", "100.96.0.1/32", "51820", "203.0.113.7:51820", "10.0.0.0/8", "hub-1", "wireguard.kube/", "1380")
	f.Add("spoke", "../etc", "::ffff:1.2.3.4/120", "0", "[fe80::1%eth0]:1", "0.0.0.0/0", "A_B", "stretch.azure.com/wireguard-", "-1")
	f.Add("mesh", "", "", "", "", "", "", "", "")
	f.Fuzz(func(t *testing.T, role, iface, address, port, endpoint, allowed, node, prefix, mtu string) {
		env := map[string]string{
			"WG_ROLE": role, "WG_INTERFACE": iface, "WG_ADDRESS": address, "WG_LISTEN_PORT": port, "WG_ENDPOINT": endpoint,
			"WG_ALLOWED_IPS": allowed, "NODE_NAME": node, "ANNOTATION_PREFIX": prefix, "WG_MTU": mtu, "WG_PEER_CIDRS": allowed, "WG_NODES": "/nodes",
		}
		o, fs := &options{}, pflag.NewFlagSet("t", pflag.ContinueOnError)
		o.register(fs)
		if err := o.complete(fs, func(name string) string { return env[name] }); err != nil {
			var exit cli.Exit
			if !errors.As(err, &exit) || exit.Code != cli.Usage {
				t.Errorf("not a fault of the command line: %v", err)
			}
			return
		}
		var faults wgquick.Faults
		if _, err := overlay.Alone(o.self(), o.policy()).Marshal(); errors.As(err, &faults) && flagOf[faults[0].Key] == "" {
			t.Errorf("of no flag: %v", err)
		}
	})
}
