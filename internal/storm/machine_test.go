package storm

import (
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/trace"
	"wg-kube/templates/wgquick"
)

func TestMain(m *testing.M) {
	trace.Main()
	flag.Parse()
	_ = flag.Set("test.parallel", "4") // they wait most of the time, however few processors there are
	lab.Main(m)
}

var seedFlag = flag.Uint64("seed", 0, "of everything that is random; 0: another one on each run")

// random is seeded by the flag, or anew, and the log says by what.
func random(t *testing.T) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("again with: -run %s -args -seed=%d", t.Name(), seed)
	return rand.New(rand.NewPCG(seed, 0))
}

const (
	hang = time.Minute // bounds a wait for something that takes a second or two

	inForceDir = "/etc/wireguard"
	nodesDir   = "/run/nodes"
	peersDir   = "/run/peers.d"
	proposals  = "/run/wg-render"
	runDir     = "/run/wg-kube"
	keyFile    = "/run/own.key"
	handFile   = inForceDir + "/wg1.conf"

	setpriv    = "/usr/bin/setpriv"
	renderer   = "4711"               // the user and the group of wg-render
	renderPath = "/run/bin/wg-render" // where that user can run it, wherever it was built
)

// machine is a hub: wg0 is made of Nodes and fragments, wg1 is kept by hand.
type machine struct {
	*lab.Host
	t             *testing.T
	apply, render *lab.Process
	log           *os.File // of all daemons that ever ran here, but for those that are traced
}

// newMachine makes a machine with a way out. Neither daemon runs.
func newMachine(t *testing.T) *machine {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "log-")
	must(t, err)
	t.Cleanup(func() {
		if b, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%s", b[max(0, len(b)-32<<10):])
		}
		_ = log.Close()
	})
	m := &machine{Host: lab.NewHost(t, "hub"), t: t, log: log}
	if !lab.HasKernelWireGuard(t) {
		lab.Build(t, "wg-kube/cmd/wg-device") // beside wg-apply
	}
	lab.Link(t, m.Host, "eth0", "10.9.0.1/24 fd09::1/64", lab.NewHost(t, "world"), "eth0", "10.9.0.2/24 fd09::2/64")
	m.Run(t, "ip", "route", "add", "default", "via", "10.9.0.2")
	m.Run(t, "ip", "-6", "route", "add", "default", "via", "fd09::2")
	m.Run(t, "mkdir", "-p", nodesDir)
	m.Write(t, renderPath, "", 0o755)
	m.Run(t, "mount", "--bind", lab.Build(t, "wg-kube/cmd/wg-render"), renderPath)
	m.own()
	m.Write(t, keyFile, secret(keyOfWg0).Reveal()+"\n", 0o600)
	return m
}

// own makes the folders between the two what systemd/tmpfiles.d makes them.
func (m *machine) own() {
	m.t.Helper()
	if out, code := m.Try("install", "-d", "-o", renderer, "-g", renderer, "-m", "750", proposals); code != 0 {
		lab.Skip(m.t, "there can be no user beside this one: "+out)
	}
	m.Run(m.t, "install", "-d", "-g", renderer, "-m", "2750", peersDir, runDir)
}

// command is one of the two programs as its unit starts it: wg-render as a user without a capability, wg-apply as root
// with CAP_NET_ADMIN and wg-render's group.
func (m *machine) command(program string, args ...string) []string {
	m.t.Helper()
	as := []string{setpriv, "--no-new-privs", "--groups", renderer, "--bounding-set=-all,+net_admin", "--inh-caps=-all,+net_admin"}
	if program == "wg-render" {
		as = []string{setpriv, "--no-new-privs", "--reuid", renderer, "--regid", renderer, "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"}
	}
	return slices.Concat(as, m.plain(program, args...))
}

// plain is a program with the flags that it has here.
func (m *machine) plain(program string, args ...string) []string {
	m.t.Helper()
	path, own := lab.Build(m.t, "wg-kube/cmd/"+program), []string{"--proposed", "wg0", "--proposals", proposals, "--settle", "20ms", "--max-shrink", "1", "--private-key-file", keyFile}
	if program == "wg-render" {
		path, own = renderPath, []string{"--role", "hub", "--node-name", "hub", "--nodes", nodesDir, "--peers-dir", peersDir, "--out", proposals,
			"--address", "100.96.0.1/16", "--settle", "20ms"}
	}
	return slices.Concat([]string{path}, args[:1], own, args[1:])
}

func (m *machine) start() {
	m.t.Helper()
	m.startApply()
	m.startRender()
}

func (m *machine) startApply() {
	m.t.Helper()
	m.apply = m.daemon("wg-apply", "run", "--resync", "1s")
}

func (m *machine) startRender() {
	m.t.Helper()
	m.render = m.daemon("wg-render", "run")
}

// trace starts a daemon as start does, traced.
func (m *machine) trace(program string, first trace.Order, args ...string) *trace.Program {
	m.t.Helper()
	return trace.Start(m.t, m.Host, first, m.command(program, append([]string{"run"}, args...)...)...)
}

func (m *machine) daemon(program string, args ...string) *lab.Process {
	m.t.Helper()
	cmd := m.Command(m.command(program, args...)...)
	cmd.Stdout, cmd.Stderr = m.log, m.log
	return m.StartCommand(m.t, cmd)
}

// kill kills a daemon and waits until it is gone.
func (m *machine) kill(p *lab.Process) {
	m.t.Helper()
	_ = p.Kill()
	p.Exit(m.t, hang)
}

// once runs both programs one time.
func (m *machine) once() {
	m.t.Helper()
	m.Run(m.t, m.command("wg-render", "once")...)
	m.Run(m.t, m.command("wg-apply", "once")...)
}

// put makes the files what f says: those that differ are written anew, each as a whole or not at all.
func (m *machine) put(f *files) {
	m.t.Helper()
	want := f.text()
	for path, text := range want {
		if now, err := os.ReadFile(m.Path(path)); err != nil || string(now) != text {
			mode := fs.FileMode(0o600)
			switch filepath.Dir(path) {
			case nodesDir:
				mode = 0o644
			case peersDir: // of wg-render's group
				mode = 0o640
			}
			m.Write(m.t, path, text, mode)
		}
	}
	for _, dir := range []string{nodesDir, peersDir} {
		for _, name := range m.list(dir) {
			if _, ok := want[dir+"/"+name]; !ok {
				must(m.t, os.Remove(m.Path(dir+"/"+name)))
			}
		}
	}
}

func (m *machine) list(dir string) (names []string) {
	entries, err := os.ReadDir(m.Path(dir))
	must(m.t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// noHalf fails if one of the files that others read is half a file at this moment, or a key is gone.
func (m *machine) noHalf() {
	m.t.Helper()
	for _, dir := range []string{proposals, inForceDir} {
		for _, name := range m.list(dir) {
			if !strings.HasSuffix(name, ".conf") {
				continue
			}
			b, err := os.ReadFile(m.Path(filepath.Join(dir, name)))
			must(m.t, err)
			if _, err := wgquick.Parse(name, b); err != nil || dir == proposals && !wgquick.Complete(b) {
				m.t.Errorf("half a file: %v\n%s", err, b)
			}
		}
	}
	if in := m.inForce("wg0"); in != nil && in.Interface.PrivateKey != secret(keyOfWg0) {
		m.t.Error("wg0 has another key")
	}
	for _, name := range m.list(runDir) {
		if b, err := os.ReadFile(m.Path(filepath.Join(runDir, name))); err == nil && strings.HasSuffix(name, ".json") && !strings.HasSuffix(string(b), "}\n") {
			m.t.Errorf("half a status: %s", b)
		}
	}
}

// inForce is a file in force; nil: there is none.
func (m *machine) inForce(iface string) *wgquick.Config {
	m.t.Helper()
	b, err := os.ReadFile(m.Path(inForceDir + "/" + iface + ".conf"))
	if os.IsNotExist(err) {
		return nil
	}
	must(m.t, err)
	c, err := wgquick.Parse(iface+".conf", b)
	must(m.t, err)
	return c
}

// state is all that the daemons keep: files, to the byte, and what is in the kernel.
func (m *machine) state() string { return m.files() + m.kernel() }

func (m *machine) files() string {
	m.t.Helper()
	var b strings.Builder
	for _, dir := range []string{proposals, inForceDir, inForceDir + "/keys/wg0"} {
		if _, err := os.Stat(m.Path(dir)); err != nil {
			fmt.Fprintf(&b, "== %s: none\n", dir)
			continue
		}
		for _, name := range m.list(dir) {
			path := filepath.Join(dir, name)
			fi, err := os.Stat(m.Path(path))
			must(m.t, err)
			fmt.Fprintf(&b, "== %s %v\n", path, fi.Mode())
			if !fi.IsDir() {
				b.WriteString(m.Read(m.t, path))
			}
		}
	}
	for _, name := range m.list(runDir) {
		fmt.Fprintf(&b, "== %s/%s\n", runDir, name)
	}
	return b.String()
}

func (m *machine) kernel() string {
	m.t.Helper()
	var b strings.Builder
	for _, iface := range []string{"wg0", "wg1"} {
		fmt.Fprintf(&b, "== wg showconf %s\n%s", iface, sections(m.shown("wg", "showconf", iface)))
		fmt.Fprintf(&b, "== ip address %s\n%s", iface, number.ReplaceAllString(linkLocal.ReplaceAllString(m.shown("ip", "-o", "address", "show", "dev", iface), ""), ""))
		fmt.Fprintf(&b, "== ip link %s\n%s", iface, number.ReplaceAllString(m.shown("ip", "-o", "link", "show", "dev", iface), ""))
	}
	for _, family := range []string{"-4", "-6"} {
		fmt.Fprintf(&b, "== ip %s route\n%s", family, sorted(linkLocal.ReplaceAllString(m.shown("ip", family, "route", "show", "table", "all"), "")))
		// In which order they stand counts, not at which priority: the kernel takes the next that is free.
		fmt.Fprintf(&b, "== ip %s rule\n%s", family, number.ReplaceAllString(m.shown("ip", family, "rule"), ""))
	}
	fmt.Fprintf(&b, "== nft\n%s", m.shown("nft", "list", "ruleset"))
	if strings.Contains(m.shown("ip", "-4", "rule"), "not from all fwmark") { // nobody sets it back
		fmt.Fprintf(&b, "== src_valid_mark %s", m.shown("cat", validMark))
	}
	return b.String()
}

const validMark = "/proc/sys/net/ipv4/conf/all/src_valid_mark"

var (
	linkLocal = regexp.MustCompile(`(?m)^.*fe80::.*\n`) // random on a TUN
	number    = regexp.MustCompile(`(?m)^[0-9]+:\s`)
)

func (m *machine) shown(args ...string) string {
	out, _ := m.Try(args...)
	return out
}

// sections sorts the peers of a file, and what each of them has. Each line names its peer: two may have the same keepalive.
func sections(text string) string {
	parts := strings.Split(text, "[Peer]")
	for i := range parts {
		lines := strings.Split(strings.TrimSpace(parts[i]), "\n")
		for j, line := range lines {
			if key, list, ok := strings.Cut(line, "AllowedIPs = "); ok && key == "" {
				prefixes := strings.Split(list, ", ")
				slices.Sort(prefixes)
				lines[j] = "AllowedIPs = " + strings.Join(prefixes, ", ")
			}
		}
		slices.Sort(lines)
		for _, line := range lines {
			if key, ok := strings.CutPrefix(line, "PublicKey = "); ok {
				for j := range lines {
					lines[j] = key + ": " + lines[j]
				}
			}
		}
		parts[i] = strings.Join(lines, "\n")
	}
	if len(parts) > 1 {
		slices.Sort(parts[1:])
	}
	return strings.Join(parts, "\n[Peer]\n") + "\n"
}

func sorted(text string) string {
	lines := strings.SplitAfter(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// diff is what diff(1) says of two texts of many lines.
func diff(t *testing.T, want, got string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/want", []byte(want), 0o600))
	must(t, os.WriteFile(dir+"/got", []byte(got), 0o600))
	cmd := exec.Command("diff", "-U2", "want", "got")
	cmd.Dir = dir
	out, _ := cmd.CombinedOutput() // it fails when there is a difference
	return string(out)
}

// rest waits until both daemons have nothing left to do, and fails if that does not come to be.
func (m *machine) rest() {
	m.t.Helper()
	why := ""
	for end := time.Now().Add(hang); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if why = m.busy(); why == "" {
			return
		}
	}
	m.t.Errorf("not at rest: %s", why)
}

// restKept is rest, and holds meanwhile that nothing is lost that is there before and after.
func (m *machine) restKept(before, after string) {
	m.t.Helper()
	why := ""
	for end := time.Now().Add(hang); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		m.kept(before, after)
		if why = m.busy(); why == "" || m.t.Failed() {
			return
		}
	}
	m.t.Errorf("not at rest: %s", why)
}

// kept fails if something is lost now that is there before and after.
func (m *machine) kept(before, after string) {
	m.t.Helper()
	wanted, now := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(after) {
		wanted[line] = true
	}
	for line := range strings.Lines(m.kernel()) {
		now[line] = true
	}
	for line := range strings.Lines(before) {
		if wanted[line] && !now[line] {
			m.t.Errorf("lost, though it is there before and after: %s", line)
		}
	}
}

// busy is what there is left to do; "": nothing.
func (m *machine) busy() string {
	m.t.Helper()
	next, code := m.Try(append(m.command("wg-render", "once", "--log-level", "error"), "--stdout")...)
	if b, err := os.ReadFile(m.Path(proposals + "/wg0.conf")); code != 0 || err != nil || string(b) != next {
		return fmt.Sprintf("wg-render once: exit status %d: %v\n%s", code, err, diff(m.t, string(b), next))
	}
	if out, code := m.Try(m.command("wg-apply", "plan")...); code != 0 {
		return fmt.Sprintf("wg-apply plan: exit status %d\n%s", code, out)
	}
	return ""
}

// same waits until two machines that are at rest are the same, and fails with the difference if they do not come to
// be: a status may still be being written.
func (m *machine) same(want *machine) {
	m.t.Helper()
	var is, should string
	for range 100 {
		if is, should = m.state(), want.state(); is == should {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	m.t.Errorf("another state than it should be:\n%s", diff(m.t, should, is))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
