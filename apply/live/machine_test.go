package live

import (
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"wg-kube/internal/lab"
	"wg-kube/templates/status"
)

// hang is how long a test waits for what should come at once. It is there to end a test that waits for nothing.
const hang = 2 * time.Minute

// machine is a host with wg-apply on it.
type machine struct {
	*lab.Host
	program string
}

func newMachine(t testing.TB, name string) *machine {
	t.Helper()
	m := &machine{lab.NewHost(t, name), lab.Build(t, "wg-kube/cmd/wg-apply")}
	lab.Build(t, "wg-kube/cmd/wg-device") // beside it, for a kernel without WireGuard
	m.Run(t, "mkdir", "-p", "/run/proposals")
	return m
}

func (m *machine) args(args ...string) []string {
	return slices.Concat([]string{m.program, "--proposals=/run/proposals"}, args)
}

func (m *machine) apply(t testing.TB, args ...string) string {
	t.Helper()
	return m.Run(t, m.args(args...)...)
}

// daemon starts "wg-apply run". What is written to a file is read 10 ms later.
func (m *machine) daemon(t testing.TB, args ...string) *lab.Process {
	t.Helper()
	return m.Start(t, m.args(append([]string{"run", "--settle=10ms"}, args...)...)...)
}

// write writes the file in force of an interface.
func (m *machine) write(t testing.TB, iface, content string) {
	t.Helper()
	m.Write(t, "/etc/wireguard/"+iface+".conf", content, 0o600)
}

// put writes the file in force and waits until the daemon says that the device is as it says.
func (m *machine) put(t testing.TB, iface, content string) {
	t.Helper()
	m.write(t, iface, content)
	hash := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
	wait(t, iface+": the file is applied", func() bool {
		b, err := os.ReadFile(m.Path("/run/wg-kube/" + iface + ".json"))
		if err != nil {
			return false // not there yet
		}
		s, err := status.Parse(iface, b)
		must(t, err)
		return s.InForce == hash && s.Applied == hash
	})
}

// settled fails the test if there is anything left to do.
func (m *machine) settled(t testing.TB) {
	t.Helper()
	if out, code := m.Try(m.args("plan")...); code != 0 {
		t.Errorf("%s: something is left to do (exit status %d):\n%s", m.Name, code, out)
	}
}

// shows waits until the output of a command has the text in it.
func (m *machine) shows(t testing.TB, text, command string) {
	t.Helper()
	wait(t, fmt.Sprintf("%s: %s: %q", m.Name, command, text), func() bool {
		out, _ := m.Try(strings.Fields(command)...)
		return strings.Contains(out, text)
	})
}

// reaches waits until an address answers.
func (m *machine) reaches(t testing.TB, addr string) {
	t.Helper()
	wait(t, m.Name+" reaches "+addr, func() bool {
		_, code := m.Try("ping", "-c1", "-W1", addr)
		return code == 0
	})
}

func wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(hang); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, hang)
		}
	}
}

// end sends a daemon a signal and waits until it is gone.
func end(t testing.TB, p *lab.Process, s syscall.Signal) {
	t.Helper()
	must(t, p.Signal(s))
	if code := p.Exit(t, hang); s == syscall.SIGTERM && (code != 0 || strings.Contains(p.Log(), "level=ERROR")) {
		t.Errorf("SIGTERM: exit code %d\n%s", code, p.Log())
	}
}

// processes are the command lines of what runs on the host, but for what holds it, by process ID.
func (m *machine) processes(t testing.TB) map[int]string {
	t.Helper()
	mounts := func(pid int) string {
		ns, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
		return ns
	}
	own := mounts(m.PID())
	entries, err := os.ReadDir("/proc")
	must(t, err)
	found := map[int]string{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == m.PID() || mounts(pid) != own {
			continue
		}
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		found[pid] = strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
	}
	return found
}

// net is all that the network of the host is made of, but for what the kernel makes up: the addresses of a link itself.
func (m *machine) net(t testing.TB) string {
	t.Helper()
	return m.Run(t, "sh", "-c", `
		ip -br link | cut -d' ' -f1 | sort
		ip -o link show dev wg0 2>/dev/null | grep -o 'mtu [0-9]*'
		ip -o addr show scope global | sed 's/ *valid_lft.*//; s/^[0-9]*: //'
		ip -d -4 route show table all | sort
		ip -d -6 route show table all type unicast | grep -v fe80 | sort
		ip -d -4 rule; ip -d -6 rule
		nft list ruleset
		cat /etc/resolv.conf
		ip link show wg0 >/dev/null 2>&1 && wg showconf wg0 | grep -v Endpoint | sed 's/^AllowedIPs = //; s/, /\n/g' | sort
		ls /run/wireguard | grep sock$ || true`)
}
