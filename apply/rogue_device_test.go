package apply

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab"
)

// renderer is the user and the group that wg-render runs as here.
const renderer = 4711

// A wg-render that somebody has taken over can write what it likes into its own folder. wg-apply, as root with nothing
// but CAP_NET_ADMIN, refuses it or holds it, and what is in force stays as it was.
func TestDeviceARendererThatLies(t *testing.T) {
	if !lab.HasKernelWireGuard(t) && os.Geteuid() != 0 {
		lab.Skip(t, "a second user takes root")
	}
	m := newMachine(t, "hub")
	user, folder := fmt.Sprint(renderer), "/run/proposals"
	m.Run(t, "chown", user+":"+user, folder)
	m.Run(t, "chmod", "0750", folder)
	m.Run(t, "mkdir", "-p", "/run/elsewhere")
	m.Write(t, "/run/elsewhere/secret", "root:secret\n", 0o600)
	// lie runs a command as wg-render in its folder.
	lie := func(t *testing.T, script string) {
		t.Helper()
		m.Run(t, "setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--bounding-set=-all", "--inh-caps=-all",
			"sh", "-euc", "umask 027; cd "+folder+"; "+script)
	}
	put := func(t *testing.T, file string) {
		t.Helper()
		m.Write(t, "/run/elsewhere/next", file, 0o644)
		lie(t, "cat /run/elsewhere/next >next; mv -fT next wg0.conf")
	}
	daemon := m.Start(t, append([]string{"setpriv", "--groups", user, "--bounding-set=-all,+net_admin", "--inh-caps=-all,+net_admin"},
		m.args("run", "--proposed", "wg0")...)...)
	put(t, rendered(t, 1, 2, 3, 4, 5, 6))
	m.eventually(t, "six peers", `test "$(wg show wg0 peers | wc -l)" = 6`)
	m.Run(t, "sh", "-c", "grep -q '^CapEff:\t0000000000001000$' /proc/"+fmt.Sprint(daemon.Pid)+"/status")

	honest := rendered(t, 1, 2, 3, 4, 5, 6)
	complete := func(file string) string { return fmt.Sprintf("%s# end sha256:%x\n", file, sha256.Sum256([]byte(file))) }
	body, _, _ := strings.Cut(honest, "# end sha256:")
	spoiled := func(after, line string) string {
		return complete(strings.Replace(body, after+"\n", after+"\n"+line+"\n", 1))
	}
	var many strings.Builder
	many.WriteString(body)
	for n := range 60_000 {
		fmt.Fprintf(&many, "[Peer]\nPublicKey = %s\nAllowedIPs = 11.%d.%d.%d/32\n", key(100+n), n>>16, n>>8&255, n&255)
	}
	var wide strings.Builder
	wide.WriteString(body + "[Peer]\nPublicKey = " + key(99).String() + "\n")
	for n := range 70_000 {
		fmt.Fprintf(&wide, "AllowedIPs = 11.%d.%d.%d/32\n", n>>16, n>>8&255, n&255)
	}
	var addresses strings.Builder
	for n := range 20_000 {
		fmt.Fprintf(&addresses, "\nAddress = 11.0.%d.%d/32", n>>8, n&255)
	}

	for _, c := range []struct {
		name string
		lie  func(t *testing.T)
		says string // in the status
	}{
		{"PostUp", func(t *testing.T) { put(t, spoiled("[Interface]", "PostUp = touch /run/elsewhere/owned")) }, "PostUp: may not be said here"},
		{"PreDown, in a peer", func(t *testing.T) { put(t, spoiled("[Peer]", "PreDown = touch /run/elsewhere/owned")) }, "PreDown"},
		{"DNS", func(t *testing.T) { put(t, spoiled("[Interface]", "DNS = 192.0.2.53")) }, "DNS: may not be said here"},
		{"Table", func(t *testing.T) { put(t, spoiled("[Interface]", "Table = 254")) }, "Table: may not be said here"},
		{"FwMark", func(t *testing.T) { put(t, spoiled("[Interface]", "FwMark = 51820")) }, "FwMark: may not be said here"},
		{"SaveConfig", func(t *testing.T) { put(t, spoiled("[Interface]", "SaveConfig = true")) }, "SaveConfig: may not be said here"},
		{"a private key", func(t *testing.T) {
			put(t, spoiled("[Interface]", "PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="))
		}, "PrivateKey: may not be said here"},
		{"a hook behind a comment's line end", func(t *testing.T) { put(t, spoiled("[Interface]", "# x\rPostUp = touch /run/elsewhere/owned")) }, ""},
		{"a link to a secret", func(t *testing.T) { lie(t, "ln -sfT /run/elsewhere/secret wg0.conf") }, "a symbolic link"},
		{"a link out of the folder", func(t *testing.T) {
			put(t, honest)
			m.eventually(t, "the one before is forgotten", "! grep -q 'a symbolic link' /run/wg-kube/wg0.json")
			lie(t, "ln -sfT ../../etc/wireguard/wg0.conf wg0.conf")
		}, "a symbolic link"},
		{"a fifo", func(t *testing.T) { lie(t, "rm -f wg0.conf; mkfifo wg0.conf") }, "not a regular file"},
		{"a folder", func(t *testing.T) { lie(t, "rm -f wg0.conf; mkdir wg0.conf") }, "a folder"},
		{"two names", func(t *testing.T) { lie(t, "rm -rf wg0.conf; cat /run/elsewhere/next >a; ln -f a wg0.conf") }, "2 names"},
		{"a gigabyte", func(t *testing.T) { lie(t, "rm -f wg0.conf a; truncate -s 1G wg0.conf") }, "1073741824 bytes"},
		{"ten thousand times the peers", func(t *testing.T) { put(t, complete(many.String())) }, "more than 16384 peers, which --max-peers allows"},
		{"ten thousand prefixes a peer", func(t *testing.T) { put(t, complete(wide.String())) }, "70006 prefixes: more than 65536"},
		{"twenty thousand addresses", func(t *testing.T) { put(t, spoiled("[Interface]", addresses.String()[1:])) }, "20001 addresses: more than 256"},
		{"a name of a megabyte, in a thousand faults", func(t *testing.T) {
			put(t, complete(strings.Replace(body, "[Peer]\n", "# origin: Node/"+strings.Repeat("x", 1<<20)+"\n[Peer]\n"+strings.Repeat("AllowedIPs = x\n", 1000), 1)))
		}, "too many faults"},
		{"half of a file", func(t *testing.T) { put(t, honest[:len(honest)/2]) }, "cut short or edited"},
		{"nothing at all", func(t *testing.T) { put(t, "") }, "no .Interface. section"},
		{"endpoints that nobody's prefixes can stand beside", func(t *testing.T) {
			put(t, complete(regexp.MustCompile(`(?m)^AllowedIPs = (.*)/32$`).ReplaceAllString(body, "$0\nEndpoint = $1:1")))
		}, "lies in 10.0.0.1/32, which was there before"},
		{"no peer", func(t *testing.T) { put(t, rendered(t)) }, `"held"`},
		{"no file", func(t *testing.T) { lie(t, "rm -f wg0.conf") }, ""},
		{"no folder", func(t *testing.T) { m.Run(t, "mv", folder, folder+".away"); m.Run(t, "mkdir", "-m", "0", folder) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.lie(t)
			if c.says != "" {
				m.eventually(t, c.says, "grep -q '"+c.says+"' /run/wg-kube/wg0.json")
			} else {
				time.Sleep(500 * time.Millisecond)
			}
			if n := len(m.Read(t, "/run/wg-kube/wg0.json")); n > 1<<20 {
				t.Errorf("a status of %d bytes", n)
			}
			if n := strings.TrimSpace(m.Run(t, "sh", "-c", "wg show wg0 peers | wc -l")); n != "6" {
				t.Errorf("%s peers on the device", n)
			}
			if n := strings.Count(m.Read(t, "/etc/wireguard/wg0.conf"), "[Peer]"); n != 6 {
				t.Errorf("%d peers in force", n)
			}
		})
	}

	t.Run("other interfaces", func(t *testing.T) {
		m.Run(t, "sh", "-c", "rmdir "+folder+" && mv "+folder+".away "+folder)
		put(t, honest)
		m.eventually(t, "the truth is taken again", `! grep -q '"refused"' /run/wg-kube/wg0.json`)
		lie(t, "cp wg0.conf wg1.conf; mkdir -p sub; cp wg0.conf 'sub/wg2.conf'; cp wg0.conf .wg3.conf")
		time.Sleep(500 * time.Millisecond)
		if out := m.Run(t, "sh", "-c", "ls -A /etc/wireguard; wg show interfaces"); strings.Contains(out, "wg1") || strings.Contains(out, "wg2") || strings.Contains(out, "wg3") {
			t.Errorf("taken:\n%s", out)
		}
	})
	t.Run("a swap between the check and the use", func(t *testing.T) {
		evil := spoiled("[Interface]", "PostUp = touch /run/elsewhere/owned")
		m.Write(t, "/run/elsewhere/evil", evil, 0o644)
		next, to := m.Path(folder+"/next"), m.Path(folder+"/wg0.conf")
		swap := func(file string) {
			must(t, os.WriteFile(next, []byte(file), 0o640))
			must(t, os.Chown(next, renderer, renderer))
			must(t, os.Rename(next, to))
		}
		swaps := 0
		for end := time.Now().Add(2 * time.Second); swaps < 300 || time.Now().Before(end); swaps++ {
			swap(honest)
			swap(evil)
			must(t, os.Symlink("/run/elsewhere/evil", next))
			must(t, os.Lchown(next, renderer, renderer))
			must(t, os.Rename(next, to))
		}
		t.Logf("%d swaps", swaps)
		swap(honest)
		m.eventually(t, "the last word counts", `! grep -q '"refused"' /run/wg-kube/wg0.json`)
	})
	if inForce := m.Read(t, "/etc/wireguard/wg0.conf"); strings.Contains(inForce, "Post") || strings.Contains(inForce, "DNS") {
		t.Errorf("in force:\n%s", inForce)
	}

	quick := newMachine(t, "quick")
	quick.Run(t, "mkdir", "-p", "/run/elsewhere")
	quick.Write(t, "/etc/wireguard/wg0.conf", m.Read(t, "/etc/wireguard/wg0.conf"), 0o600)
	lab.WGQuickUp(t, quick.Host, "wg0")
	for _, h := range []*machine{m, quick} {
		if _, err := os.Stat(filepath.Join(h.Path("/run/elsewhere"), "owned")); err == nil {
			t.Errorf("%s: what wg-render wrote was run", h.Name)
		}
	}
}

// What wg-render can do of itself: nothing below /etc/wireguard is open to it.
func TestDeviceKeysAreShutToTheRenderer(t *testing.T) {
	m := newMachine(t, "hub")
	m.apply(t, "keygen", "wg0")
	user := fmt.Sprint(renderer)
	files := strings.Fields(m.Run(t, "find", "/etc/wireguard/keys"))
	if len(files) != 3 {
		t.Fatalf("no key was made: %q", files)
	}
	for _, path := range files {
		if out, code := m.Try("setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--bounding-set=-all", "--inh-caps=-all",
			"sh", "-c", "ls "+path+" >/dev/null || cat "+path); code == 0 {
			t.Errorf("%s is open: %s", path, out)
		}
	}
}
