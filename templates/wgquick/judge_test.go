package wgquick_test

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/tun/tuntest"

	"wg-kube/internal/lab"
	"wg-kube/templates/wgquick"
)

// stricter is every fault that we find in files that wg-quick accepts. docs/wg-quick.md gives people the reasons.
var stricter = []*strictness{
	{fault: regexp.MustCompile(`: not text: `), reason: "nobody can show such a line, and wg-quick drops what it cannot hold"},
	{fault: regexp.MustCompile(`: white space in the header: `), reason: "wg takes it, wg-quick then refuses every key of its own in it"},
	{fault: regexp.MustCompile(`: not of the form Key = value$`), reason: "wg-quick takes a key of its own without = as the value: a table named Table"},
	{fault: regexp.MustCompile(`: the same peer as in line `), reason: "wg merges the two, which is never what two sections mean"},
	{fault: regexp.MustCompile(`: the zero key belongs to nobody$`), reason: "no private key has it as its public half"},
	{fault: regexp.MustCompile(`: port above 65535$`), reason: "wg counts on from 0"},
	{fault: regexp.MustCompile(`: not a port number$`), reason: "wg looks names up in services(5), and takes signs"},
	{fault: regexp.MustCompile(`: the prefix length is not a number$`), reason: "024 is 24 to wg and 20 to ip; a dotted mask is good for ip only"},
	{fault: regexp.MustCompile(`: Address: .*: not an IP address$`), reason: "ip completes 10.1/16 and takes words like any"},
	{fault: regexp.MustCompile(`: Address: .*: not an address of an interface$`), reason: "ip takes 0.0.0.0, and IPv4 multicast"},
	{fault: regexp.MustCompile(`: Address: .*: said twice$`), reason: "in IPv6 form it is the same address"},
	{fault: regexp.MustCompile(`: Endpoint: .*: not an IP address$`), reason: "wg completes 127.1"},
	{fault: regexp.MustCompile(`: MTU: .*: not a number of bytes$`), reason: "ip reads hexadecimal and octal"},
	{fault: regexp.MustCompile(`: MTU: .*: not between `), reason: "IPv4 is off below, and nothing longer fits into UDP"},
	{fault: regexp.MustCompile(`: MTU: .*: too small for the IPv6 address `), reason: "the kernel takes all IPv6 addresses away"},
	{fault: regexp.MustCompile(`: Table: `), reason: "wg-quick looks at it when it adds the first route"},
	{fault: regexp.MustCompile(`: AllowedIPs: "[+-].*": not an IP address$`), reason: "a file says what there is, not what changes", since: "1.0.20260223"},
	{fault: regexp.MustCompile(`: SaveConfig: "(?i:true)": `), reason: "the file is the truth"},
}

type strictness struct {
	fault  *regexp.Regexp
	reason string // as docs/wg-quick.md gives it
	since  string // the first version of wg that takes it; empty: every one
	used   atomic.Bool
}

// The list that people read is whole.
func TestStrictnessIsInTheDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/wg-quick.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stricter {
		if !strings.Contains(string(text), "| "+s.reason+" |") {
			t.Errorf("docs/wg-quick.md does not say: %s", s.reason)
		}
	}
}

var mutations = flag.Int("judge.n", 300, "how many mutated files the real wg-quick is asked about")

// TestAgainstWgQuick holds Parse against the real programs: what they refuse, Parse refuses; what Parse refuses
// and they accept is in stricter; what both accept means the same. It asks about every file that there is in this
// repository, and about many that are made out of them.
func TestAgainstWgQuick(t *testing.T) {
	seeds := seeds(t)
	good, _ := snippets(t)
	good = append(good, seeds...)
	texts := make(chan string)
	go func() {
		defer close(texts)
		for _, text := range seeds {
			texts <- text
		}
		rng := rand.New(rand.NewPCG(1, 2))
		n := *mutations
		if testing.Short() {
			n = min(n, 30)
		}
		for range n {
			texts <- mutate(rng, good[rng.IntN(len(good))], seeds[rng.IntN(len(seeds))])
		}
	}()
	var asked, both atomic.Int64
	var judges sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		j := newJudge(t)
		judges.Go(func() {
			for text := range texts {
				asked.Add(1)
				if j.compare(t, text) {
					both.Add(1)
				}
			}
		})
	}
	judges.Wait()
	for _, s := range stricter {
		if !s.used.Load() && !t.Failed() && installed(t) >= s.since {
			t.Errorf("no file shows that Parse is stricter here: %s (%s)", s.fault, s.reason)
		}
	}
	t.Logf("%d files, of which both accept %d", asked.Load(), both.Load())
}

// FuzzAgainstWgQuick is the same, with what Go's fuzzer finds worth asking about.
func FuzzAgainstWgQuick(f *testing.F) {
	j := newJudge(f)
	if flag.Lookup("test.fuzz").Value.String() != "" { // else TestAgainstWgQuick has them
		for _, text := range seeds(f) {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) { j.compare(t, text) })
}

// seeds are the snippets of this package, and all the wg-quick files in testdata. What the fuzzer taught us is in
// testdata/judge: a file for each mistake, and in corpus.txt, a quoted line each, what it found to be new.
func seeds(t testing.TB) []string {
	texts := slices.Concat(snippets(t))
	for _, pattern := range []string{"wgquick/*.conf", "golden/*.conf", "judge/*.conf"} {
		files, err := filepath.Glob(filepath.Join("../../testdata", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files: %v", pattern, err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, string(b))
		}
	}
	corpus, err := os.ReadFile("../../testdata/judge/corpus.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(corpus)) {
		text, err := strconv.Unquote(strings.TrimSpace(line))
		if err != nil {
			t.Fatalf("corpus.txt: %v: %s", err, line)
		}
		texts = append(texts, text)
	}
	archives, err := filepath.Glob("../../testdata/parity/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if strings.HasSuffix(f.Name, ".conf") {
				texts = append(texts, string(f.Data))
			}
		}
	}
	const most = 8 << 10 // wg-quick takes 20 seconds for a thousand prefixes
	return slices.DeleteFunc(texts, func(text string) bool { return len(text) > most })
}

// compare asks the judge and Parse about a file, and reports whether both accept it.
func (j *judge) compare(t testing.TB, text string) bool {
	t.Helper()
	v, err := j.ask(text)
	if err != nil {
		t.Errorf("the judge: %v", err)
		return false
	}
	c, err := wgquick.Parse("a", []byte(text))
	switch {
	case v.accepted && err != nil:
		var faults wgquick.Faults
		errors.As(err, &faults)
		for _, fault := range faults {
			if !knownToBeStricter(fault.Error()) {
				t.Errorf("wg-quick accepts, Parse says %s\n%q", fault, text)
			}
		}
	case !v.accepted && err == nil:
		if !needsTheMachine(v.why) {
			t.Errorf("Parse accepts, wg-quick says %s\n%q", v.why, text)
		}
	case v.accepted:
		if strings.Contains(text, "::ffff:") {
			return true // wg keeps the IPv6 form; nothing ever sends from or to it
		}
		if c.Interface.ListenPort == 0 {
			v.meaning.Port = "0" // whichever the device chose
		}
		if d := cmp.Diff(v.meaning, meaningOf(c)); d != "" {
			t.Errorf("-wg-quick +Parse:\n%s\n%q", d, text)
		}
		return true
	}
	return false
}

// installed is the version of the wireguard-tools, in which the last part is the date.
func installed(t testing.TB) string {
	out, err := exec.Command("wg", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, version, _ := strings.Cut(string(out), " v")
	version, _, _ = strings.Cut(version, " ")
	return version
}

func knownToBeStricter(fault string) bool {
	for _, s := range stricter {
		if s.fault.MatchString(fault) {
			s.used.Store(true)
			return true
		}
	}
	return false
}

// judge is the real wg-quick and wg, in a process with namespaces of its own, where their mounts and addresses are
// nobody's business.
type judge struct {
	dir       string // of the files that it is asked about
	questions io.Writer
	answers   *bufio.Reader
	asked     int
}

// judgeEnv makes a copy of the test program the judge.
const judgeEnv = "WGQUICK_JUDGE"

func TestMain(m *testing.M) {
	if os.Getenv(judgeEnv) != "" {
		if err := beJudge(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// newJudge starts a judge. It ends with the test.
func newJudge(t testing.TB) *judge {
	t.Helper()
	for _, program := range []string{"wg", "wg-quick", "ip", "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			lab.Skip(t, err.Error())
		}
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), judgeEnv+"=1", "WG_ENDPOINT_RESOLUTION_RETRIES=0", "RES_OPTIONS=attempts:1 timeout:1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Start()
	if errors.Is(err, syscall.EPERM) {
		lab.Skip(t, "no namespaces for this user: "+err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the judge: %v", err)
		}
	})
	return &judge{dir: t.TempDir(), questions: in, answers: bufio.NewReader(out)}
}

// beJudge is the judge's side: a device, and wg-quick in a loop over the standard input.
func beJudge() error {
	script, err := filepath.Abs(filepath.Join(testdata, "judge.sh"))
	if err != nil {
		return err
	}
	if err := syscall.Mount("none", "/run", "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := syscall.Mount("/dev/null", "/etc/hosts", "", syscall.MS_BIND, ""); err != nil { // a name is a name, localhost too
		return err
	}
	closeDevice, err := serveDevice("judge0")
	if err != nil {
		return err
	}
	defer closeDevice()
	if err := os.Mkdir("/run/empty", 0o755); err != nil {
		return err
	}
	cmd := exec.Command("bash", script, "judge0")
	cmd.Dir = "/run/empty" // wg-quick expands * in a value
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

// ask has the judge look at a file.
func (j *judge) ask(text string) (v verdict, err error) {
	j.asked++
	file := filepath.Join(j.dir, fmt.Sprintf("f%d.conf", j.asked))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return v, err
	}
	defer func() {
		for _, end := range []string{"", ".err", ".quick", ".dump"} {
			_ = os.Remove(file + end)
		}
	}()
	if _, err := fmt.Fprintln(j.questions, file); err != nil {
		return v, err
	}
	answer, err := j.answers.ReadString('\n')
	if err != nil {
		return v, err
	}
	why, err := os.ReadFile(file + ".err")
	if err != nil {
		return v, err
	}
	v.why, v.accepted = string(why), answer == "accepted\n"
	if !v.accepted {
		return v, nil
	}
	quick, err := os.ReadFile(file + ".quick")
	if err != nil {
		return v, err
	}
	dump, err := os.ReadFile(file + ".dump")
	if err != nil {
		return v, err
	}
	v.meaning = meaningFrom(string(quick), string(dump))
	return v, nil
}

// serveDevice is a userspace WireGuard device that wg finds by its name.
func serveDevice(name string) (end func(), err error) {
	file, err := ipc.UAPIOpen(name)
	if err != nil {
		return nil, err
	}
	listener, err := ipc.UAPIListen(name, file)
	if err != nil {
		return nil, err
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
	return func() {
		_ = listener.Close()
		_ = file.Close()
		dev.Close()
	}, nil
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
		for i, ip := range ips { // "::192.0.2.0/120" is "::c000:200/120" to Go
			if p, err := netip.ParsePrefix(ip); err == nil {
				ips[i] = p.String()
			}
		}
		slices.Sort(ips)
		endpoint := f[2]
		if at, err := netip.ParseAddrPort(endpoint); err == nil {
			endpoint = at.String()
		}
		m.Peers[f[0]] = fmt.Sprint(f[1], endpoint, ips, f[7])
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
	peers := c.Peers
	if key := c.Interface.PrivateKey; !key.IsZero() { // the device leaves a peer with its own key out
		peers = slices.DeleteFunc(slices.Clone(peers), func(p wgquick.Peer) bool { return p.PublicKey == key.Public() })
	}
	owner := make(map[netip.Prefix]wgquick.PublicKey) // a prefix is with the last peer that names it
	for _, p := range peers {
		for _, ip := range p.AllowedIPs {
			owner[ip] = p.PublicKey
		}
	}
	for _, p := range peers {
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

// unresolved is what wg says of an endpoint that getaddrinfo(3) does not know.
var unresolved = regexp.MustCompile("(?m): `(.*)'$")

// needsTheMachine reports whether wg-quick refuses for a reason that only the machine can tell: a name, or a zone.
func needsTheMachine(why string) bool {
	m := unresolved.FindStringSubmatch(why)
	if m == nil {
		return false
	}
	c, err := wgquick.Parse("", []byte("[Peer]\nPublicKey = "+keyA+"\nEndpoint = "+m[1]))
	if err != nil {
		return false
	}
	a, ok := c.Peers[0].Endpoint.AddrPort()
	return !ok || a.Addr().Zone() != ""
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
