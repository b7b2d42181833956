package storm

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab"
	"wg-kube/templates/wgquick"
)

var soakFlag = flag.Duration("soak", 5*time.Minute, "how long everything is changed by everybody")

// meddling is what somebody does to the kernel or to files, who is not one of the daemons. It need not work.
var meddling = []struct{ name, script string }{
	{"a link is deleted", "ip link delete $IFACE"},
	{"a link is taken down", "ip link set $IFACE down"},
	{"a link has another MTU", "ip link set mtu 1337 dev $IFACE"},
	{"an address goes", "ip address delete $(ip -4 -o address show dev $IFACE | awk '{print $4; exit}') dev $IFACE"},
	{"an address comes", "ip address add 10.55.0.1/24 dev $IFACE"},
	{"all addresses go", "ip address flush dev $IFACE"},
	{"a route goes", "ip route delete $(ip route show dev $IFACE proto 151 | awk '{print $1; exit}') dev $IFACE"},
	{"all routes of IPv6 go", "ip -6 route flush dev $IFACE proto 151"},
	{"a rule goes", "ip rule delete fwmark 51820 not; ip rule delete table 51820"},
	{"an exemption goes", "ip -6 rule delete table main suppress_prefixlength 0"},
	{"the firewall goes", "nft delete table ip wg-quick-wg1"},
	{"a peer goes", "wg set $IFACE peer $(wg show $IFACE peers | head -n 1) remove"},
	{"a peer comes", "wg set $IFACE peer $(wg genkey | wg pubkey) allowed-ips 10.100.0.0/16"},
	{"a peer loses its prefixes", "wg set $IFACE peer $(wg show $IFACE peers | tail -n 1) allowed-ips ''"},
	{"the key and the port change", "wg set $IFACE listen-port 41414 private-key /run/other.key"},
	{"a wg-device is killed", "[ $DEVICE = 0 ] || kill -9 $DEVICE"}, // 0: there is none, and it would be all of us
	{"a proposal is cut short", "truncate -s 100 " + proposals + "/wg0.conf"},
	{"a proposal is gone", "rm " + proposals + "/wg0.conf"},
	{"a file in force is cut short", "truncate -s 150 " + handFile},
	{"a file in force is emptied", ": >" + handFile},
	{"a file in force is gone", "rm " + inForceDir + "/wg0.conf"},
	{"a manifest is garbage", "head -c 300 /dev/urandom >" + nodesDir + "/node-1.yaml"},
	{"a fragment is garbage", "echo '[Peer' >" + peersDir + "/office-9.conf"},
	{"a fragment asks for a command", "printf '[Interface]\\nPostUp = touch /run/pwned\\n' >" + peersDir + "/office-8.conf"},
	{"the folder of Nodes is swapped", "cp -a " + nodesDir + " /run/swap && mv " + nodesDir + " /run/old && mv /run/swap " + nodesDir + " && rm -r /run/old"},
	{"the status is garbage", "echo '{' >" + runDir + "/wg0.json"},
	{"the status is gone", "rm " + runDir + "/wg1.json"},
}

// foreign is what is there beside, and nobody's to touch.
const foreign = `
ip route add 10.66.0.0/24 via 10.9.0.2 proto static
ip route add 100.96.77.0/24 via 10.9.0.2 proto bird metric 5
ip route add 10.67.0.0/24 dev eth0 table 100 proto 151
ip -6 route add fd66::/64 via fd09::2 proto static
ip rule add pref 100 from 10.66.0.9 lookup 100 protocol 151
ip rule add pref 101 fwmark 77 lookup 100
nft add table ip others
nft add chain ip others c
`

// Nodes, fragments, files and the kernel are changed at random. Whenever nobody changes anything for a while, all is as
// it should be, and what the daemons take of the machine stays the same.
func TestSoak(t *testing.T) {
	t.Parallel()
	r := random(t)
	m, judge := newMachine(t), newMachine(t)
	m.Write(t, "/run/other.key", secret(9).Reveal()+"\n", 0o600)
	m.Run(t, "sh", "-ec", foreign)
	f := someFiles()
	m.put(f)
	m.apply = m.daemon("wg-apply", "run", "--resync", "1s", "--metrics-addr", "127.0.0.1:9587")
	m.render = m.daemon("wg-render", "run", "--metrics-addr", "127.0.0.1:9586")
	m.rest()
	theirs := m.theirs()
	var used []map[string]float64
	for end := time.Now().Add(*soakFlag); time.Now().Before(end); {
		for range 2 + r.IntN(8) {
			if r.IntN(2) == 0 {
				t.Log(f.change(r))
				m.put(f)
			} else {
				what, iface := meddling[r.IntN(len(meddling))], []string{"wg0", "wg1"}[r.IntN(2)]
				t.Logf("%s: %s", iface, what.name)
				m.Try("sh", "-c", fmt.Sprintf("IFACE=%s DEVICE=%d; %s", iface, m.deviceOf(iface), what.script))
			}
			time.Sleep(time.Duration(r.IntN(400)) * time.Millisecond)
		}
		m.put(f)
		m.rest()
		m.whole(f, judge)
		if now := m.theirs(); now != theirs {
			t.Errorf("what is nobody's to touch:\n%s", diff(t, theirs, now))
		}
		if t.Failed() {
			return
		}
		used = append(used, m.used())
	}
	for _, n := range f.nodes { // an endpoint that a file no longer says stays, as one that has roamed does
		n.endpoint = 51820
	}
	m.put(f)
	m.rest()
	m.endsAsNew(f)
	flat(t, used)
}

// whole checks, without asking the daemons, that every interface is what its file says, and its file what it should be.
func (m *machine) whole(f *files, judge *machine) {
	m.t.Helper()
	proposal, err := os.ReadFile(m.Path(proposals + "/wg0.conf"))
	must(m.t, err)
	p, err := wgquick.Parse("wg0.conf", proposal)
	must(m.t, err)
	if want := len(f.nodes) + len(f.fragments); len(p.Peers) != want {
		m.t.Errorf("%d peers are proposed, of %d", len(p.Peers), want)
	}
	for _, iface := range []string{"wg0", "wg1"} {
		c := m.inForce(iface)
		if iface == "wg0" && len(c.Peers) != len(p.Peers) {
			m.t.Errorf("%d peers in force, of %d in the proposal", len(c.Peers), len(p.Peers))
		}
		want := map[string]string{}
		for _, p := range c.Peers {
			var prefixes []string
			for _, a := range p.AllowedIPs {
				prefixes = append(prefixes, a.Masked().String())
			}
			slices.Sort(prefixes)
			want[p.PublicKey.String()] = strings.Join(prefixes, " ")
		}
		is := map[string]string{}
		for line := range strings.Lines(m.Run(m.t, "wg", "show", iface, "allowed-ips")) {
			key, prefixes, _ := strings.Cut(strings.TrimSpace(line), "\t")
			all := strings.Fields(strings.ReplaceAll(prefixes, "(none)", ""))
			slices.Sort(all)
			is[key] = strings.Join(all, " ")
		}
		if !maps.Equal(want, is) {
			m.t.Errorf("%s: peers of the device %v\nof its file %v", iface, is, want)
		}
		path := inForceDir + "/" + iface + ".conf"
		judge.Write(m.t, path, m.Read(m.t, path), 0o600)
		lab.WGQuickUp(m.t, judge.Host, iface)
		if out, code := lab.TryWGQuick(m.t, judge.Host, "down", iface); code != 0 {
			m.t.Errorf("%s: wg-quick down: %s", iface, out)
		}
	}
	if _, err := os.Stat(m.Path("/run/pwned")); err == nil {
		m.t.Error("a command of a fragment was run")
	}
}

// theirs is what foreign has made.
func (m *machine) theirs() string {
	return m.shown("sh", "-c", "ip route show dev eth0; ip -6 route show dev eth0 proto static; ip route show table 100; ip rule show pref 100; ip rule show pref 101; nft list table ip others")
}

// endsAsNew holds that the machine is in the end what one is that never saw anything else than these files.
func (m *machine) endsAsNew(f *files) {
	m.t.Helper()
	fresh := newMachine(m.t)
	fresh.Run(m.t, "sh", "-ec", foreign)
	fresh.put(f)
	fresh.start()
	fresh.rest()
	m.same(fresh)
}

// used is what the daemons take of the machine.
func (m *machine) used() map[string]float64 {
	m.t.Helper()
	out := map[string]float64{}
	for name, d := range map[string]struct {
		pid  int
		addr string
	}{"wg-apply": {m.apply.Pid, "127.0.0.1:9587"}, "wg-render": {m.render.Pid, "127.0.0.1:9586"}} {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.pid))
		must(m.t, err)
		out[name+" open files"] = float64(len(fds))
		for line := range strings.Lines(m.metrics(d.addr)) {
			for metric, unit := range map[string]float64{"go_goroutines": 1, "process_resident_memory_bytes": 1 << 20, "go_memstats_heap_inuse_bytes": 1 << 20} {
				var v float64
				if _, err := fmt.Sscanf(line, metric+" %g", &v); err == nil {
					out[name+" "+metric] = v / unit
				}
			}
		}
	}
	return out
}

func (m *machine) metrics(addr string) string { return m.get(addr, "/metrics") }

// get asks a daemon over HTTP.
func (m *machine) get(addr, path string) string {
	m.t.Helper()
	var c net.Conn
	lab.Eventually(m.t, hang, "somebody listens on "+addr, func() bool {
		return nil == m.Do(func() (err error) {
			c, err = net.Dial("tcp", addr)
			return err
		})
	})
	defer c.Close()
	_, err := io.WriteString(c, "GET "+path+" HTTP/1.0\r\n\r\n")
	must(m.t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(m.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(m.t, err)
	return string(b)
}

// flat fails if something grows: if its least in the last third is clearly more than its most in the second.
func flat(t *testing.T, used []map[string]float64) {
	t.Helper()
	if len(used) < 9 {
		t.Logf("%d settlings are too few to see what grows", len(used))
		return
	}
	n := len(used) / 3
	for _, what := range slices.Sorted(maps.Keys(used[0])) {
		var middle, last []float64
		for i := range n {
			middle, last = append(middle, used[n+i][what]), append(last, used[len(used)-1-i][what])
		}
		t.Logf("%s: %.0f at first, then %.0f to %.0f, in the end %.0f to %.0f", what, used[0][what],
			slices.Min(middle), slices.Max(middle), slices.Min(last), slices.Max(last))
		if slices.Min(last) > slices.Max(middle)*1.1+2 {
			t.Errorf("%s: grows", what)
		}
	}
}
