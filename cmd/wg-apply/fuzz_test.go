package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"wg-kube/internal/cli"
	"wg-kube/templates/wgquick"
)

// FuzzEnvironment starts with any environment: it makes sense, or is refused as a command line is that makes none.
func FuzzEnvironment(f *testing.F) {
	f.Add("wg0", "0.5", "16384", "100ms", "start", "info", "text", "/etc/wireguard")
	f.Add("wg0,wg1", "1", "0", "0", "ask", "debug", "json", "/var/lib/wg-render")
	f.Add("../etc,\"", "NaN", "-1", "-1s", "on", "loud", "xml", "\x01")
	f.Fuzz(func(t *testing.T, proposed, maxShrink, maxPeers, settle, userspace, level, format, dir string) {
		for name, value := range map[string]string{"WG_PROPOSED": proposed, "WG_MAX_SHRINK": maxShrink, "WG_MAX_PEERS": maxPeers,
			"WG_SETTLE": settle, "WG_USERSPACE": userspace, "WG_LOG_LEVEL": level, "WG_LOG_FORMAT": format, "WG_DIR": dir} {
			if strings.Contains(value, "\x00") {
				return // no environment has it
			}
			t.Setenv(name, value)
		}
		p := &program{}
		c := p.root()
		c.SetErr(io.Discard)
		if err := c.ParseFlags(nil); err != nil {
			t.Fatal(err)
		}
		if err := p.settle(c); err != nil {
			var exit cli.Exit
			if !errors.As(err, &exit) || exit.Code != cli.Usage {
				t.Errorf("not a fault of the command line: %v", err)
			}
			return
		}
		for _, iface := range p.Proposed {
			if err := wgquick.CheckName(iface); err != nil {
				t.Error(err)
			}
		}
		if !(p.MaxShrink >= 0 && p.MaxShrink <= 1) || p.MaxPeers < 0 || p.Settle < 0 || p.Dir == p.Proposals {
			t.Errorf("taken: %+v", p.Config)
		}
	})
}
