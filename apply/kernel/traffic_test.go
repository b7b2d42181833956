package kernel

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab"
)

// What is done to a device while two hosts talk through it: none of it may cost them a packet.
func TestChangesLoseNoPacket(t *testing.T) {
	const (
		keyHub   = "PrivateKey = iAkbTpZAXPvjDeXgy8x9VFbXXrFZ9f9wHhg3Y1uVKHA=\n"
		keySpoke = "PrivateKey = 0A/y90LOxiRiXBaAh5ZI5fdNv7OZ8WrVVfDP2iaTrUc=\n"
		file     = "/run/wg0.conf"
	)
	env := hostEnv(t)
	hub, spoke := lab.NewHost(t, "hub"), lab.NewHost(t, "spoke")
	lab.Link(t, hub, "eth0", "192.0.2.1/24", spoke, "eth0", "192.0.2.2/24")
	public := func(key string) string {
		return strings.TrimSpace(hub.Run(t, "sh", "-c", fmt.Sprintf("echo %s | wg pubkey", strings.TrimPrefix(strings.TrimSpace(key), "PrivateKey = "))))
	}
	talker := "[Peer]\nPublicKey = " + public(keySpoke) + "\nEndpoint = 192.0.2.2:51820\n"
	bringUp := func(h *lab.Host, conf string) string {
		t.Helper()
		h.Write(t, file, conf, 0o600)
		return h.Run(t, append(env, bringUpEnv+"="+file, os.Args[0])...)
	}
	head := "[Interface]\n" + keyHub + "ListenPort = 51820\nAddress = 10.1.0.1/24\n"
	plain := head + talker + "AllowedIPs = 10.1.0.2/32\n"
	hub.Write(t, file, plain, 0o600)
	lab.WGQuickUp(t, hub, file)
	bringUp(spoke, "[Interface]\n"+keySpoke+"ListenPort = 51820\nAddress = 10.1.0.2/24\n[Peer]\nPublicKey = "+
		public(keyHub)+"\nAllowedIPs = 10.1.0.0/24\nEndpoint = 192.0.2.1:51820\n")
	hub.Run(t, "ping", "-c", "1", "-W", "5", "10.1.0.2")

	stop := lab.Loss(t, hub, spoke, "10.1.0.2", 1000)
	changes := []struct{ name, conf string }{
		{"adopted from wg-quick", plain},
		{"prefixes gained", head + talker + "AllowedIPs = 10.1.0.2/32, 10.7.0.0/16, fd00:7::/64\n"},
		{"a peer gained, and a prefix moved to it", head + talker + "AllowedIPs = 10.1.0.2/32, fd00:7::/64\n" + peerB + "AllowedIPs = 10.7.0.0/16\n"},
		{"a prefix dropped", head + talker + "AllowedIPs = 10.1.0.2/32\n" + peerB + "AllowedIPs = 10.7.0.0/16\n"},
		{"many peers gained", head + talker + "AllowedIPs = 10.1.0.2/32\n" + manyPeers(200)},
		{"many peers lost", plain},
		{"another mtu, a second address", head + "MTU = 1300\nAddress = 10.2.0.1/24\n" + talker + "AllowedIPs = 10.1.0.2/32\n"},
		{"keepalive", head + talker + "AllowedIPs = 10.1.0.2/32\nPersistentKeepalive = 25\n"},
		{"as at first", plain},
	}
	for _, c := range changes {
		done := bringUp(hub, c.conf)
		if t.Logf("%s: %d changes", c.name, strings.Count(done, "\n")); strings.Contains(done, "ip link add") {
			t.Errorf("%s: the link was made anew", c.name)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if lost := stop(); lost.Lost != 0 || lost.Sent < 500 {
		t.Error(lost)
	} else {
		t.Log(lost)
	}
}
