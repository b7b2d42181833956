package apply

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"wg-kube/internal/lab"
	"wg-kube/templates/wgquick"
)

// These tests run the program itself on real devices.

// machine is a host with wg-apply on it.
type machine struct {
	*lab.Host
	program string
}

func newMachine(t *testing.T, name string) *machine {
	t.Helper()
	m := &machine{lab.NewHost(t, name), lab.Build(t, "wg-kube/cmd/wg-apply")}
	lab.Build(t, "wg-kube/cmd/wg-device") // beside it, for a kernel without WireGuard
	m.Run(t, "mkdir", "-p", "/run/proposals")
	return m
}

func (m *machine) args(args ...string) []string {
	return slices.Concat([]string{m.program, "--proposals", "/run/proposals"}, args)
}

func (m *machine) apply(t *testing.T, args ...string) string {
	t.Helper()
	return m.Run(t, m.args(args...)...)
}

func (m *machine) start(t *testing.T, args ...string) *lab.Process {
	t.Helper()
	return m.Start(t, m.args(append([]string{"run"}, args...)...)...)
}

// state is what a device is, for people, without what the kernel makes up and whose routes they are.
func (m *machine) state(t *testing.T, iface string) string {
	t.Helper()
	state, ok := m.tryState(iface)
	if !ok {
		t.Fatalf("%s: no state: %s", iface, state)
	}
	return state
}

// tryState is state where the device may come and go; it is false if that was not all there.
func (m *machine) tryState(iface string) (string, bool) {
	const script = `
wg showconf $1 | sort || gone=1
ip -o addr show dev $1 scope global | sed 's/.*inet/inet/; s/ valid_lft.*//' || gone=1
ip -o link show dev $1 | grep -o 'mtu [0-9]*' || gone=1
ip -4 route show table all dev $1 | sed 's/ proto [a-z0-9]*//' | sort || gone=1
ip -6 route show table all dev $1 | grep -v fe80 | grep -v ff00 | sed 's/ proto [a-z0-9]*//' | sort || gone=1
(ip -4 rule; ip -6 rule) | cut -d: -f2- | sed 's/ proto [a-z0-9]*//' || gone=1
exit ${gone:-0}`
	out, code := m.Try("sh", "-c", script, "sh", iface)
	return blanks.ReplaceAllString(out, " "), code == 0
}

var blanks = regexp.MustCompile(`[ \t]+`)

// person is a file made by hand, with a key of its own.
func person(t *testing.T, address string, port int) (file string, public wgquick.PublicKey) {
	t.Helper()
	key, err := wgquick.NewPrivateKey()
	must(t, err)
	return fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = %s\nListenPort = %d\n", key.Reveal(), address, port), key.Public()
}

func section(key wgquick.PublicKey, allowed, more string) string {
	return fmt.Sprintf("\n[Peer]\nPublicKey = %s\nAllowedIPs = %s\n%s", key, allowed, more)
}

func TestDeviceOnceTwiceAndAsWGQuick(t *testing.T) {
	for name, allowed := range map[string]string{
		"host and network":           "10.7.0.2/32, 192.168.7.0/24, 192.168.7.64/26",
		"two families":               "10.7.0.2/32, fd00:7::2/128, fd00:77::/64",
		"a default route":            "0.0.0.0/0, ::/0",
		"nothing outside its subnet": "10.7.0.0/25",
	} {
		t.Run(name, func(t *testing.T) {
			file, _ := person(t, "10.7.0.1/24, fd00:7::1/64", 51820)
			_, other := person(t, "", 0)
			file += section(other, allowed, "PersistentKeepalive = 25\n")
			a, b := newMachine(t, "apply"), newMachine(t, "quick")
			for _, m := range []*machine{a, b} {
				m.Write(t, "/etc/wireguard/wg0.conf", file, 0o600)
			}
			if out := a.apply(t, "once", "wg0"); !strings.Contains(out, "msg=changed") {
				t.Errorf("the first time it changes nothing:\n%s", out)
			}
			if out := a.apply(t, "once", "wg0"); strings.Contains(out, "op=") {
				t.Errorf("the second time it changes something:\n%s", out)
			}
			if out := a.apply(t, "plan"); out != "" {
				t.Errorf("there is something left to do:\n%s", out)
			}
			lab.WGQuickUp(t, b.Host, "wg0")
			if got, want := a.state(t, "wg0"), b.state(t, "wg0"); got != want {
				t.Errorf("wg-apply:\n%s\nwg-quick:\n%s", got, want)
			}
			before := b.state(t, "wg0")
			b.apply(t, "once", "wg0") // takes over what wg-quick made
			if got := b.state(t, "wg0"); got != before {
				t.Errorf("taken over:\n%s\nbefore:\n%s", got, before)
			}
			a.apply(t, "down", "wg0")
			if _, code := a.Try("ip", "link", "show", "wg0"); code == 0 {
				t.Error("down leaves the link")
			}
		})
	}
}

// pair is two machines that talk through a tunnel which both have from a file.
func pair(t *testing.T) (a, b *machine, fileA string) {
	t.Helper()
	a, b = newMachine(t, "a"), newMachine(t, "b")
	lab.Link(t, a.Host, "eth0", "10.9.0.1/24", b.Host, "eth0", "10.9.0.2/24")
	fileA, keyA := person(t, "10.7.0.1/24", 51820)
	fileB, keyB := person(t, "10.7.0.2/24", 51820)
	fileA += section(keyB, "10.7.0.2/32", "Endpoint = 10.9.0.2:51820\n")
	fileB += section(keyA, "10.7.0.1/32", "Endpoint = 10.9.0.1:51820\n")
	a.Write(t, "/etc/wireguard/wg0.conf", fileA, 0o600)
	b.Write(t, "/etc/wireguard/wg0.conf", fileB, 0o600)
	b.apply(t, "once", "wg0")
	return a, b, fileA
}

func (m *machine) eventually(t *testing.T, what, command string) {
	t.Helper()
	lab.Eventually(t, 30*time.Second, what, func() bool {
		_, code := m.Try("sh", "-c", command)
		return code == 0
	})
}

func TestDeviceSurvivesTheDaemon(t *testing.T) {
	a, b, file := pair(t)
	daemon := a.start(t)
	a.eventually(t, "the tunnel is up", "ping -c1 -W1 10.7.0.2")
	stop := lab.Loss(t, a.Host, b.Host, "10.7.0.2", 500)

	must(t, daemon.Kill())
	daemon.Exit(t, 5*time.Second)
	before := a.state(t, "wg0")
	daemon = a.start(t)
	_, third := person(t, "", 0)
	a.Write(t, "/etc/wireguard/wg0.conf", file+section(third, "10.7.0.3/32, 192.168.3.0/24", ""), 0o600)
	a.eventually(t, "a peer more", "ip route | grep -q 192.168.3.0/24")
	a.Write(t, "/etc/wireguard/wg0.conf", file, 0o600)
	a.eventually(t, "and gone again", "! ip route | grep -q 192.168.3.0/24")
	a.eventually(t, "all of it", "! wg show wg0 peers | grep -q "+third.String())
	must(t, daemon.Signal(syscall.SIGTERM))
	if code := daemon.Exit(t, 5*time.Second); code != 0 {
		t.Errorf("SIGTERM: exit code %d", code)
	}
	if lost := stop(); lost.Lost > 0 {
		t.Errorf("%v", lost)
	}
	if got := a.state(t, "wg0"); got != before {
		t.Errorf("after:\n%s\nbefore:\n%s", got, before)
	}
	if strings.Contains(daemon.Log(), "msg=drift") {
		t.Errorf("what the daemon did itself is no drift:\n%s", daemon.Log())
	}
}

func TestDeviceDriftIsRepaired(t *testing.T) {
	a, _, file := pair(t)
	_, third := person(t, "", 0)
	a.Write(t, "/etc/wireguard/wg0.conf", file+section(third, "192.168.3.0/24", ""), 0o600)
	daemon := a.start(t)
	a.eventually(t, "up", "ip route | grep -q 192.168.3.0/24")
	want := a.state(t, "wg0")
	for what, command := range map[string]string{
		"a route":    "ip route del 192.168.3.0/24",
		"an address": "ip addr del 10.7.0.1/24 dev wg0",
		"the MTU":    "ip link set mtu 1300 dev wg0",
		"the link":   "ip link del wg0",
	} {
		a.Run(t, "sh", "-c", command)
		lab.Eventually(t, 30*time.Second, what+" is back", func() bool {
			got, ok := a.tryState("wg0")
			return ok && got == want
		})
	}
	if log := daemon.Log(); !strings.Contains(log, "msg=drift") {
		t.Errorf("nothing is logged:\n%s", log)
	}
	a.apply(t, "down", "wg0")
	time.Sleep(500 * time.Millisecond)
	if _, code := a.Try("ip", "link", "show", "wg0"); code == 0 {
		t.Error("the daemon brings up what a person took down")
	}
	a.apply(t, "once", "wg0")
	if got := a.state(t, "wg0"); got != want {
		t.Errorf("once:\n%s\nwant:\n%s", got, want)
	}
}

// Somebody has deleted the link: down takes away what that has left.
func TestDeviceDownOfALinkThatIsGone(t *testing.T) {
	m := newMachine(t, "apply-down")
	const left = "ip -4 rule; ip -6 rule; nft list tables"
	before := m.Run(t, "sh", "-c", left)
	file, _ := person(t, "10.0.0.1/24, fd00::1/64", 51820)
	_, peer := person(t, "10.0.0.2/24", 51820)
	m.Write(t, "/etc/wireguard/wg0.conf", file+section(peer, "0.0.0.0/0, ::/0", ""), 0o600)
	m.apply(t, "once", "wg0")
	m.Run(t, "ip", "link", "del", "wg0")
	if m.Run(t, "sh", "-c", left) == before {
		t.Fatal("nothing is left")
	}
	m.apply(t, "down", "wg0")
	if got := m.Run(t, "sh", "-c", left); got != before {
		t.Errorf("after down:\n%s\nwant:\n%s", got, before)
	}
	if got := m.apply(t, "status", "wg0"); strings.Contains(got, "applied") {
		t.Errorf("status:\n%s", got)
	}
}

// On a busy machine the wg-device of a link that somebody has deleted takes its time to end, and answers until then.
func TestDeviceWaitsForTheOneBefore(t *testing.T) {
	if lab.HasKernelWireGuard(t) {
		return // and needs no wg-device
	}
	m := newMachine(t, "apply-before")
	file, _ := person(t, "10.0.0.1/24", 51820)
	m.Write(t, "/etc/wireguard/wg0.conf", file, 0o600)
	m.apply(t, "once", "wg0")
	var pid int
	_, of, _ := strings.Cut(m.Read(t, "/run/wg-kube/wg0.device.log"), "pid=")
	if _, err := fmt.Sscan(of, &pid); err != nil {
		t.Fatal(err)
	}
	must(t, syscall.Kill(pid, syscall.SIGSTOP))
	m.Run(t, "ip", "link", "del", "wg0")
	timer := time.AfterFunc(time.Second, func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	defer timer.Stop()
	if out, code := m.Try(m.args("once", "wg0")...); code != 0 {
		t.Errorf("exit status %d\n%s", code, out)
	}
	m.Run(t, "wg", "show", "wg0", "listen-port")
}

// A hub whose link somebody deletes calls the spokes that were talking: they would not notice for 15 seconds, or,
// as here, not at all, for they have nothing to say.
func TestDeviceGreetsAfterALinkIsMadeAnew(t *testing.T) {
	a, b, file := pair(t)
	before, _, _ := strings.Cut(file, "Endpoint")
	a.Write(t, "/etc/wireguard/wg0.conf", before, 0o600)
	a.start(t, "--resync", "100ms")
	b.eventually(t, "the tunnel is up", "ping -c1 -W1 10.7.0.1")
	a.eventually(t, "the spoke has been seen", "grep -q 10.9.0.2:51820 /run/wg-kube/wg0.json")
	a.Run(t, "ip", "link", "del", "wg0")
	a.eventually(t, "a new session", "wg show wg0 latest-handshakes | cut -f2 | grep -q '[1-9]'")
	if out := a.Run(t, "wg", "show", "wg0", "persistent-keepalive"); !strings.HasSuffix(out, "\toff\n") {
		t.Errorf("a keepalive is left: %s", out)
	}
}

func TestDeviceFromAProposal(t *testing.T) {
	m := newMachine(t, "spoke")
	daemon := m.start(t, "--proposed", "wg0")
	m.eventually(t, "a key is published", "grep -q publicKey /run/wg-kube/wg0.json")
	m.Write(t, "/run/proposals/wg0.conf", rendered(t, 1, 2, 3, 4, 5, 6), 0o640)
	m.eventually(t, "six peers", `test "$(wg show wg0 peers | wc -l)" = 6`)
	m.Write(t, "/run/proposals/wg0.conf", rendered(t, 9), 0o640)
	m.eventually(t, "they are held, the new one comes", `test "$(wg show wg0 peers | wc -l)" = 7`)
	if out := m.apply(t, "status"); strings.Count(out, "held        Node/node-0") != 6 || !strings.Contains(out, "removals are held") {
		t.Errorf("status:\n%s", out)
	}
	m.apply(t, "accept", "wg0")
	m.eventually(t, "one is left", `test "$(wg show wg0 peers | wc -l)" = 1`)
	m.eventually(t, "nothing is held", "! grep -q held /run/wg-kube/wg0.json")
	m.Write(t, "/run/proposals/wg0.conf", "[Interface]\nAddress = 10.0.0.1/24\nPostUp = touch /run/owned\n", 0o640)
	m.eventually(t, "a hook is refused", "grep -q 'PostUp: may not be said here' /run/wg-kube/wg0.json")
	must(t, daemon.Kill())
	daemon.Exit(t, 5*time.Second)

	quick := newMachine(t, "quick")
	quick.Write(t, "/etc/wireguard/wg0.conf", m.Read(t, "/etc/wireguard/wg0.conf"), 0o600)
	lab.WGQuickUp(t, quick.Host, "wg0")
	if got, want := m.state(t, "wg0"), quick.state(t, "wg0"); got != want {
		t.Errorf("wg-apply:\n%s\nwg-quick with the file in force:\n%s", got, want)
	}
}

// The machine has a route of its own where a Node claims one, or no IPv6, and boots like that too.
func TestDeviceWhatTheMachineCannotHave(t *testing.T) {
	withV6 := peer(2)
	withV6.AllowedIPs = append(withV6.AllowedIPs, netip.MustParsePrefix("fd00:2::/64"))
	m := newMachine(t, "spoke")
	m.Run(t, "sh", "-ec", "ip link set lo up; ip route add 10.0.0.9/32 dev lo")
	m.Write(t, "/run/proposals/wg0.conf", renderedOf(t, peer(1), withV6, peer(9)), 0o640)
	daemon := m.start(t, "--proposed", "wg0", "--resync", "100ms")
	m.eventually(t, "the others are up", `test "$(wg show wg0 peers | wc -l)" = 2 && ip route show 10.0.0.2 | grep wg0 && ip -6 route show fd00:2::/64 | grep wg0`)
	m.eventually(t, "the status says why", `grep -q '"/run/proposals/wg0.conf:[0-9]*: .Peer. node-09: .*10.0.0.9/32.*on lo' /run/wg-kube/wg0.json`)

	m.Run(t, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
	m.eventually(t, "the status says that IPv6 is off", "grep -q 'fd00:2::/64.*IPv6 is off' /run/wg-kube/wg0.json")
	m.Run(t, "ip", "route", "del", "10.0.0.2/32")
	m.eventually(t, "the rest is repaired", "ip route show 10.0.0.2 | grep wg0")
	must(t, daemon.Kill())
	daemon.Exit(t, 5*time.Second)
	m.apply(t, "down", "wg0")
	m.Run(t, "sh", "-c", "rm /run/wg-kube/*; ip route add 10.0.0.1/32 dev lo")
	daemon = m.start(t, "--resync", "100ms")
	m.eventually(t, "after a boot the rest is up", "ip route show 10.0.0.2 | grep wg0")
	must(t, daemon.Kill())
	daemon.Exit(t, 5*time.Second)

	m.Run(t, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.disable_ipv6=0")
	m.Run(t, "ip", "route", "flush", "dev", "lo")
	m.start(t, "--proposed", "wg0", "--resync", "100ms")
	m.eventually(t, "all is up", `test "$(wg show wg0 peers | wc -l)" = 3 && ip -6 route show fd00:2::/64 | grep wg0 && ip route show 10.0.0.9 | grep wg0`)
	m.eventually(t, "nothing is refused", "! grep -q refused /run/wg-kube/wg0.json")
	quick := newMachine(t, "quick")
	quick.Write(t, "/etc/wireguard/wg0.conf", m.Read(t, "/etc/wireguard/wg0.conf"), 0o600)
	lab.WGQuickUp(t, quick.Host, "wg0")
}
