package storm

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/trace"
)

// What calls fail with, by where they go to.
var (
	whatFails = []trace.Fault{
		{To: trace.File},    // all that changes something
		{To: trace.Netlink}, // the same
		{To: trace.Unix},
		{To: trace.File, Calls: []string{"open", "read", "readdir", "stat", "flock"}},
		{To: trace.Netlink, Calls: []string{"recv", "socket"}},
		{To: trace.Unix, Calls: []string{"connect", "read", "socket"}},
	}
	errnos = map[string][]unix.Errno{
		trace.File:    {unix.ENOSPC, unix.EIO, unix.EROFS, unix.EMFILE},
		trace.Netlink: {unix.EINTR, unix.ENOBUFS, unix.ENOMEM, unix.EBUSY},
		trace.Unix:    {unix.EPIPE, unix.ECONNRESET, unix.EIO},
	}
)

// someFault is a call that fails a few times, or a few dumps that something changes under.
func someFault(r *rand.Rand) trace.Order {
	n := r.IntN(len(whatFails) + 1)
	if n == len(whatFails) {
		return trace.Order{Torn: 1 + r.IntN(3)}
	}
	f := whatFails[n]
	of := errnos[f.To]
	f.Errno = of[r.IntN(len(of))]
	f.Skip, f.Count = r.IntN(20), 1+r.IntN(3)
	return trace.Order{Faults: []trace.Fault{f}}
}

// needTracing skips where a daemon that is traced takes so long for everything that its own deadlines pass: in a
// User-mode Linux each system call is traced already, by the machine below. What is tested with such daemons does not
// hang on the kernel's WireGuard.
func needTracing(t *testing.T) {
	t.Helper()
	if inUserModeLinux() {
		lab.Skip(t, "no daemon can be traced at work in a User-mode Linux")
	}
}

func inUserModeLinux() bool {
	b, _ := os.ReadFile("/proc/cpuinfo")
	return strings.Contains(string(b), "User Mode Linux")
}

// pair is a machine whose daemons are traced, and another with the same files, which is spared.
type pair struct {
	*machine
	spared        *machine
	r             *rand.Rand
	files         *files
	apply, render *trace.Program
}

// newPair starts both, the traced daemons under a first order each.
func newPair(t *testing.T, resync string, first func(r *rand.Rand) trace.Order) *pair {
	t.Helper()
	needTracing(t)
	p := &pair{machine: newMachine(t), spared: newMachine(t), r: random(t), files: someFiles()}
	for _, m := range []*machine{p.machine, p.spared} {
		for _, dir := range kept {
			m.Run(t, "mkdir", "-p", dir)
			m.Run(t, "mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs", dir)
		}
		m.own()
		m.put(p.files)
	}
	p.spared.start()
	p.apply, p.render = p.trace("wg-apply", first(p.r), "--resync", resync), p.trace("wg-render", first(p.r))
	p.rest()
	p.spared.rest()
	return p
}

// follow lets both get to what the files say now. before is what was in the kernel of the traced one.
func (p *pair) follow(before string) {
	p.t.Helper()
	p.put(p.files)
	p.spared.put(p.files)
	p.spared.rest()
	p.restKept(before, p.spared.kernel())
	p.noHalf()
	p.same(p.spared)
}

func (p *pair) order(o trace.Order) {
	p.apply.Order(p.t, o)
	p.render.Order(p.t, o)
}

// kept are the folders that the daemons write.
var kept = []string{inForceDir, proposals, runDir}

// Calls fail here and there while the files change. Nothing works but what is tried again: neither a resync nor a
// restart helps.
func TestAnyCallFails(t *testing.T) {
	t.Parallel()
	p := newPair(t, "0", someFault)
	for n := range max(*pointsFlag, 30) {
		to, name, fault := p.apply, "wg-apply", someFault(p.r)
		if p.r.IntN(3) == 0 {
			to, name = p.render, "wg-render"
		}
		to.Order(t, fault)
		before := p.kernel()
		for range 1 + p.r.IntN(3) {
			t.Logf("%d: %s: %+v: %s", n, name, fault, p.files.change(p.r))
		}
		p.follow(before)
		if t.Failed() {
			break
		}
	}
	p.order(trace.Order{})
	failed := p.apply.Failed() + p.render.Failed()
	t.Logf("%d calls failed", failed)
	if failed < 10 {
		t.Error("too few to prove anything")
	}
}

// outage is a fault that lasts for a while.
type outage struct {
	name       string
	begin, end func(p *pair)
	haste      int // so many failing calls of one program in two or three seconds are no backing off; zero: not counted
}

func TestOutages(t *testing.T) {
	t.Parallel()
	failing := func(name string, faults ...trace.Fault) outage {
		return outage{name: name,
			begin: func(p *pair) { p.order(trace.Order{Faults: faults}) },
			end:   func(p *pair) { p.order(trace.Order{}) }}
	}
	writing := func(name string, faults ...trace.Fault) outage {
		o := failing(name, faults...)
		o.haste = 30
		return o
	}
	reads := []string{"open", "read", "readdir", "stat"}
	cases := []outage{
		{name: full, begin: fill, end: func(p *pair) {
			for _, dir := range kept {
				must(p.t, os.Remove(p.Path(dir+"/.fill")))
			}
		}},
		writing("read-only file system", trace.Fault{To: trace.File, Errno: unix.EROFS}),
		writing("fsync fails", trace.Fault{Calls: []string{"fsync"}, Errno: unix.EIO}),
		writing("rename fails", trace.Fault{Calls: []string{"rename"}, Errno: unix.EIO}),
		failing("nothing can be read", trace.Fault{To: trace.File, Calls: reads, Errno: unix.EIO}),
		failing("no file descriptor is free", trace.Fault{Calls: []string{"open", "socket"}, Errno: unix.EMFILE}),
		failing("netlink is interrupted", trace.Fault{To: trace.Netlink, Calls: []string{"sendto", "sendmsg", "recv"}, Errno: unix.EINTR}),
		failing("what the kernel is asked is lost", trace.Fault{To: trace.Netlink, Calls: []string{"sendto"}, Lost: true}),
		failing("netlink drops", trace.Fault{To: trace.Netlink, Calls: []string{"recv"}, Errno: unix.ENOBUFS}),
		failing("the device takes nothing", trace.Fault{To: trace.Unix, Errno: unix.EIO}, trace.Fault{Calls: []string{"sendmsg"}, To: trace.Netlink, Errno: unix.EIO}),
		failing("the device cannot be reached", trace.Fault{To: trace.Unix, Calls: []string{"connect"}, Errno: unix.ECONNREFUSED}, trace.Fault{Calls: []string{"socket"}, To: trace.Netlink, Errno: unix.ENOBUFS}),
		{name: "each dump is torn",
			begin: func(p *pair) { p.apply.Order(p.t, trace.Order{Torn: 1 << 30}) },
			end:   func(p *pair) { p.apply.Order(p.t, trace.Order{}) }},
		{name: "a folder is removed and made again",
			begin: func(p *pair) { p.Run(p.t, "sh", "-c", "mv "+nodesDir+" /run/gone && rm -r /run/gone") },
			end:   func(p *pair) { p.Run(p.t, "mkdir", nodesDir); p.put(p.files) }},
		{name: "the events overflow", begin: flood, end: func(p *pair) {
			must(p.t, p.apply.Signal(syscall.SIGCONT))
			must(p.t, p.render.Signal(syscall.SIGCONT))
		}},
	}
	p := newPair(t, "0", func(*rand.Rand) trace.Order { return trace.Order{} })
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p.t, p.spared.t = t, t
			before, a, r := p.kernel(), p.apply.Failed(), p.render.Failed()
			c.begin(p)
			for range 5 {
				if c.name == full {
					t.Log(p.files.changeNodes(p.r))
				} else {
					t.Log(p.files.change(p.r))
				}
			}
			p.spared.put(p.files)
			if _, err := os.Stat(p.Path(nodesDir)); err == nil {
				p.put(p.files)
			}
			p.spared.rest()
			after := p.spared.kernel()
			for range 10 {
				p.kept(before, after)
				time.Sleep(200 * time.Millisecond)
			}
			a, r = p.apply.Failed()-a, p.render.Failed()-r
			t.Logf("meanwhile %d calls of wg-apply's and %d of wg-render's failed", a, r)
			if c.haste > 0 && max(a, r) > c.haste {
				t.Error("what fails is tried again in haste")
			}
			c.end(p)
			p.restKept(before, after)
			p.same(p.spared)
		})
		if t.Failed() {
			break
		}
	}
	p.t, p.spared.t = t, t
}

// full is the name of an outage in which a person can write no file either.
const full = "disk full"

func fill(p *pair) {
	for _, dir := range kept {
		if out, code := p.Try("sh", "-c", "cat /dev/zero >"+dir+"/.fill"); code == 0 {
			p.t.Fatalf("%s is not full: %s", dir, out)
		}
	}
}

// flood makes more events than the kernel keeps for a program that does not listen, so that the last are lost.
func flood(p *pair) {
	must(p.t, p.apply.Signal(syscall.SIGSTOP))
	must(p.t, p.render.Signal(syscall.SIGSTOP))
	limit, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	must(p.t, err)
	var most int
	_, _ = fmt.Sscan(string(limit), &most)
	for _, dir := range []string{nodesDir, inForceDir} {
		for n := range most/2 + 1000 { // each is two events or more
			name := p.Path(fmt.Sprintf("%s/.flood-%d", dir, n))
			must(p.t, os.WriteFile(name, nil, 0o600))
			must(p.t, os.Remove(name))
		}
	}
}

// A userspace device that hangs holds up no other interface, and is served when it goes on.
func TestDeviceHangs(t *testing.T) {
	t.Parallel()
	if lab.HasKernelWireGuard(t) {
		t.Log("the kernel's device does not hang")
		return
	}
	m := newMachine(t)
	f := someFiles()
	m.put(f)
	m.start()
	m.rest()
	device := m.deviceOf("wg0")
	if device == 0 { // which would be all of us
		t.Fatal("no wg-device serves wg0")
	}
	must(t, syscall.Kill(device, syscall.SIGSTOP))
	f.nodes[6] = node(6)
	f.hand.peers[0].prefixes = append(f.hand.peers[0].prefixes, "10.100.7.0/24")
	m.put(f)
	lab.Eventually(t, hang, "wg1 follows its file", func() bool {
		return strings.Contains(m.shown("wg", "show", "wg1", "allowed-ips"), "10.100.7.0/24") &&
			strings.Contains(m.shown("ip", "route", "get", "10.100.7.1"), "dev wg1")
	})
	must(t, syscall.Kill(device, syscall.SIGCONT))
	m.rest()
}

// deviceOf is the process of the wg-device that serves an interface; zero: there is none.
func (m *machine) deviceOf(iface string) (pid int) {
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", m.PID()))
	must(m.t, err)
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		b, _ := os.ReadFile(dir + "/cmdline")
		args := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
		if ns, _ := os.Readlink(dir + "/ns/net"); ns == own && filepath.Base(args[0]) == "wg-device" && slices.Contains(args, iface) {
			_, _ = fmt.Sscanf(dir, "/proc/%d", &pid)
		}
	}
	return pid
}

// The clock of the wall jumps, ahead and back.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	p := newPair(t, "1s", func(*rand.Rand) trace.Order { return trace.Order{Clock: time.Second} }) // never quite right
	for _, off := range []time.Duration{0, 400 * 24 * time.Hour, -400 * 24 * time.Hour, time.Minute, -time.Minute, 0} {
		before := p.kernel()
		p.order(trace.Order{Clock: off})
		for range 4 {
			t.Logf("%s: %s", off, p.files.change(p.r))
		}
		p.follow(before)
	}
}
