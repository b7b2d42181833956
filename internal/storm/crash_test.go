package storm

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab/trace"
)

var pointsFlag = flag.Int("points", 12, "at how many random points a program is killed on each way; 0: at every one")

// A way leads from some files to others. Nothing at all is where it can begin.
var ways = []struct {
	name     string
	from, to func() *files // nil: nothing
}{
	{"from nothing", nil, someFiles},
	{"there", someFiles, otherFiles},
	{"and back", otherFiles, someFiles},
}

// otherFiles differ from someFiles in everything that is changed by a step of its own.
func otherFiles() *files {
	f := someFiles()
	delete(f.nodes, 3)
	f.nodes[5] = node(5)
	f.nodes[1].prefixes = append(f.nodes[1].prefixes, "10.2.3.0/24")
	f.nodes[2].endpoint = 51821
	f.fragments[0].psk, f.fragments[0].keepalive = 2, 25
	h := &f.hand
	h.full, h.mtu, h.address = true, 1300, 2
	h.peers[1].prefixes = append(h.peers[1].prefixes, h.peers[2].prefixes[0]) // moves
	h.peers[2].prefixes = h.peers[2].prefixes[1:]
	h.peers[3].prefixes = h.peers[3].prefixes[:1] // is dropped
	h.peers[0].psk = 3
	return f
}

// Each program is killed before the n-th of its calls that change something: a file, or the kernel. Run again, it
// gets to where it would have got to.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	r, most := random(t), *pointsFlag
	if inUserModeLinux() {
		most = min(most, 4) // each takes ten times as long there
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			m := newMachine(t)
			want := newMachine(t)
			want.at(way.from)
			want.put(way.to())
			want.once()
			should := want.state()
			for _, program := range []string{"wg-render", "wg-apply"} {
				prepare := func() {
					m.at(way.from)
					m.put(way.to())
					if program == "wg-apply" {
						m.Run(t, m.command("wg-render", "once")...)
					}
				}
				prepare()
				all, _ := trace.Start(t, m.Host, trace.Order{}, m.command(program, "once")...).Steps(t, hang)
				if all == 0 {
					t.Fatalf("%s did nothing", program)
				}
				points := r.Perm(all)
				if most > 0 && len(points) > most {
					points = points[:most]
				}
				t.Logf("%s takes %d steps and is killed at %d of them", program, all, len(points))
				for _, n := range points {
					prepare()
					p := trace.Start(t, m.Host, trace.Order{Kill: n + 1}, m.command(program, "once")...)
					p.Steps(t, hang)
					m.noHalf()
					m.once()
					if got := m.state(); got != should {
						t.Errorf("%s: %v: then\n%s", program, p.Said(), diff(t, should, got))
						m.at(nil)
					}
				}
			}
		})
	}
}

// at makes the machine as it is with these files.
func (m *machine) at(f func() *files) {
	m.t.Helper()
	if f != nil {
		m.put(f())
		m.once()
		return
	}
	for _, iface := range []string{"wg0", "wg1"} {
		m.Try(m.command("wg-apply", "down", iface)...)
	}
	m.Run(m.t, "sh", "-c", "rm -rf "+inForceDir+"/* "+inForceDir+"/.[!.]* "+proposals+"/* "+runDir+"/* "+nodesDir+"/* "+peersDir+"/*")
}

// Both daemons are killed at any moment of a long run of changes, and started again.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	r := random(t)
	m, spared := newMachine(t), newMachine(t)
	f := someFiles()
	m.put(f)
	spared.put(f)
	m.start()
	spared.start()
	nap := func(most time.Duration) { time.Sleep(rand.N(most)) }
	for n := range max(*pointsFlag, 50) {
		for range 1 + r.IntN(3) {
			change := f.change(r)
			t.Logf("%d: %s", n, change)
			m.put(f)
			spared.put(f)
			nap(60 * time.Millisecond)
		}
		nap(400 * time.Millisecond)
		m.kill(m.apply)
		m.noHalf()
		m.startApply()
		nap(50 * time.Millisecond)
		m.kill(m.render)
		m.noHalf()
		m.startRender()
		if n%10 < 9 {
			continue
		}
		m.rest()
		spared.rest()
		for pid, capabilities := range map[int]string{m.render.Pid: "0000000000000000", m.apply.Pid: "0000000000001000"} { // CAP_NET_ADMIN
			if status := m.shown("cat", fmt.Sprintf("/proc/%d/status", pid)); !strings.Contains(status, "CapEff:\t"+capabilities+"\n") {
				t.Errorf("not the capabilities %s:\n%s", capabilities, status)
			}
		}
		if m.same(spared); t.Failed() {
			return
		}
	}
}
