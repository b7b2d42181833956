package systemd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/systemd"
)

// hubNode is the hub as the cluster knows it.
var hubNode = fmt.Sprintf(`apiVersion: v1
kind: Node
metadata:
  name: hub
  uid: 00000000-0000-0000-0000-000000000001
  labels: {wireguard.kube/hub: "true"}
  annotations:
    wireguard.kube/public-key: %s
    wireguard.kube/endpoint: %s:51820
    wireguard.kube/allowed-ips: %s/32
---
apiVersion: v1
kind: Node
metadata:
  name: spoke
  uid: 00000000-0000-0000-0000-000000000002
`, hubKey.Public(), hubUnderlay, hubOverlay)

// earlier is a spoke with the units and with the environment file of a shell script that ran before them.
func earlier(t *testing.T, env string) (spoke *systemd.Machine, hub *lab.Host) {
	t.Helper()
	spoke, hub = newSpoke(t), newHub(t)
	wire(t, spoke, hub)
	spoke.Write(t, "/etc/wg-kube/nodes.yaml", hubNode, 0o644) // in the place of a cluster
	spoke.Write(t, "/etc/wg-kube/wg0.env", "NODE_NAME=spoke\nWG_NODES=/etc/wg-kube/nodes.yaml\nWG_ADDRESS="+spokeOverlay+"/32\n"+
		"POLL_INTERVAL=30\nWG_DAEMONIZE=true\n"+env, 0o640)
	return spoke, hub
}

func publicKey(m *systemd.Machine) string {
	out, _ := m.Try("wg", "show", "wg0", "public-key")
	return strings.TrimSpace(out)
}

func TestAnEarlierKeyIsTakenOver(t *testing.T) {
	for _, path := range []string{"/etc/wireguard/privatekey", "/root/spoke.key"} {
		t.Run(path, func(t *testing.T) {
			spoke, _ := earlier(t, "WG_PRIVATE_KEY_FILE="+path+"\n")
			spoke.Write(t, path, spokeKey.Reveal()+"\n", 0o600)
			spoke.Boot(t)
			spoke.Run(t, "systemctl", "enable", "--now", "wg-apply", "wg-render@wg0")
			reaches(t, spoke.Host, hubOverlay) // the hub knows this key alone
			spoke.Run(t, "rm", path)
			spoke.Run(t, "systemctl", "restart", "wg-apply")
			if got := publicKey(spoke); got != spokeKey.Public().String() {
				t.Errorf("later it has the key of %s", got)
			}
		})
	}
	t.Run("one on a disk that is mounted late", func(t *testing.T) {
		spoke, _ := earlier(t, "WG_PRIVATE_KEY_FILE=/etc/wireguard/privatekey\n")
		spoke.Write(t, "/disk/privatekey", spokeKey.Reveal()+"\n", 0o600)
		spoke.Write(t, "/etc/systemd/system/etc-wireguard.mount", "[Mount]\nWhat=/disk\nWhere=/etc/wireguard\nType=none\nOptions=bind\n", 0o644)
		spoke.Boot(t)
		spoke.Run(t, "systemctl", "enable", "--now", "wg-apply")
		if got := strings.TrimSpace(spoke.Run(t, "wg-apply", "keygen", "wg0")); got != spokeKey.Public().String() {
			t.Errorf("it has the key of %s", got)
		}
	})
	t.Run("one that cannot be read is not replaced by a new one", func(t *testing.T) {
		spoke, _ := earlier(t, "WG_PRIVATE_KEY_FILE=/etc/wireguard/privatekey\n")
		spoke.Boot(t)
		if out, code := spoke.Try("systemctl", "enable", "--now", "wg-apply"); code == 0 {
			t.Errorf("it starts:\n%s", out)
		}
		if !logged(spoke, "wg-key@wg0", "/etc/wireguard/privatekey: no such file or directory") {
			t.Errorf("it does not say why:\n%s", spoke.Journal("wg-key@wg0"))
		}
	})
}

// The script's file and its live interface: the tunnel stays up all the way to a proposal that has the hub in it.
func TestAnEarlierFileIsTakenOver(t *testing.T) {
	spoke, hub := earlier(t, "")
	spoke.Write(t, "/etc/wireguard/wg0.conf", spokeFile, 0o600)
	if !lab.HasKernelWireGuard(t) {
		// What wg-quick starts where the kernel has no WireGuard.
		spoke.Write(t, "/usr/local/bin/wireguard-go", "#!/bin/sh\nexec systemd-run --quiet --service-type=notify wg-device \"$1\"\n", 0o755)
	}
	spoke.Boot(t)
	spoke.Run(t, "systemctl", "enable", "--now", "wg-quick@wg0")
	reaches(t, spoke.Host, hubOverlay)
	before := spoke.Run(t, "ip", "-o", "link", "show", "dev", "wg0")

	lost := lab.Loss(t, spoke.Host, hub, hubOverlay, 500)
	spoke.Run(t, "systemctl", "enable", "--now", "wg-apply", "wg-render@wg0")
	lab.Eventually(t, hang, "the proposal waits", func() bool {
		out, _ := spoke.Try("wg-apply", "status", "wg0", "--proposed", "wg0")
		return strings.Contains(out, "was made by hand, and is not overwritten")
	})
	lab.Eventually(t, hang, "the hub is in it", func() bool {
		_, code := spoke.Try("grep", "-q", hubKey.Public().String(), "/var/lib/wg-render/wg0.conf")
		return code == 0
	})
	spoke.Run(t, "mv", "/etc/wireguard/wg0.conf", "/etc/wireguard/wg0.conf.before")
	spoke.Run(t, "systemctl", "disable", "wg-quick@wg0") // not stopped: that would take the interface down
	lab.Eventually(t, hang, "the proposal is in force", func() bool {
		_, code := spoke.Try("grep", "-q", "Written by wg-apply", "/etc/wireguard/wg0.conf")
		return code == 0
	})
	time.Sleep(time.Second) // long enough for a change that should not come
	if l := lost(); l.Lost != 0 {
		t.Errorf("%v", l)
	}
	if got := publicKey(spoke); got != spokeKey.Public().String() {
		t.Errorf("it has the key of %s", got)
	}
	if after := spoke.Run(t, "ip", "-o", "link", "show", "dev", "wg0"); strings.Fields(after)[0] != strings.Fields(before)[0] {
		t.Errorf("it is another interface:\n%s%s", before, after)
	}
	spoke.Unplug(t)
	wire(t, spoke, hub)
	spoke.Boot(t)
	reaches(t, spoke.Host, hubOverlay)
}
