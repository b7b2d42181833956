package kernel

import (
	"os"
	"strings"
	"testing"

	"wg-kube/internal/lab"
)

// Two neighbours without any address but those that every link has.
func TestEndpointWithAZone(t *testing.T) {
	env, file := hostEnv(t), "/run/wg0.conf"
	a, b := lab.NewHost(t, "a"), lab.NewHost(t, "b")
	lab.Link(t, a, "eth0", "", b, "eth0", "")
	a.Run(t, "ip", "address", "add", "fe80::a/64", "dev", "eth0", "nodad")
	b.Run(t, "ip", "address", "add", "fe80::b/64", "dev", "eth0", "nodad")
	a.Run(t, "ip", "link", "add", "lan", "type", "veth", "peer", "name", "lan1") // where else fe80:: could be
	a.Run(t, "ip", "link", "set", "lan", "up")
	keyA, peerA := keyPair(t, a)
	keyB, peerB := keyPair(t, b)
	bringUp := func(h *lab.Host, conf string) string {
		t.Helper()
		h.Write(t, file, conf, 0o600)
		return h.Run(t, append(env, bringUpEnv+"="+file, os.Args[0])...)
	}
	bringUp(b, "[Interface]\n"+keyB+"ListenPort = 51820\nAddress = 10.1.0.2/24\n"+peerA+"AllowedIPs = 10.1.0.1/32\n")
	conf := "[Interface]\n" + keyA + "Address = 10.1.0.1/24\n" + peerB + "AllowedIPs = 10.1.0.2/32\nEndpoint = [fe80::b%ZONE]:51820\n"
	bringUp(a, strings.ReplaceAll(conf, "ZONE", "eth0"))
	a.Run(t, "ping", "-c", "1", "-W", "5", "10.1.0.2")
	if again := bringUp(a, strings.ReplaceAll(conf, "ZONE", "eth0")); again != "" {
		t.Errorf("something is left to do:\n%s", again)
	}
	a.Run(t, "ip", "link", "del", "wg0")
	a.Write(t, file, strings.ReplaceAll(conf, "ZONE", "nosuch"), 0o600)
	if out, code := a.Try(append(env, bringUpEnv+"="+file, os.Args[0])...); code == 0 {
		t.Errorf("a zone that is no interface is taken:\n%s", out)
	}
}

// keyPair is a new key, as the line of an [Interface] and the head of a [Peer].
func keyPair(t *testing.T, h *lab.Host) (private, public string) {
	t.Helper()
	private = strings.TrimSpace(h.Run(t, "wg", "genkey"))
	return "PrivateKey = " + private + "\n", "[Peer]\nPublicKey = " + strings.TrimSpace(h.Run(t, "sh", "-c", "echo "+private+" | wg pubkey")) + "\n"
}
