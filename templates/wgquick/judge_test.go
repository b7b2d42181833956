package wgquick_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/tun/tuntest"

	"wg-kube/internal/lab"
	"wg-kube/templates/wgquick"
)

// stricter is every fault that we find in files that wg-quick accepts.
var stricter = []struct{ fault, reason string }{
	{`: not text: `, "nobody can show such a line, and wg-quick drops what it cannot hold"},
	{`: white space in the header: `, "wg takes it, wg-quick then refuses every key of its own in it"},
	{`: not of the form Key = value$`, "wg-quick takes a key of its own without = as the value: a table named Table"},
	{`: the same peer as in line `, "wg merges the two, which is never what two sections mean"},
	{`: the zero key belongs to nobody$`, "no private key has it as its public half"},
	{`: port above 65535$`, "wg counts on from 0"},
	{`: not a port number$`, "wg looks names up in services(5), and takes signs"},
	{`: the prefix length is not a number$`, "024 is 24 to wg and 20 to ip; a dotted mask is good for ip only"},
	{`: Address: .*: not an IP address$`, "ip completes 10.1/16 and takes words like any"},
	{`: Address: .*: not an address of an interface$`, "ip takes 0.0.0.0, and IPv4 multicast"},
	{`: Endpoint: .*: not an IP address$`, "wg completes 127.1"},
	{`: MTU: .*: not a number of bytes$`, "ip reads hexadecimal and octal"},
	{`: MTU: .*: not between `, "IPv4 is off below, and nothing longer fits into UDP"},
	{`: MTU: .*: too small for the IPv6 address `, "the kernel takes all IPv6 addresses away"},
	{`: Table: `, "wg-quick looks at it when it adds the first route"},
	{`: SaveConfig: "(?i:true)": `, "the file is the truth"},
}

// TestAgainstWgQuick holds Parse against the real programs: what they refuse, Parse refuses; what Parse refuses
// and they accept is in stricter; what both accept means the same.
func TestAgainstWgQuick(t *testing.T) {
	for _, program := range []string{"wg", "wg-quick", "ip", "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			lab.Skip(t, err.Error())
		}
	}
	if os.Getenv("WGQUICK_JUDGE") == "" {
		inOwnNamespaces(t)
		return
	}
	if err := syscall.Mount("none", "/run", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	serveDevice(t, "judge0")

	good, bad := snippets(t)
	texts := slices.Concat(good, bad)
	mutations := 300
	if testing.Short() {
		mutations = 30
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for n := len(texts); len(texts) < n+mutations; {
		texts = append(texts, mutate(rng, good[rng.IntN(len(good))], texts[rng.IntN(n)]))
	}
	verdicts := judge(t, "judge0", texts)

	used := make([]bool, len(stricter))
	both := 0
	for i, text := range texts {
		c, err := wgquick.Parse("a", []byte(text))
		switch v := verdicts[i]; {
		case v.accepted && err != nil:
			var faults wgquick.Faults
			errors.As(err, &faults)
			for _, fault := range faults {
				if n := slices.IndexFunc(stricter, func(s struct{ fault, reason string }) bool {
					return regexp.MustCompile(s.fault).MatchString(fault.Error())
				}); n >= 0 {
					used[n] = true
				} else {
					t.Errorf("wg-quick accepts, Parse says %s\n%s", fault, text)
				}
			}
		case !v.accepted && err == nil:
			if !needsTheMachine(c) {
				t.Errorf("Parse accepts, wg-quick says %s\n%s", v.why, text)
			}
		case v.accepted:
			both++
			if strings.Contains(text, "::ffff:") {
				continue // wg keeps the IPv6 form; nothing ever sends from or to it
			}
			if c.Interface.ListenPort == 0 {
				v.meaning.Port = "0" // whichever the device chose
			}
			if d := cmp.Diff(v.meaning, meaningOf(c)); d != "" {
				t.Errorf("-wg-quick +Parse:\n%s\n%s", d, text)
			}
		}
	}
	for i, s := range stricter {
		if !used[i] {
			t.Errorf("no file shows that Parse is stricter here: %s (%s)", s.fault, s.reason)
		}
	}
	t.Logf("%d files, of which both accept %d", len(texts), both)
}

// inOwnNamespaces runs the calling test again where its mounts and addresses are nobody's business.
func inOwnNamespaces(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", fmt.Sprintf("-test.short=%v", testing.Short()))
	cmd.Env = append(os.Environ(), "WGQUICK_JUDGE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		lab.Skip(t, "no namespaces for this user: "+err.Error())
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// serveDevice is a userspace WireGuard device that wg finds by its name, until the test ends.
func serveDevice(t *testing.T, name string) {
	file, err := ipc.UAPIOpen(name)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := ipc.UAPIListen(name, file)
	if err != nil {
		t.Fatal(err)
	}
	dev := device.NewDevice(tuntest.NewChannelTUN().TUN(), conn.NewDefaultBind(), device.NewLogger(device.LogLevelSilent, ""))
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go dev.IpcHandle(c)
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		_ = file.Close()
		dev.Close()
	})
}

// meaning is what a file says, in words that wg, wg-quick and a Config have in common.
type meaning struct {
	Interface map[string][]string
	Device    string // private key, fwmark
	Port      string
	Peers     map[string]string // by public key: preshared key, endpoint, allowed IPs, keepalive
}

type verdict struct {
	accepted bool
	why      string
	meaning  meaning
}

func judge(t *testing.T, device string, texts []string) []verdict {
	script, err := filepath.Abs(filepath.Join(golden, "judge.sh"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	args := []string{script, device}
	for i, text := range texts {
		file := filepath.Join(dir, fmt.Sprintf("f%d.conf", i))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	cmd := exec.Command("bash", args...)
	cmd.Dir = t.TempDir() // empty: wg-quick expands * in a value
	cmd.Env = append(os.Environ(), "WG_ENDPOINT_RESOLUTION_RETRIES=0", "RES_OPTIONS=attempts:1 timeout:1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	verdicts := make([]verdict, len(texts))
	for i := range texts {
		file := args[2+i]
		why, _ := os.ReadFile(file + ".err")
		verdicts[i].why = string(why)
		dump, err := os.ReadFile(file + ".dump")
		if err != nil {
			continue
		}
		quick, err := os.ReadFile(file + ".quick")
		if err != nil {
			t.Fatal(err)
		}
		verdicts[i].accepted = true
		verdicts[i].meaning = meaningFrom(string(quick), string(dump))
	}
	return verdicts
}

func meaningFrom(quick, dump string) meaning {
	m := meaning{Interface: make(map[string][]string), Peers: make(map[string]string)}
	for said := range strings.SplitSeq(quick, "\x00") {
		if key, value, _ := strings.Cut(said, "\t"); value != "" {
			m.say(key, value)
		}
	}
	lines := strings.Split(strings.TrimSpace(dump), "\n")
	f := strings.Split(lines[0], "\t")
	m.Device = f[0] + " " + f[3]
	m.Port = f[2]
	for _, line := range lines[1:] {
		f := strings.Split(line, "\t")
		ips := strings.Split(f[3], ",")
		slices.Sort(ips)
		m.Peers[f[0]] = fmt.Sprint(f[1], f[2], ips, f[7])
	}
	return m
}

func meaningOf(c *wgquick.Config) meaning {
	m := meaning{Interface: make(map[string][]string), Peers: make(map[string]string)}
	for _, a := range c.Interface.Address {
		m.say("Address", a.String())
	}
	if c.Interface.MTU > 0 {
		m.say("MTU", strconv.Itoa(c.Interface.MTU))
	}
	if c.Interface.Table != "" {
		m.say("Table", c.Interface.Table)
	}
	for key, values := range map[string][]string{
		"DNS": c.Interface.DNS, "PreUp": c.Interface.PreUp, "PostUp": c.Interface.PostUp,
		"PreDown": c.Interface.PreDown, "PostDown": c.Interface.PostDown,
	} {
		for _, v := range values {
			m.say(key, v)
		}
	}
	m.Device = secretOf(c.Interface.PrivateKey, true) + " " + markOf(c.Interface.FwMark)
	m.Port = strconv.Itoa(int(c.Interface.ListenPort))
	owner := make(map[netip.Prefix]wgquick.PublicKey) // a prefix is with the last peer that names it
	for _, p := range c.Peers {
		for _, ip := range p.AllowedIPs {
			owner[ip] = p.PublicKey
		}
	}
	for _, p := range c.Peers {
		var ips []string
		for ip, k := range owner {
			if k == p.PublicKey {
				ips = append(ips, ip.String())
			}
		}
		if ips == nil {
			ips = []string{"(none)"}
		}
		slices.Sort(ips)
		endpoint, keepalive := "(none)", "off"
		if !p.Endpoint.IsZero() {
			endpoint = p.Endpoint.String()
		}
		if p.PersistentKeepalive > 0 {
			keepalive = strconv.Itoa(int(p.PersistentKeepalive))
		}
		m.Peers[p.PublicKey.String()] = fmt.Sprint(secretOf(p.PresharedKey, false), endpoint, ips, keepalive)
	}
	return m
}

// say adds a value of one of wg-quick's own keys, in the one form that both sides are compared in.
func (m meaning) say(key, value string) {
	switch key {
	case "Address":
		if a, err := netip.ParseAddr(value); err == nil {
			value = netip.PrefixFrom(a, a.BitLen()).String()
		} else if p, err := netip.ParsePrefix(value); err == nil {
			value = p.String()
		}
	case "MTU", "Table":
		if n, err := strconv.ParseUint(value, 0, 32); err == nil {
			value = strconv.FormatUint(n, 10)
		}
	case "PreUp", "PostUp", "PreDown", "PostDown":
		// Older versions of wg-quick end a hook at #.
		value, _, _ = strings.Cut(value, "#")
		if value = strings.Trim(value, " \t\v\f\r"); value == "" {
			return
		}
	}
	m.Interface[key] = append(m.Interface[key], value)
	if key == "DNS" {
		slices.Sort(m.Interface[key]) // wg-quick keeps servers and domains apart
	}
}

func secretOf(k wgquick.SecretKey, private bool) string {
	switch {
	case k.IsZero():
		return "(none)"
	case private:
		return k.Clamped().Reveal()
	}
	return k.Reveal()
}

func markOf(m uint32) string {
	if m == 0 {
		return "off"
	}
	return fmt.Sprintf("%#x", m)
}

// needsTheMachine reports whether only the machine can tell what c means: a name, or a zone.
func needsTheMachine(c *wgquick.Config) bool {
	return slices.ContainsFunc(c.Peers, func(p wgquick.Peer) bool {
		a, ok := p.Endpoint.AddrPort()
		return !p.Endpoint.IsZero() && (!ok || a.Addr().Zone() != "")
	})
}

// mutate makes another file out of one or two.
func mutate(rng *rand.Rand, a, b string) string {
	for range 1 + rng.IntN(3) {
		lines := strings.SplitAfter(a, "\n")
		i := rng.IntN(len(lines))
		at := rng.IntN(len(a) + 1)
		switch rng.IntN(6) {
		case 0: // a line less
			lines = slices.Delete(lines, i, i+1)
			a = strings.Join(lines, "")
		case 1: // a line twice
			a = strings.Join(slices.Insert(lines, i, lines[i]), "")
		case 2: // a line of the other
			others := strings.SplitAfter(b, "\n")
			a = strings.Join(slices.Insert(lines, i, others[rng.IntN(len(others))]), "")
		case 3: // both
			a += "\n" + b
		case 4: // a character more
			const odd = "#;=[],:/. \t\r\v\"'`%\\-+_*?~$0189axfXzA"
			a = a[:at] + string(odd[rng.IntN(len(odd))]) + a[at:]
		case 5: // a byte less
			if at < len(a) {
				a = a[:at] + a[at+1:]
			}
		}
	}
	return a
}
