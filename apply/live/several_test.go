package live

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"wg-kube/internal/lab"
)

// Each interface has a file of its own, and what is wrong with one is nothing to the others.
func TestSeveralInterfaces(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "m")
	files := make([]*file, 4)
	for i := range files {
		files[i] = &file{key: newKey(t), port: 51820 + i, addresses: []string{fmt.Sprintf("10.%d.0.1/24", i)},
			peers: []peer{stranger(t, fmt.Sprintf("10.%d.0.2/32", i), fmt.Sprintf("192.168.%d.0/24", i), fmt.Sprintf("172.16.%d.0/24", i))}}
	}
	daemon := m.daemon(t, "--resync=500ms")
	name := func(i int) string { return fmt.Sprintf("wg%d", i) }
	is := func(t *testing.T, i int) {
		t.Helper()
		m.shows(t, "dev "+name(i), fmt.Sprintf("ip route show 192.168.%d.0/24", i))
		m.shows(t, files[i].peers[0].key.String(), "wg show "+name(i)+" peers")
	}
	// others checks that wg0 and wg2 work, follow their files and are repaired.
	others := func(t *testing.T) {
		t.Helper()
		for _, i := range []int{0, 2} {
			files[i].note++
			files[i].peers[0] = stranger(t, files[i].peers[0].allowed...)
			m.put(t, name(i), files[i].String())
			is(t, i)
			m.Run(t, "ip", "route", "del", fmt.Sprintf("192.168.%d.0/24", i))
			is(t, i)
		}
	}
	status := func(text string) {
		t.Helper()
		m.shows(t, text, "cat /run/wg-kube/wg1.json")
	}

	m.write(t, "wg1", "[Interface]\nPrivateKey = nonsense\n")
	others(t)
	status("/etc/wireguard/wg1.conf:2: [Interface]: PrivateKey: ")
	if _, code := m.Try("ip", "link", "show", "wg1"); code == 0 {
		t.Error("wg1 is there, though its file is refused")
	}
	m.put(t, "wg1", files[1].String())
	is(t, 1)
	others(t)
	all := m.Run(t, "wg", "showconf", "wg1")

	for what, c := range map[string]struct{ content, says string }{
		"broken":                  {files[1].String() + "[Peer]\n", "[Peer]"},
		"binary":                  {"\x00\xff\x00", "wg1.conf:1"},
		"a route that wg0 has":    {strings.ReplaceAll(files[1].String(), "172.16.1.0", "172.16.0.0"), "172.16.0.0/24"},
		"the port that wg0 has":   {strings.ReplaceAll(files[1].String(), "51821", "51820"), "51820"},
		"a port that nobody has":  {strings.ReplaceAll(files[1].String(), "51821", "99999"), "99999"},
		"a route to its own peer": {strings.ReplaceAll(files[1].String(), "AllowedIPs = ", "Endpoint = 192.168.1.7:1\nAllowedIPs = "), "192.168.1"},
	} {
		t.Run(what, func(t *testing.T) {
			m.write(t, "wg1", c.content)
			others(t)
			m.shows(t, c.says, "sed -n /\"refused\"/,/]/p;/\"errors\"/,/]/p /run/wg-kube/wg1.json")
			if got := m.Run(t, "wg", "showconf", "wg1"); got != all {
				t.Errorf("meanwhile:\n%s\nbefore:\n%s", got, all)
			}
			m.put(t, "wg1", files[1].String())
			is(t, 1)
			if got := m.Run(t, "wg", "showconf", "wg1"); got != all {
				t.Errorf("afterwards:\n%s\nbefore:\n%s", got, all)
			}
		})
	}
	t.Run("a file that goes", func(t *testing.T) {
		m.Run(t, "rm", "/etc/wireguard/wg1.conf")
		status("gone")
		others(t)
		if got := m.Run(t, "wg", "showconf", "wg1"); got != all {
			t.Errorf("afterwards:\n%s\nbefore:\n%s", got, all)
		}
		m.put(t, "wg1", files[1].String())
	})
	t.Run("one that comes late", func(t *testing.T) {
		m.put(t, "wg3", files[3].String())
		is(t, 3)
		others(t)
	})
	if !lab.HasKernelWireGuard(t) { // which never hangs
		t.Run("a device that hangs", func(t *testing.T) {
			for pid, command := range m.processes(t) {
				if strings.HasSuffix(command, "wg-device wg1") {
					must(t, syscall.Kill(pid, syscall.SIGSTOP))
					defer syscall.Kill(pid, syscall.SIGCONT)
				}
			}
			if out, code := m.Try("timeout", "0.2", "wg", "show", "wg1"); code == 0 {
				t.Fatalf("it answers:\n%s", out)
			}
			others(t)
		})
	}
	for i := range files {
		is(t, i)
	}
	if tells(daemon, "msg=drift", "iface=wg1") {
		t.Error("nobody touched wg1: what differed was our own doing")
	}
}
