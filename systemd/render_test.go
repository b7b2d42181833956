package systemd

import (
	"strings"
	"testing"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/systemd"
)

// All that a spoke needs: "make install" and "systemctl enable --now wg-apply wg-render@wg0". There is no cluster yet, no
// credential, and not even an environment file.
func TestFirstStartWithoutACluster(t *testing.T) {
	for _, c := range []struct {
		name, env, want string
	}{
		{"with nothing but the units", "", "inet 100.96.0.2/32"},
		{"with the environment of a spoke", "NODE_NAME=edge-7\nWG_ADDRESS=100.96.7.1/32\nPOLL_INTERVAL=30\n", "inet 100.96.7.1/32"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := systemd.New(t, "spoke")
			m.Boot(t)
			m.Run(t, "mkdir", "-p", "/src/bin")
			run(t, "cp", "-r", "../Makefile", "../systemd", m.Path("/src"))
			run(t, "cp", "-r", build(t)+"/.", m.Path("/src/bin"))
			m.Run(t, "make", "-C", "/src", "install")
			if c.env != "" {
				m.Write(t, "/etc/wg-kube/wg0.env", c.env, 0o640)
			}
			m.Run(t, "systemctl", "enable", "--now", "wg-apply", "wg-render@wg0")
			lab.Eventually(t, hang, "wg0 has its address", func() bool {
				out, _ := m.Try("ip", "-o", "address", "show", "dev", "wg0")
				return strings.Contains(out, c.want)
			})
			if got := m.Property(t, "wg-render@wg0", "StatusText"); !strings.Contains(got, "waiting for the Nodes") {
				t.Errorf("STATUS is %q", got)
			}
			lab.Eventually(t, hang, "wg-render knows the public key", func() bool {
				_, code := m.Try("setpriv", "--reuid=wg-render", "--regid=wg-render", "--init-groups", "grep", "-q", "publicKey", "/run/wg-kube/wg0.json")
				return code == 0
			})
			if failed := m.Run(t, "systemctl", "--failed", "--plain", "--no-legend"); failed != "" {
				t.Errorf("failed:\n%s", failed)
			}
			m.Unplug(t)
			m.Boot(t)
			lab.Eventually(t, hang, "so it does after a power cut", func() bool {
				out, _ := m.Try("ip", "-o", "address", "show", "dev", "wg0")
				return strings.Contains(out, c.want)
			})
		})
	}
}
