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
		trace.File: {unix.ENOSPC, unix.EIO, unix.EROFS, unix.EMFILE},
		// Not EINTR: a socket that never blocks is never interrupted, and what waits for it would wait for ever.
		trace.Netlink: {unix.ENOBUFS, unix.ENOMEM, unix.EBUSY},
		trace.Unix:    {unix.EPIPE, unix.ECONNRESET, unix.EIO},
	}
)

func someFault(r *rand.Rand) trace.Fault {
	f := whatFails[r.IntN(len(whatFails))]
	of := errnos[f.To]
	f.Errno = of[r.IntN(len(of))]
	f.Skip, f.Count = r.IntN(20), 1+r.IntN(3)
	return f
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

// Calls fail here and there while the files change. Nothing works but what is tried again: neither a resync nor a
// restart helps.
func TestAnyCallFails(t *testing.T) {
	t.Parallel()
	needTracing(t)
	r := random(t)
	m, spared := newMachine(t), newMachine(t)
	f := someFiles()
	m.put(f)
	spared.put(f)
	spared.start()
	apply := m.trace("wg-apply", trace.Order{Faults: []trace.Fault{someFault(r)}}, "--resync", "0")
	render := m.trace("wg-render", trace.Order{Faults: []trace.Fault{someFault(r)}})
	m.rest()
	spared.rest()
	for n := range max(*pointsFlag, 30) {
		to, name, fault := apply, "wg-apply", someFault(r)
		if r.IntN(3) == 0 {
			to, name = render, "wg-render"
		}
		to.Order(t, trace.Order{Faults: []trace.Fault{fault}})
		before := m.kernel()
		for range 1 + r.IntN(3) {
			t.Logf("%d: %s: %+v: %s", n, name, fault, f.change(r))
		}
		m.put(f)
		spared.put(f)
		spared.rest()
		m.restKept(before, spared.kernel())
		m.noHalf()
		m.same(spared)
		if t.Failed() {
			break
		}
	}
	apply.Order(t, trace.Order{})
	render.Order(t, trace.Order{})
	failed := apply.Failed() + render.Failed()
	t.Logf("%d calls failed", failed)
	if failed < 10 {
		t.Error("too few to prove anything")
	}
}

// outage is a fault that lasts for a while.
type outage struct {
	name       string
	begin, end func(o *outages)
	haste      int // so many failing calls of one program in two or three seconds are no backing off; zero: not counted
}

// outages is a machine with faults, and one without.
type outages struct {
	*machine
	spared        *machine
	r             *rand.Rand
	files         *files
	apply, render *trace.Program
}

// all calls fail that fit.
func all(faults ...trace.Fault) (begin, end func(o *outages)) {
	order := func(of trace.Order) func(o *outages) {
		return func(o *outages) {
			o.apply.Order(o.t, of)
			o.render.Order(o.t, of)
		}
	}
	return order(trace.Order{Faults: faults}), order(trace.Order{})
}

func TestOutages(t *testing.T) {
	t.Parallel()
	needTracing(t)
	failing := func(name string, faults ...trace.Fault) outage {
		begin, end := all(faults...)
		return outage{name: name, begin: begin, end: end}
	}
	writing := func(name string, faults ...trace.Fault) outage {
		o := failing(name, faults...)
		o.haste = 30
		return o
	}
	reads := []string{"open", "read", "readdir", "stat"}
	cases := []outage{
		{name: full, begin: fill, end: func(o *outages) {
			for _, dir := range kept {
				must(o.t, os.Remove(o.Path(dir+"/.fill")))
			}
		}},
		writing("read-only file system", trace.Fault{To: trace.File, Errno: unix.EROFS}),
		writing("fsync fails", trace.Fault{Calls: []string{"fsync"}, Errno: unix.EIO}),
		writing("rename fails", trace.Fault{Calls: []string{"rename"}, Errno: unix.EIO}),
		failing("nothing can be read", trace.Fault{To: trace.File, Calls: reads, Errno: unix.EIO}),
		failing("no file descriptor is free", trace.Fault{Calls: []string{"open", "socket"}, Errno: unix.EMFILE}),
		failing("netlink is interrupted", trace.Fault{To: trace.Netlink, Calls: []string{"sendto", "sendmsg", "recv"}, Errno: unix.EINTR}),
		failing("netlink drops", trace.Fault{To: trace.Netlink, Calls: []string{"recv"}, Errno: unix.ENOBUFS}),
		failing("the device takes nothing", trace.Fault{To: trace.Unix, Errno: unix.EIO}, trace.Fault{Calls: []string{"sendmsg"}, To: trace.Netlink, Errno: unix.EIO}),
		failing("the device cannot be reached", trace.Fault{To: trace.Unix, Calls: []string{"connect"}, Errno: unix.ECONNREFUSED}, trace.Fault{Calls: []string{"socket"}, To: trace.Netlink, Errno: unix.ENOBUFS}),
		{name: "each dump is torn",
			begin: func(o *outages) { o.apply.Order(o.t, trace.Order{Torn: 1 << 30}) },
			end:   func(o *outages) { o.apply.Order(o.t, trace.Order{}) }},
		{name: "a folder is removed and made again",
			begin: func(o *outages) { o.Run(o.t, "sh", "-c", "mv "+nodesDir+" /run/gone && rm -r /run/gone") },
			end:   func(o *outages) { o.Run(o.t, "mkdir", nodesDir); o.put(o.files) }},
		{name: "the events overflow", begin: flood, end: func(o *outages) {
			must(o.t, o.apply.Signal(syscall.SIGCONT))
			must(o.t, o.render.Signal(syscall.SIGCONT))
		}},
	}
	o := &outages{machine: newMachine(t), spared: newMachine(t), r: random(t), files: someFiles()}
	for _, m := range []*machine{o.machine, o.spared} {
		for _, dir := range kept {
			m.Run(t, "mkdir", "-p", dir)
			m.Run(t, "mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs", dir)
		}
		m.put(o.files)
	}
	o.spared.start()
	o.apply, o.render = o.trace("wg-apply", trace.Order{}, "--resync", "0"), o.trace("wg-render", trace.Order{})
	o.rest()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o.t, o.spared.t = t, t
			before, a, r := o.kernel(), o.apply.Failed(), o.render.Failed()
			c.begin(o)
			for range 5 {
				if c.name == full {
					t.Log(o.files.changeNodes(o.r))
				} else {
					t.Log(o.files.change(o.r))
				}
			}
			o.spared.put(o.files)
			if _, err := os.Stat(o.Path(nodesDir)); err == nil {
				o.put(o.files)
			}
			o.spared.rest()
			after := o.spared.kernel()
			for range 10 {
				o.kept(before, after)
				time.Sleep(200 * time.Millisecond)
			}
			a, r = o.apply.Failed()-a, o.render.Failed()-r
			t.Logf("meanwhile %d calls of wg-apply's and %d of wg-render's failed", a, r)
			if c.haste > 0 && max(a, r) > c.haste {
				t.Error("what fails is tried again in haste")
			}
			c.end(o)
			o.restKept(before, after)
			o.same(o.spared)
		})
		if t.Failed() {
			break
		}
	}
	o.t, o.spared.t = t, t
}

// full is the name of an outage in which a person can write no file either.
const full = "disk full"

// kept are the folders that the daemons write.
var kept = []string{inForceDir, proposals, runDir}

func fill(o *outages) {
	for _, dir := range kept {
		if out, code := o.Try("sh", "-c", "cat /dev/zero >"+dir+"/.fill"); code == 0 {
			o.t.Fatalf("%s is not full: %s", dir, out)
		}
	}
}

// flood makes more events than the kernel keeps for a program that does not listen, so that the last are lost.
func flood(o *outages) {
	must(o.t, o.apply.Signal(syscall.SIGSTOP))
	must(o.t, o.render.Signal(syscall.SIGSTOP))
	limit, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	must(o.t, err)
	var most int
	_, _ = fmt.Sscan(string(limit), &most)
	for _, dir := range []string{nodesDir, inForceDir} {
		for n := range most/2 + 1000 { // each is two events or more
			name := o.Path(fmt.Sprintf("%s/.flood-%d", dir, n))
			must(o.t, os.WriteFile(name, nil, 0o600))
			must(o.t, os.Remove(name))
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
	needTracing(t)
	r := random(t)
	m, spared := newMachine(t), newMachine(t)
	f := someFiles()
	m.put(f)
	spared.put(f)
	spared.start()
	const little = time.Second // a clock that is never right
	apply := m.trace("wg-apply", trace.Order{Clock: little}, "--resync", "1s")
	render := m.trace("wg-render", trace.Order{Clock: little})
	for _, off := range []time.Duration{0, 400 * 24 * time.Hour, -400 * 24 * time.Hour, time.Minute, -time.Minute, 0} {
		before := m.kernel()
		apply.Order(t, trace.Order{Clock: off})
		render.Order(t, trace.Order{Clock: off})
		for range 4 {
			t.Logf("%s: %s", off, f.change(r))
		}
		m.put(f)
		spared.put(f)
		spared.rest()
		m.restKept(before, spared.kernel())
		m.same(spared)
	}
}
