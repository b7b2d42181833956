package pipeline

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wg-kube/internal/lab"
	"wg-kube/templates/wgquick"
)

// The way of a cluster from its first start: nothing is there yet, and whatever appears is taken in.
func TestFromTheFirstStartToALiveTunnel(t *testing.T) {
	c := newCluster(t)
	hub := c.hub(t, "hub", "192.0.2.1", "100.96.0.1")
	s1 := c.spoke(t, "spoke-1", "192.0.2.11", "100.96.1.1")
	s2 := c.spoke(t, "spoke-2", "192.0.2.12", "100.96.2.1")
	all := []*machine{hub, s1, s2}

	for _, m := range all {
		lab.Eventually(t, hang, m.name+": wg0 has its address, without a cluster", func() bool {
			out, _ := m.Try("ip", "-o", "address", "show", "dev", "wg0")
			return strings.Contains(out, m.overlay+"/32")
		})
	}
	for _, m := range all {
		c.credential(t, m)
	}
	for _, m := range all {
		c.join(t, m)
	}
	hub.waitForPeers(t, 2)
	s1.waitForPeers(t, 1)
	s2.waitForPeers(t, 1)
	s1.reaches(t, hub)
	s1.reaches(t, s2)

	t.Run("a Node carries what its wg-render knows, and no more", func(t *testing.T) {
		n, err := c.nodes.Get(t.Context(), "spoke-1", metav1.GetOptions{})
		must(t, err)
		key := strings.TrimSpace(s1.Run(t, "wg", "show", "wg0", "public-key"))
		if got := n.Annotations["wireguard.kube/public-key"]; got != key {
			t.Errorf("public-key is %q, and the device's %q", got, key)
		}
		if got := n.Annotations["wireguard.kube/allowed-ips"]; got != "100.96.1.1/32" {
			t.Errorf("allowed-ips is %q", got)
		}
		for _, m := range n.ManagedFields {
			if m.Manager == "wg-kube" && strings.Contains(m.FieldsV1.GetRawString(), "f:status") {
				t.Errorf("it owns more than labels and annotations: %s", m.FieldsV1.GetRawString())
			}
		}
	})

	t.Run("a proposal holds no private key", func(t *testing.T) {
		for _, m := range all {
			private := strings.TrimSpace(m.Run(t, "wg", "show", "wg0", "private-key"))
			text := m.Read(t, proposals+"/wg0.conf")
			if strings.Contains(text, private) || strings.Contains(text, "PrivateKey") {
				t.Errorf("%s: it does:\n%s", m.name, text)
			}
			if said := m.apply.said() + m.render.said(); strings.Contains(said, private) {
				t.Errorf("%s: it is in the log", m.name)
			}
		}
	})

	t.Run("a peer joins, changes and leaves, and both daemons are killed, and no packet is lost", func(t *testing.T) {
		lost := lab.Loss(t, s1.Host, s2.Host, s2.overlay, 1000)
		s3 := c.spoke(t, "spoke-3", "192.0.2.13", "100.96.3.1")
		c.credential(t, s3)
		c.join(t, s3)
		s3.reaches(t, s1)
		for _, m := range []*machine{hub, s1} {
			before := device(t, m)
			m.apply.kill()
			m.render.kill()
			m.startApply()
			m.startRender()
			lab.Eventually(t, hang, m.name+": wg-apply is up again", func() bool {
				_, code := m.Try("sh", "-c", "wg show wg0 && test -s /run/wg-kube/wg0.json")
				return code == 0
			})
			time.Sleep(2 * time.Second) // a resync and more: long enough for a change that should not come
			if got := device(t, m); got != before {
				t.Errorf("%s: after being killed:\n%s\nbefore:\n%s", m.name, got, before)
			}
			if said := m.apply.said(); strings.Contains(said, "op=") {
				t.Errorf("%s: a restart changes something:\n%s", m.name, said)
			}
		}
		must(t, c.nodes.Delete(t.Context(), "spoke-3", metav1.DeleteOptions{}))
		hub.waitForPeers(t, 2)
		if l := lost(); l.Lost != 0 || l.Sent < 1000 {
			t.Errorf("%v", l)
		}
	})

	t.Run("rendering again writes nothing, and applying again sends nothing", func(t *testing.T) {
		ino, changed := hub.identity(t, proposals+"/wg0.conf")
		hub.render.kill()
		hub.startRender()
		c.annotate(t, "spoke-2", "example.org/unrelated", "x")
		time.Sleep(2 * time.Second) // long enough for a change that should not come
		if i, c := hub.identity(t, proposals+"/wg0.conf"); i != ino || c != changed {
			t.Error("the proposal was written again")
		}
		for range 2 {
			out := hub.Run(t, lab.Build(t, "wg-kube/cmd/wg-apply"), "once", "wg0", "--proposed", "wg0", "--proposals", proposals)
			if strings.Contains(out, "op=") {
				t.Errorf("once changes something:\n%s", out)
			}
		}
	})

	t.Run("a bad claim costs nobody anything", func(t *testing.T) {
		lost := lab.Loss(t, s1.Host, s2.Host, s2.overlay, 1000)
		_, err := c.nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name:   "rogue",
			Labels: map[string]string{"wireguard.kube/peer": "true"},
			Annotations: map[string]string{
				"wireguard.kube/public-key":  wgquick.SecretKey{1}.Public().String(),
				"wireguard.kube/allowed-ips": "0.0.0.0/0, " + s2.overlay + "/32, 10.66.0.0/24\n[Interface]\nPostUp = reboot",
			},
		}}, metav1.CreateOptions{})
		must(t, err)
		lab.Eventually(t, hang, "the hub refuses it", func() bool {
			return strings.Contains(hub.Read(t, "/etc/wireguard/wg0.conf"), "# refused: Node/rogue")
		})
		for line := range strings.Lines(hub.Read(t, "/etc/wireguard/wg0.conf")) {
			if strings.Contains(line, "PostUp") && !strings.HasPrefix(line, "#") {
				t.Errorf("it is in the file in force: %s", line)
			}
		}
		if l := lost(); l.Lost != 0 {
			t.Errorf("%v", l)
		}
	})

	t.Run("without the API server everything stays, also over a restart", func(t *testing.T) {
		before := hub.Read(t, "/etc/wireguard/wg0.conf")
		c.StopAPI()
		hub.render.kill()
		hub.apply.kill()
		hub.Run(t, "ip", "link", "delete", "wg0") // as a reboot would leave it
		hub.startApply()
		hub.startRender()
		hub.waitForPeers(t, 2)
		s1.reaches(t, s2)
		if got := hub.Read(t, "/etc/wireguard/wg0.conf"); got != before {
			t.Errorf("the file in force has changed:\n%s\nbefore:\n%s", got, before)
		}
	})

	t.Run("wg-quick reaches the same from every file in force", func(t *testing.T) {
		for _, m := range all {
			h := lab.NewHost(t, "quick-"+m.name)
			other := lab.Switch(t) // the same underlay, without the others on it
			other.Plug(t, h, "eth0", m.underlay+"/24")
			h.Write(t, "/etc/wireguard/wg0.conf", m.Read(t, "/etc/wireguard/wg0.conf"), 0o600)
			lab.WGQuickUp(t, h, "wg0")
			if got, want := device(t, m), device(t, &machine{Host: h}); got != want {
				t.Errorf("%s: wg-apply:\n%s\nwg-quick:\n%s", m.name, got, want)
			}
		}
	})
}

// device is what the interface is, but for endpoints that have roamed and for whose routes they are.
func device(t *testing.T, m *machine) string {
	t.Helper()
	return m.Run(t, "sh", "-c", `
		wg show wg0 allowed-ips | sort; wg show wg0 persistent-keepalive | sort; wg show wg0 private-key; wg show wg0 listen-port
		ip -o address show dev wg0 scope global | sed 's/.*inet/inet/; s/ valid_lft.*//'
		ip -o link show dev wg0 | grep -o 'mtu [0-9]*'
		ip -4 route show table all dev wg0 | sed 's/ proto [a-z0-9]*//; s/ *$//' | sort
		ip -4 rule`)
}
