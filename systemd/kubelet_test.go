package systemd

import (
	"os"
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/systemd"
)

// fakeKubelet notes what it sees of wg0 when it starts. It begins with the machine, as a kubelet does.
const fakeKubelet = `[Unit]
Wants=network-online.target
After=network-online.target
[Service]
ExecStart=sh -c 'ip -o address show dev wg0 >/etc/.seen 2>&1; mv /etc/.seen /etc/seen-by-kubelet; exec sleep infinity'
Restart=always
[Install]
WantedBy=multi-user.target
`

func withKubelet(t *testing.T) *systemd.Machine {
	t.Helper()
	m := newSpoke(t)
	m.Write(t, "/etc/systemd/system/kubelet.service", fakeKubelet, 0o644)
	m.Run(t, "systemctl", "enable", "kubelet")
	return m
}

// seen is what the kubelet noted.
func seen(t *testing.T, m *systemd.Machine) string {
	t.Helper()
	const note = "/etc/seen-by-kubelet"
	lab.Eventually(t, hang, "the kubelet starts", func() bool { _, code := m.Try("test", "-e", note); return code == 0 })
	return m.Read(t, note)
}

func TestAKubeletStartsWithTheAddressThere(t *testing.T) {
	m := withKubelet(t)
	// However slow the others are.
	for _, unit := range []string{"wg-apply.service", "wg-render@.service"} {
		m.Write(t, "/etc/systemd/system/"+unit+".d/slow.conf", "[Service]\nExecStartPre=sleep 2\n", 0o644)
	}
	m.Run(t, "systemctl", "enable", "wg-apply", "wg-render@wg0")
	m.Boot(t)
	if got := seen(t, m); !strings.Contains(got, "inet "+spokeOverlay+"/32") {
		t.Errorf("it saw:\n%s", got)
	}
}

func TestAKubeletStartsWithoutTheAddressInTheEnd(t *testing.T) {
	const dropIn = "/usr/local/lib/systemd/system/kubelet.service.d/10-wg-kube.conf"
	for _, c := range []struct {
		name    string
		enabled string
		waits   bool
	}{
		{"wg0 never comes", "wg-render@wg0", true},
		{"wg0 is nobody's", "wg-apply", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := withKubelet(t)
			text := m.Read(t, dropIn)
			short := strings.Replace(text, "timeout 60 ", "timeout 5 ", 1)
			if short == text {
				t.Fatalf("the wait is not for a minute:\n%s", text)
			}
			m.Write(t, dropIn, short, 0o644)
			m.Run(t, "systemctl", "enable", c.enabled)
			m.SwitchOn(t)
			began := time.Now()
			seen(t, m)
			if waited := time.Since(began) > 4*time.Second; waited != c.waits {
				t.Errorf("it started after %s", time.Since(began))
			}
			m.Up(t)
			if got := m.Property(t, "kubelet", "NRestarts"); got != "0" {
				t.Errorf("it was restarted %s times", got)
			}
		})
	}
}

// A machine that shuts down has its tunnel until everything is stopped that needs a network.
func TestAKubeletStopsWithTheTunnelThere(t *testing.T) {
	m, hub := newSpoke(t), newHub(t)
	wire(t, m, hub)
	m.Write(t, "/etc/systemd/system/kubelet.service", fakeKubelet, 0o644)
	m.Write(t, "/etc/systemd/system/kubelet.service.d/drain.conf",
		"[Service]\nExecStop=sh -c 'sleep 1; ping -c 1 -W 1 "+hubOverlay+" >/etc/.last 2>&1; mv /etc/.last /etc/last-ping; sleep 2'\n", 0o644)
	m.Write(t, "/etc/wireguard/wg0.conf", spokeFile, 0o600)
	m.Run(t, "systemctl", "enable", "wg-apply", "wg-device@wg0.path", "kubelet")
	m.Boot(t)
	reaches(t, m.Host, hubOverlay)
	m.Try("systemctl", "poweroff") // which ends it, too
	const last = "/etc/last-ping"
	lab.Eventually(t, hang, "the kubelet stops", func() bool {
		_, err := os.Stat(m.Path(last))
		return err == nil
	})
	if got := m.Read(t, last); !strings.Contains(got, "1 received") {
		t.Errorf("the tunnel went first:\n%s", got)
	}
}
