package kernel

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab"
)

// A link was set down, and nobody speaks: without a greeting there would be silence.
func TestGreeting(t *testing.T) {
	env, file := hostEnv(t), "/run/wg0.conf"
	hub, spoke := lab.NewHost(t, "hub"), lab.NewHost(t, "spoke")
	lab.Link(t, hub, "eth0", "192.0.2.1/24", spoke, "eth0", "192.0.2.2/24")
	bringUp := func(h *lab.Host, conf string) string {
		t.Helper()
		h.Write(t, file, conf, 0o600)
		return h.Run(t, append(env, bringUpEnv+"="+file, os.Args[0])...)
	}
	hubKey, theHub := keyPair(t, hub)
	spokeKey, theSpoke := keyPair(t, spoke)
	conf := "[Interface]\n" + hubKey + "ListenPort = 51820\nAddress = 10.1.0.1/24\n" + theSpoke + "AllowedIPs = 10.1.0.2/32\n" + peerA + "AllowedIPs = 10.1.0.3/32\nEndpoint = 192.0.2.3:1\n"
	bringUp(hub, conf)
	bringUp(spoke, "[Interface]\n"+spokeKey+"Address = 10.1.0.2/24\n"+theHub+"AllowedIPs = 10.1.0.0/24\nEndpoint = 192.0.2.1:51820\n")
	spoke.Run(t, "ping", "-c", "1", "-W", "5", "10.1.0.1")

	// What only grows: of the hub the time of a handshake, of the spoke what it has received.
	most := func(h *lab.Host, what string) int {
		out := h.Run(t, "sh", "-c", "wg show wg0 "+what+" | cut -f2 | sort -n | tail -n1")
		n, err := strconv.Atoi(strings.TrimSpace(out))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	met, heard := most(hub, "latest-handshakes"), most(spoke, "transfer")
	hub.Run(t, "ip", "link", "set", "wg0", "down")
	time.Sleep(1100 * time.Millisecond) // handshakes are told in seconds
	if done := bringUp(hub, conf); strings.Count(done, "persistent-keepalive") != 2 {
		t.Errorf("the spoke alone is greeted:\n%s", done)
	}
	lab.Eventually(t, 30*time.Second, "the greeting", func() bool { return most(spoke, "transfer") > heard })
	if lab.HasKernelWireGuard(t) { // a device in user space may keep its sessions
		lab.Eventually(t, 30*time.Second, "a handshake", func() bool { return most(hub, "latest-handshakes") > met })
	}
	if got := hub.Run(t, "wg", "show", "wg0", "persistent-keepalive"); strings.Count(got, "off") != 2 {
		t.Errorf("a keepalive is left:\n%s", got)
	}
}
