package apply

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wg-kube/internal/lab"
)

// What a hook can see, as a line in /run/diary: which it is and what for, what there is of the interface, how the shell
// is set, and the environment. The two that differ by their nature are left out: wg-quick puts its own folder in front
// of PATH, and is itself a shell.
const seen = `{
echo "%s %%i $INTERFACE $CONFIG_FILE";
echo "addresses:" $(ip -o addr show dev %%i scope global 2>/dev/null | grep -o 'inet6* [^ ]*');
echo "routes:" $(ip -4 route show dev %%i 2>/dev/null | cut -d' ' -f1);
echo "peers:" $(wg show %%i peers 2>/dev/null | wc -l);
echo "resolver:" $(grep nameserver /etc/resolv.conf);
shopt -po errexit pipefail; shopt -p extglob; umask;
env | grep -Ev '^(PATH|SHLVL|_|WG_DEVICE|WG_QUICK_USERSPACE_IMPLEMENTATION)=' | sort; } >>/run/diary`

func hookLines() string {
	var lines string
	for _, kind := range []string{"PostDown", "PreDown", "PostUp", "PreUp"} { // the order of the file means nothing
		lines += kind + " = " + strings.ReplaceAll(fmt.Sprintf(seen, kind), "\n", " ") + "\n"
		lines += kind + " = echo second " + kind + ` "a  b" '%i' >>/run/diary` + "\n"
	}
	return lines
}

// diary is what hooks have written on the machine since it was last called.
func (m *machine) diary(t *testing.T) string {
	t.Helper()
	out, _ := m.Try("sh", "-c", "cat /run/diary 2>/dev/null; rm -f /run/diary")
	return out
}

func (m *machine) quick(t *testing.T, verb string) int {
	t.Helper()
	out, code := lab.TryWGQuick(t, m.Host, verb, "wg0")
	t.Logf("wg-quick %s: exit status %d\n%s", verb, code, out)
	return code
}

func (m *machine) hasLink() bool {
	_, code := m.Try("ip", "link", "show", "wg0")
	return code == 0
}

// twins are two machines with the same file, for wg-apply and for wg-quick.
func twins(t *testing.T, more string) (a, b *machine, file string) {
	t.Helper()
	file, _ = person(t, "10.7.0.1/24, fd00:7::1/64", 51820)
	_, other := person(t, "", 0)
	file += more + section(other, "10.7.0.2/32, 192.168.7.0/24", "")
	a, b = newMachine(t, "apply"), newMachine(t, "apply") // the name is in the environment
	for _, m := range []*machine{a, b} {
		m.Write(t, "/etc/wireguard/wg0.conf", file, 0o600)
	}
	return a, b, file
}

func needResolvconf(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("resolvconf"); err != nil {
		lab.Skip(t, "resolvconf is not installed (Debian: openresolv)")
	}
}

func TestDeviceHooksAsWGQuick(t *testing.T) {
	needResolvconf(t)
	a, b, _ := twins(t, hookLines()+"DNS = 192.0.2.53\n")
	same := func(what string) {
		t.Helper()
		got, want := a.diary(t), b.diary(t)
		if !strings.Contains(got, "second") {
			t.Errorf("%s: nothing is run: %q", what, got)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -wg-quick +wg-apply:\n%s", what, d)
		}
	}
	a.apply(t, "once", "wg0", "--hooks=run", "--dns")
	b.quick(t, "up")
	same("up")
	a.apply(t, "once", "wg0", "--hooks=run", "--dns")
	if got := a.diary(t); got != "" {
		t.Errorf("run at another look: %q", got)
	}
	a.apply(t, "down", "wg0", "--hooks=run", "--dns")
	b.quick(t, "down")
	same("down")
}

func TestDeviceHooksAreOff(t *testing.T) {
	a, _, _ := twins(t, hookLines())
	if out := a.apply(t, "once", "wg0"); strings.Count(out, "is not run") != 8 {
		t.Errorf("not said:\n%s", out)
	}
	a.apply(t, "down", "wg0")
	if got := a.diary(t); got != "" {
		t.Errorf("run: %q", got)
	}
}

func TestDeviceHooksTakenOver(t *testing.T) {
	a, b, _ := twins(t, hookLines())
	a.quick(t, "up")
	a.diary(t)
	a.apply(t, "once", "wg0", "--hooks=run")
	if got := a.diary(t); got != "" {
		t.Errorf("taken over from wg-quick: %q", got)
	}
	a.apply(t, "down", "wg0", "--hooks=run")
	if got := a.diary(t); strings.Count(got, "second") != 2 || a.hasLink() {
		t.Errorf("down: %q", got)
	}
	b.apply(t, "once", "wg0", "--hooks=run")
	b.diary(t)
	if code := b.quick(t, "down"); code != 0 || strings.Count(b.diary(t), "second") != 2 || b.hasLink() {
		t.Errorf("wg-quick down: exit status %d", code)
	}
}

// A route that a hook adds is the hook's, whoever made the link, and whatever else has to be repaired.
func TestDeviceRoutesOfHooksStay(t *testing.T) {
	a, b, file := twins(t, "PostUp = ip route add 10.66.0.0/16 dev %i; ip route add default dev %i table 66\n")
	a.apply(t, "once", "wg0", "--hooks=run")
	b.quick(t, "up")
	for who, m := range map[string]*machine{"wg-apply": a, "wg-quick": b} {
		before := m.state(t, "wg0")
		for range 2 {
			m.Run(t, "ip", "route", "del", "192.168.7.0/24")
			m.apply(t, "once", "wg0")
		}
		if d := cmp.Diff(before, m.state(t, "wg0")); d != "" {
			t.Errorf("on the link that %s made (-before +after):\n%s", who, d)
		}
		_, third := person(t, "", 0)
		m.Write(t, "/etc/wireguard/wg0.conf", file[:strings.Index(file, "[Peer]")]+section(third, "10.7.0.3/32", ""), 0o600)
		m.apply(t, "once", "wg0")
		want := "10.66.0.0/16 10.7.0.0/24 "
		if got := m.Run(t, "sh", "-c", "ip route show dev wg0 | cut -d' ' -f1 | sort | tr '\\n' ' '"); got != want {
			t.Errorf("after a change of the file, on the link that %s made: routes %s, want %s", who, got, want)
		}
	}
}

func TestDeviceHooksThatFail(t *testing.T) {
	for _, kind := range []string{"PreUp", "PostUp", "PreDown", "PostDown"} {
		t.Run(kind, func(t *testing.T) {
			a, b, _ := twins(t, kind+" = echo one >>/run/diary; false; echo two >>/run/diary\n"+
				kind+" = echo three >>/run/diary\n")
			codes := func(verb string) {
				t.Helper()
				apply := map[string]string{"up": "once", "down": "down"}[verb]
				out, got := a.Try(a.args(apply, "wg0", "--hooks=run")...)
				t.Logf("wg-apply %s: exit status %d\n%s", apply, got, out)
				if want := b.quick(t, verb); got != want {
					t.Errorf("%s: exit status %d, wg-quick's is %d", verb, got, want)
				}
				if got, want := a.diary(t), b.diary(t); got != want {
					t.Errorf("%s: run %q, by wg-quick %q", verb, got, want)
				}
				if got, want := a.hasLink(), b.hasLink(); got != want {
					t.Errorf("%s: the link is there: %t, with wg-quick %t", verb, got, want)
				}
			}
			codes("up")
			if b.hasLink() {
				codes("down")
			}
		})
	}
}

func TestDeviceHooksUnderTheDaemon(t *testing.T) {
	a, _, file := twins(t, "PostUp = echo up >>/run/diary; sleep 300 &\nPostDown = echo down >>/run/diary\n")
	daemon := a.start(t, "--hooks=run", "--gone-after=200ms")
	a.eventually(t, "up", "grep -q up /run/diary")
	a.Write(t, "/etc/wireguard/wg0.conf", strings.Replace(file, "51820", "51821", 1), 0o600)
	a.eventually(t, "a change", "wg show wg0 listen-port | grep -q 51821")
	if got := a.diary(t); got != "up\n" {
		t.Errorf("run: %q", got)
	}
	a.Run(t, "ip", "link", "del", "wg0")
	a.eventually(t, "made anew", "grep -q up /run/diary")
	a.Run(t, "rm", "/etc/wireguard/wg0.conf")
	a.eventually(t, "down", "grep -q down /run/diary")
	if got := a.diary(t); got != "up\ndown\n" || a.hasLink() {
		t.Errorf("run: %q", got)
	}
	must(t, daemon.Signal(syscall.SIGTERM))
	daemon.Exit(t, 5*time.Second) // what a hook left in the background holds nothing up
}

func TestDeviceDNSAsWGQuick(t *testing.T) {
	needResolvconf(t)
	const records = "cat /etc/resolv.conf; resolvconf -l 2>/dev/null; true"
	for name, dns := range map[string]string{
		"one":           "DNS = 192.0.2.53\n",
		"with a domain": "DNS = 192.0.2.53, 2001:db8::53\nDNS = a.example, b.example\n",
		"domains alone": "DNS = a.example\n",
	} {
		t.Run(name, func(t *testing.T) {
			a, b, file := twins(t, dns)
			same := func(what, contains string) {
				t.Helper()
				got, want := a.Run(t, "sh", "-c", records), b.Run(t, "sh", "-c", records)
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%s: -wg-quick +wg-apply:\n%s", what, d)
				}
				if !strings.Contains(got, contains) {
					t.Errorf("%s: %q is not set:\n%s", what, contains, got)
				}
			}
			for _, m := range []*machine{a, b} { // a resolver that was there before, and is there again after
				m.Run(t, "sh", "-c", "echo nameserver 192.0.2.1 | resolvconf -a eth0")
			}
			a.apply(t, "once", "wg0", "--dns")
			b.quick(t, "up")
			same("up", "nameserver")

			b.quick(t, "down")
			changed := strings.Replace(file, dns, "DNS = 192.0.2.54\n", 1)
			for _, m := range []*machine{a, b} {
				m.Write(t, "/etc/wireguard/wg0.conf", changed, 0o600)
			}
			a.apply(t, "once", "wg0", "--dns")
			b.quick(t, "up")
			same("changed", "192.0.2.54")

			a.apply(t, "down", "wg0")
			b.quick(t, "down")
			same("down", "192.0.2.1\n")
		})
	}
}

func TestDeviceDNSWithoutResolvconf(t *testing.T) {
	a, b, _ := twins(t, "DNS = 192.0.2.53\n")
	for _, m := range []*machine{a, b} { // one that fails stands in for none: the rest of the file system is the machine's
		m.Write(t, "/run/bin/resolvconf", "#!/bin/sh\nexit 127\n", 0o755)
	}
	path := "PATH=/run/bin:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/bin" // wg-quick puts /usr/bin in front
	out, code := a.Try(append([]string{"env", path}, a.args("once", "wg0", "--dns")...)...)
	if code != 1 || a.hasLink() || !strings.Contains(out, "wg0.conf: DNS: exit status 127") {
		t.Errorf("exit status %d\n%s", code, out)
	}
	out, code = a.Try(append([]string{"env", path}, a.args("once", "wg0")...)...)
	if code != 0 || !strings.Contains(out, "DNS is not set") {
		t.Errorf("without --dns: exit status %d\n%s", code, out)
	}
}

func TestDeviceHints(t *testing.T) {
	m := newMachine(t, "hub")
	file, _ := person(t, "10.7.0.1/24", 51820)
	for n := range 2 {
		_, other := person(t, "", 0)
		file += section(other, fmt.Sprintf("10.7.0.%d/32", n+2), "")
	}
	m.Write(t, "/etc/wireguard/wg0.conf", file, 0o600)
	m.Run(t, "sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward")
	m.Run(t, "nft", "add table inet fw; add chain inet fw forward { type filter hook forward priority 0; policy drop; }")
	daemon := m.start(t, "--resync", "300ms")
	for _, want := range []string{"forwarding is off for IPv4", "nft list chain inet fw forward"} {
		m.eventually(t, want, "grep -q '"+want+"' /run/wg-kube/wg0.json")
	}
	if out := m.apply(t, "status"); !strings.Contains(out, "note        wg0: forwarding is off") {
		t.Errorf("status:\n%s", out)
	}
	m.Run(t, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; nft delete table inet fw")
	m.eventually(t, "nothing is wrong any more", "! grep -Eq 'forwarding|firewall' /run/wg-kube/wg0.json")
	if log := daemon.Log(); strings.Count(log, "forwarding is off") != 1 || strings.Count(log, "firewall") != 1 {
		t.Errorf("each is logged once:\n%s", log)
	}
}

// The folder of the keys is not mounted, and a person asks which key it is.
func TestDeviceKeygenPrintsTheKeyOfTheDevice(t *testing.T) {
	m := newMachine(t, "hub")
	was := m.apply(t, "keygen", "wg0")
	m.put(t, 1, 2)
	m.apply(t, "once", "--proposed", "wg0", "wg0")
	m.Run(t, "sh", "-c", "rm -r /etc/wireguard/*")
	if got := m.apply(t, "keygen", "wg0"); got != was {
		t.Errorf("it is %s, the device has %s", got, was)
	}
}
