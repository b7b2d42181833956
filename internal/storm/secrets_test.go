package storm

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/trace"
	"wg-kube/templates/wgquick"
)

// forms are those in which a key may come to light.
func forms(k wgquick.SecretKey) []string {
	b := base64.StdEncoding.EncodeToString(k[:])
	return []string{
		b[:40], base64.URLEncoding.EncodeToString(k[:])[:40],
		hex.EncodeToString(k[:]), strings.ToUpper(hex.EncodeToString(k[:])), // as on the socket of a wg-device, and %X
		strings.Trim(fmt.Sprint([32]byte(k)), "[]"), fmt.Sprintf("%q", k[:])[1:40], string(k[:]),
	}
}

// Everything is run and looked at, with every log at debug, and what it says is searched for every key there is.
func TestNoKeyIsShown(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	f := someFiles()
	f.fragments[1] = fragment(1)
	f.hand.peers[0].psk, f.hand.peers[1].psk = 2, 3
	m.put(f)
	m.Write(t, "/run/other.key", secret(9).Reveal()+"\n", 0o600)
	said := map[string]string{}

	notified, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.Path("/run/notify"), Net: "unixgram"})
	must(t, err)
	m.Run(t, "chmod", "666", "/run/notify")
	told := make(chan string, 1)
	go func() {
		var all strings.Builder
		for b := make([]byte, 64<<10); ; {
			n, err := notified.Read(b)
			if err != nil {
				told <- all.String()
				return
			}
			fmt.Fprintf(&all, "%s\n", b[:n])
		}
	}()
	start := func(program string, args ...string) *lab.Process {
		args = append(args, "--log-level", "debug")
		return m.StartEnv(t, []string{"NOTIFY_SOCKET=/run/notify"}, m.command(program, append([]string{"run"}, args...)...)...)
	}
	apply := start("wg-apply", "--metrics-addr", "127.0.0.1:9587", "--resync", "1s")
	render := start("wg-render", "--metrics-addr", "127.0.0.1:9586")
	m.rest()

	// In a file that people write, a key can stand anywhere.
	good, own, shared := f.hand.text(), secret(keyOfWg1).Reveal(), secret(keyShared+2).Reveal()
	faults := map[string]string{
		"a key with a letter too many": strings.Replace(good, own, own+"x", 1),
		"a key with a letter too few":  strings.Replace(good, own, own[:42]+"=", 1),
		"no equals sign":               strings.Replace(good, "PrivateKey = ", "PrivateKey ", 1),
		"another name":                 strings.Replace(good, "PrivateKey", "SecretKey", 1),
		"twice":                        strings.Replace(good, "PrivateKey", "PrivateKey = "+own+"\nPrivateKey", 1),
		"a section":                    good + "\n[" + own + "]\n",
		"an address":                   good + "\n[Interface]\nAddress = " + own + "\n",
		"an endpoint":                  good + "\n[Peer]\nPublicKey = " + secret(77).Public().String() + "\nEndpoint = " + shared + ":1\n",
		"allowed IPs":                  good + "\n[Peer]\nPublicKey = " + secret(77).Public().String() + "\nAllowedIPs = " + shared + "\n",
		"a preshared key with junk":    strings.Replace(good, shared, shared+" # "+own, 1),
		"a hook":                       good + "\n[Interface]\nPostUp = wg set %i private-key <(echo " + own + ")\n",
		"a comment":                    good + "\n# " + own + "\n",
		"a DNS server":                 good + "\n[Interface]\nDNS = " + own + "\n",
		"nothing but a key":            own + "\n",
	}
	for name, text := range faults {
		m.Write(t, handFile, text, 0o600)
		said["check: "+name], _ = m.Try(m.command("wg-apply", "check", handFile)...)
		said["plan: "+name], _ = m.Try(m.command("wg-apply", "plan", "wg1", "--hooks=run")...)
		time.Sleep(150 * time.Millisecond) // the daemon reads it too
	}
	m.Write(t, peersDir+"/office-1.conf", strings.Replace(f.fragments[1].section(keyOfFragment), "PresharedKey = ", "PresharedKey = x", 1), 0o640)
	m.Write(t, peersDir+"/office-2.conf", "[Interface]\nPrivateKey = "+own+"\n", 0o640)
	m.Write(t, nodesDir+"/node-1.yaml", strings.Replace(node(1).manifest(), "public-key: ", "public-key: x"+own, 1), 0o644)
	said["wg-render once"], _ = m.Try(m.command("wg-render", "once", "--log-level", "debug")...)
	said["status with faults"], _ = m.Try(m.command("wg-apply", "status")...)
	m.put(f)
	m.rest()
	f.hand.peers[0].psk = 1
	m.put(f)

	for name, args := range map[string][]string{
		"status": {"status"}, "status -o json": {"status", "-o", "json"}, "plan": {"plan"}, "once": {"once"}, "accept": {"accept", "wg0"},
		"keygen": {"keygen", "wg0"}, "keygen of another": {"keygen", "wg7"}, "import": {"keygen", "wg8", "--import", "/run/other.key"},
		"import of garbage": {"keygen", "wg9", "--import", handFile}, "down": {"down", "wg1"}, "plan of one that is down": {"plan", "wg1"}, "help": {"run", "--help"},
	} {
		said[name], _ = m.Try(m.command("wg-apply", append(args, "--log-level", "debug")...)...)
	}
	said["metrics of wg-apply"], said["metrics of wg-render"] = m.metrics("127.0.0.1:9587"), m.metrics("127.0.0.1:9586")
	must(t, apply.Signal(syscall.SIGQUIT)) // all goroutines, with the arguments of their functions
	must(t, render.Signal(syscall.SIGQUIT))
	apply.Exit(t, hang)
	render.Exit(t, hang)
	said["log of wg-apply"], said["log of wg-render"] = apply.Log(), render.Log()
	if !strings.Contains(apply.Log(), "SIGQUIT") {
		t.Errorf("no goroutines in the log:\n%s", apply.Log())
	}
	for _, name := range m.list(runDir) {
		if b, err := os.ReadFile(m.Path(filepath.Join(runDir, name))); err == nil {
			said[name] = string(b)
		}
	}
	must(t, notified.Close())
	said["sd_notify"] = <-told
	if !strings.Contains(said["sd_notify"], "STATUS=") {
		t.Error("nothing was told to the service manager")
	}

	keys := map[string]wgquick.SecretKey{"wg0's": secret(keyOfWg0), "wg1's": secret(keyOfWg1), "imported": secret(9)}
	for n := 1; n <= 3; n++ {
		keys[fmt.Sprintf("preshared %d", n)] = secret(keyShared + n)
	}
	made, _ := filepath.Glob(m.Path(inForceDir + "/keys/*/*.key"))
	for _, path := range made {
		b, err := os.ReadFile(path)
		must(t, err)
		k, err := wgquick.ParseSecretKey(strings.TrimSpace(string(b)))
		must(t, err)
		keys[path] = k
	}
	if len(keys) < 8 {
		t.Errorf("only %d keys: %v", len(keys), made)
	}
	proposal := m.Read(t, proposals+"/wg0.conf")
	for whose, key := range keys {
		for _, form := range forms(key) {
			for what, text := range said {
				if i := strings.Index(text, form); i >= 0 {
					t.Errorf("%s shows the %s key: ...%.200q", what, whose, text[max(0, i-80):])
				}
			}
			if !strings.HasPrefix(whose, "preshared") && strings.Contains(proposal, form) {
				t.Errorf("the proposal holds the %s key", whose)
			}
		}
	}
}

// A program that dies leaves no core with keys in it, also where cores are asked for.
func TestNoCoreIsWritten(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.put(someFiles())
	dumps := func(up func() bool, args ...string) bool {
		t.Helper()
		cmd := m.Command(append([]string{"sh", "-c", `mkdir -p /run/cores; cd /run/cores; ulimit -c unlimited; exec "$@"`, "sh"}, args...)...)
		cmd.Env = append(os.Environ(), "GOTRACEBACK=crash")
		must(t, cmd.Start())
		lab.Eventually(t, hang, args[0]+" is up", up)
		must(t, cmd.Process.Signal(syscall.SIGABRT))
		_ = cmd.Wait()
		return cmd.ProcessState.Sys().(syscall.WaitStatus).CoreDump()
	}
	slept := time.Now()
	if !dumps(func() bool { return time.Since(slept) > 300*time.Millisecond }, "sleep", "1000") {
		lab.Skip(t, "no program's core is written here")
	}
	exists := func(path string) func() bool {
		return func() bool { _, err := os.Stat(m.Path(path)); return err == nil }
	}
	if dumps(exists(runDir+"/wg0.json"), m.plain("wg-apply", "run")...) {
		t.Error("wg-apply left a core")
	}
	if dumps(exists(proposals+"/wg0.conf"), m.plain("wg-render", "run")...) {
		t.Error("wg-render left a core")
	}
	if lab.HasKernelWireGuard(t) {
		return
	}
	if dumps(exists("/run/wireguard/wg5.sock"), lab.Build(t, "wg-kube/cmd/wg-device"), "wg5") {
		t.Error("wg-device left a core")
	}
}

// What is written is never open to more than it should be, not even for a moment, and never opened up where it stands.
func TestModesAreNeverWidened(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.at(nil)
	m.put(someFiles())
	for _, program := range []string{"wg-render", "wg-apply", "wg-render", "wg-apply"} {
		p := trace.Start(t, m.Host, trace.Order{Modes: true}, append(m.command(program, "once"), "--log-level", "debug")...)
		p.Steps(t, hang)
		seen := 0
		for _, line := range p.Said() {
			var mode uint32
			var call, path string
			if n, _ := fmt.Sscanf(line, "mode %o %s %s", &mode, &call, &path); n < 3 {
				continue
			}
			seen++
			most := uint32(0o640)
			switch {
			case strings.HasPrefix(path, inForceDir):
				most = 0o600
			case strings.HasPrefix(path, "/dev/"), strings.HasPrefix(path, "/proc/"):
				continue
			}
			if call == "mkdir" {
				most = most | most>>2&0o111 | 0o100
			}
			if mode&^most != 0 {
				t.Errorf("%s: %s: more than %04o", program, line, most)
			}
			if call != "open" && call != "mkdir" && !strings.HasPrefix(filepath.Base(path), ".") {
				t.Errorf("%s: %s: it is in place already", program, line)
			}
		}
		t.Logf("%s gave %d modes", program, seen)
		m.put(otherFiles())
	}
	for path, mode := range map[string]os.FileMode{inForceDir + "/wg0.conf": 0o600, proposals + "/wg0.conf": 0o640, runDir + "/wg0.json": 0o640} {
		fi, err := os.Stat(m.Path(path))
		must(t, err)
		if fi.Mode() != mode {
			t.Errorf("%s has mode %v", path, fi.Mode())
		}
	}
}
