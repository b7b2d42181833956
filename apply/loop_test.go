package apply

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wg-kube/apply/plan"
	"wg-kube/internal/lab"
	"wg-kube/templates/wgquick"
)

const soon = 30 * time.Second

// run runs a daemon until the test ends.
func (h *house) run(t *testing.T, only ...string) *Daemon {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	d := New(h.Config, only...)
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(soon):
			t.Error("the daemon does not stop")
		}
	})
	return d
}

func (h *house) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	lab.Eventually(t, soon, what, ok)
}

func TestDaemonFollowsTheFiles(t *testing.T) {
	h := newHouse(t, "wg1")
	h.Settle = 10 * time.Millisecond
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 1)...))
	d := h.run(t)
	h.eventually(t, "the file that was there is applied", func() bool { return h.kernel.peers("wg0") == 1 })
	h.eventually(t, "the other has its key", func() bool { return !h.status(t, "wg1").PublicKey.IsZero() })
	h.eventually(t, "ready", func() bool { return d.Ready() == nil })

	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 2)...))
	h.write(t, h.proposal("wg1"), rendered(t, 1, 2, 3))
	h.eventually(t, "a change is applied", func() bool { return h.kernel.peers("wg0") == 2 })
	h.eventually(t, "a proposal is applied", func() bool { return h.kernel.peers("wg1") == 3 })
	h.write(t, h.inForce("wg2"), byHand(t, peers(1, 4)...))
	h.eventually(t, "a new interface is found", func() bool { return h.kernel.peers("wg2") == 4 })

	h.kernel.change("wg2", func(l *plan.Live) { l.Routes = nil })
	signal(h.kernel.events)
	h.eventually(t, "drift is repaired on the event", func() bool { return strings.Contains(h.log.Take(), "msg=drift") })
	h.eventually(t, "the status is written", func() bool { return h.status(t, "wg2").Applied != "" })
	if _, err := os.Stat(filepath.Join(h.RunDir, "wg2.json")); err != nil {
		t.Error(err)
	}
}

// However often somebody takes an interface away, it is made again, and soon.
func TestDaemonIsNotWornDown(t *testing.T) {
	h := newHouse(t)
	h.write(t, h.inForce("wg0"), byHand(t, peer(1)))
	h.run(t, "wg0")
	for n := range patience + 3 {
		h.eventually(t, fmt.Sprintf("it is there after it was deleted %d times", n), func() bool { return h.kernel.peers("wg0") == 1 })
		h.kernel.change("wg0", func(l *plan.Live) { *l = plan.Live{} })
		signal(h.kernel.events)
	}
}

func TestDaemonOneDoesNotWaitForAnother(t *testing.T) {
	h := newHouse(t)
	h.kernel.hang = map[string]chan struct{}{"slow": make(chan struct{})}
	h.kernel.fail = map[string]error{"failing": errors.New("no")}
	for _, iface := range []string{"slow", "failing", "good"} {
		h.write(t, h.inForce(iface), byHand(t, peers(1, 1)...))
	}
	h.write(t, h.inForce("broken"), "[Interfarce]\n")
	d := h.run(t)
	h.eventually(t, "the good one is applied", func() bool { return h.kernel.peers("good") == 1 })
	h.write(t, h.inForce("good"), byHand(t, peers(1, 2)...))
	h.eventually(t, "and again", func() bool { return h.kernel.peers("good") == 2 })
	h.eventually(t, "the broken one is refused", func() bool { return len(h.status(t, "broken").Refused) == 1 })
	h.eventually(t, "the failing one says so", func() bool { return len(h.status(t, "failing").Errors) == 1 })
	if d.Ready() == nil {
		t.Error("the slow one has not been looked at")
	}
	close(h.kernel.hang["slow"])
	h.eventually(t, "the slow one is applied", func() bool { return h.kernel.peers("slow") == 1 })
}

// A route that another device had goes without a word to us: what it was in the way of is tried again all the same.
func TestDaemonTakesWhatTheMachineGivesBack(t *testing.T) {
	h := newHouse(t, "wg1")
	h.kernel.around.Routes = []plan.Route{docker(2)}
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 2)...))
	h.write(t, h.proposal("wg1"), rendered(t, 1, 2))
	h.run(t)
	refused := func(n int) bool {
		return len(h.status(t, "wg0").Refused) == n && len(h.status(t, "wg1").Refused) == n
	}
	h.eventually(t, "both are refused", func() bool { return refused(1) && h.kernel.peers("wg0") == 0 && h.kernel.peers("wg1") == 1 })
	h.kernel.mu.Lock()
	h.kernel.around.Routes = nil
	h.kernel.mu.Unlock()
	h.eventually(t, "both are there", func() bool { return refused(0) && h.kernel.peers("wg0") == 2 && h.kernel.peers("wg1") == 2 })
}

func TestDaemonIsReady(t *testing.T) {
	const no = "wg0: ip link add wg0 type wireguard: this kernel has no WireGuard"
	for _, tt := range []struct {
		name          string
		file          string
		fails, isDown bool
		want          string
	}{
		{"its file is applied", byHand(t, peer(1)), false, false, ""},
		{"it waits for its file", "", true, false, ""},
		{"its file is refused", "[Interfarce]\n", true, false, ""},
		{"somebody took it down", byHand(t, peer(1)), true, true, ""},
		{"it cannot be made", byHand(t, peer(1)), true, false, "wg0: not yet as its file says: " + no},
		{"its hook fails", strings.Replace(byHand(t, peer(1)), "[Interface]\n", "[Interface]\nPreUp = exit 3\n", 1), false, false,
			`wg0: not yet as its file says: wg0.conf: PreUp: "exit 3": exit status 3`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			h.Hooks = true
			if tt.fails {
				h.kernel.fail["wg0"] = errors.New(no)
			}
			if tt.file != "" {
				h.write(t, h.inForce("wg0"), tt.file)
			}
			if tt.isDown {
				h.write(t, h.downFile("wg0"), "")
			}
			d := h.run(t, "wg0")
			h.eventually(t, "it is looked at", func() bool { all := d.all(); return len(all) == 1 && all[0].state().looked })
			got := ""
			if err := d.Ready(); err != nil {
				got = strings.ReplaceAll(err.Error(), h.Dir+"/", "")
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestDaemonStaysReady(t *testing.T) {
	h := newHouse(t)
	fails := func(err error) {
		h.kernel.mu.Lock()
		defer h.kernel.mu.Unlock()
		h.kernel.fail["wg0"] = err
	}
	fails(errors.New("no"))
	h.write(t, h.inForce("wg0"), byHand(t, peer(1)))
	d := h.run(t, "wg0")
	h.eventually(t, "it has failed", func() bool { return len(h.status(t, "wg0").Errors) == 1 })
	if d.Ready() == nil {
		t.Error("ready without an interface")
	}
	fails(nil)
	h.eventually(t, "it is ready when it is as its file says", func() bool { return d.Ready() == nil })
	fails(errors.New("not any more"))
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 2)...))
	h.eventually(t, "it fails again", func() bool { return len(h.status(t, "wg0").Errors) == 1 })
	if err := d.Ready(); err != nil {
		t.Error(err)
	}
}

func TestDaemonWaitsForItsFolders(t *testing.T) {
	h := newHouse(t, "wg0")
	must(t, os.RemoveAll(h.Proposals))
	must(t, os.RemoveAll(h.Dir))
	h.run(t)
	h.eventually(t, "the key is there", func() bool { return !h.status(t, "wg0").PublicKey.IsZero() })
	must(t, os.MkdirAll(h.Proposals, 0o750))
	h.write(t, h.proposal("wg0"), rendered(t, 1))
	h.eventually(t, "the proposal is applied", func() bool { return h.kernel.peers("wg0") == 1 })
}

// A folder that is not the one meant has nothing in it either.
func TestDaemonSaysThatThereIsNothing(t *testing.T) {
	h := newHouse(t)
	h.run(t)
	h.eventually(t, "it says so", func() bool { return strings.Contains(h.log.String(), "nothing to keep yet") })
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 1)...))
	h.eventually(t, "a file that comes is applied", func() bool { return h.kernel.peers("wg0") == 1 })
}

func TestDaemonSaysOnceThatItCannotLook(t *testing.T) {
	h := newHouse(t)
	d := New(h.Config)
	said := func() int {
		for range 3 {
			_ = d.discover(t.Context(), &sync.WaitGroup{})
		}
		return strings.Count(h.log.Take(), "not all interfaces are found")
	}
	for range 2 {
		must(t, os.Remove(h.Dir))
		write(t, h.Dir, "no folder")
		if n := said(); n != 1 {
			t.Errorf("said %d times", n)
		}
		must(t, os.Remove(h.Dir))
		must(t, os.Mkdir(h.Dir, 0o700))
		if n := said(); n != 0 {
			t.Errorf("said %d times that nothing is amiss", n)
		}
	}
}

func TestDaemonReadsAFileWhenItIsQuiet(t *testing.T) {
	h := newHouse(t)
	h.Settle = 300 * time.Millisecond
	h.run(t, "wg0")
	whole := byHand(t, peers(1, 3)...)
	f, err := os.OpenFile(h.inForce("wg0"), os.O_CREATE|os.O_WRONLY, 0o600)
	must(t, err)
	defer f.Close()
	half := strings.LastIndex(whole, "[Peer]")
	for _, part := range []string{whole[:half], whole[half:]} {
		_, err = f.WriteString(part)
		must(t, err)
		if part != whole[half:] {
			time.Sleep(h.Settle / 3)
		}
	}
	h.eventually(t, "it is applied", func() bool { return h.kernel.peers("wg0") > 0 })
	if got := h.kernel.peers("wg0"); got != 3 {
		t.Errorf("half of it was applied: %d peers", got)
	}
}

func TestNamesNeverHoldUpTheRest(t *testing.T) {
	h := newHouse(t)
	found := make(chan struct{})
	h.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
		select {
		case <-found:
			return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	p := peer(1)
	p.Endpoint = wgquick.Endpoint{Host: "hub.example.org", Port: 51820}
	h.write(t, h.inForce("wg0"), byHand(t, p, peer(2)))
	h.write(t, h.inForce("wg1"), byHand(t, peer(3)))
	h.run(t)
	h.eventually(t, "the rest is up", func() bool { return h.kernel.peers("wg0") == 2 && h.kernel.peers("wg1") == 1 })
	h.eventually(t, "the status says what is missing", func() bool {
		return strings.Contains(strings.Join(h.status(t, "wg0").Errors, ""), "hub.example.org:51820: not resolved yet")
	})
	close(found)
	h.eventually(t, "the endpoint is set", func() bool { return strings.Contains(h.kernel.sent(), "endpoint 192.0.2.7:51820") })
	h.eventually(t, "the status says so", func() bool { return len(h.status(t, "wg0").Errors) == 0 })
	if strings.Contains(h.log.Take(), "msg=drift") {
		t.Error("a name that is resolved is no drift")
	}
}

func TestMetrics(t *testing.T) {
	h := newHouse(t, "wg0", "wg2")
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 2)...))
	h.write(t, h.proposal("wg0"), rendered(t, 1)) // its file was made by hand
	h.write(t, h.inForce("wg1"), "[Interface]\nColour = red\nTaste = bad\n")
	h.write(t, h.proposal("wg2"), "[Interface]\nPostUp = true\n")
	h.PeerMetrics = true
	d := h.run(t)
	h.eventually(t, "applied", func() bool { return d.Ready() == nil })
	h.kernel.change("wg0", func(l *plan.Live) { l.Routes = nil })
	signal(h.kernel.events)
	h.eventually(t, "repaired", func() bool { return strings.Contains(h.log.Take(), "msg=drift") })
	h.eventually(t, "counted", func() bool { return d.all()[0].state().repairs != kinds{} })
	r := prometheus.NewPedanticRegistry()
	must(t, r.Register(d))
	families, err := r.Gather()
	must(t, err)
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				if slices.Contains([]string{"kind", "file", "reason"}, l.GetName()) {
					name += " " + l.GetValue()
				}
			}
			got[name] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"wg_apply_in_sync": 1, "wg_apply_peers": 2, "wg_apply_device_peers": 2, "wg_apply_held_peers": 0, "wg_apply_file_info": 3,
		"wg_apply_refused proposal guard": 1, "wg_apply_refused proposal malformed": 1, "wg_apply_refused proposal machine": 0,
		"wg_apply_refused in_force malformed": 2, "wg_apply_refused in_force machine": 0,
		"wg_apply_drift_repairs_total route": 2, "wg_apply_drift_repairs_total peer": 0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	if _, ok := got["wg_apply_peer_received_bytes_total"]; !ok {
		t.Error("nothing is said of the peers")
	}
}

func TestDaemonTellsSystemd(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	must(t, err)
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	h := newHouse(t)
	h.Settle = 200 * time.Millisecond // the files are not quiet when it starts
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 2)...))
	h.write(t, h.inForce("wg1"), "[Interface]\nColour = blue\n")
	h.run(t)
	var status string
	for {
		must(t, l.SetReadDeadline(time.Now().Add(soon)))
		b := make([]byte, 4096)
		n, err := l.Read(b)
		must(t, err)
		if line, ok := strings.CutPrefix(string(b[:n]), "STATUS="); ok {
			status = line
			continue
		}
		if string(b[:n]) != "READY=1" {
			t.Fatalf("%q", b[:n])
		}
		break
	}
	if h.kernel.peers("wg0") != 2 || len(h.status(t, "wg1").Refused) != 1 {
		t.Error("ready before every file was applied or refused")
	}
	if want := "wg0: 2 peers; wg1: refused: " + h.inForce("wg1") + ":2: [Interface]: Colour: no such key"; status != want {
		t.Errorf("status is %q, want %q", status, want)
	}
}

func TestNamesAreAskedForAgain(t *testing.T) {
	h := newHouse(t)
	var mu sync.Mutex
	asked := 0
	h.Lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
		mu.Lock()
		defer mu.Unlock()
		if asked++; asked == 1 {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
	}
	p := peer(1)
	p.Endpoint = wgquick.Endpoint{Host: "hub.example.org", Port: 51820}
	h.write(t, h.inForce("wg0"), byHand(t, p))
	err := h.Once(t.Context(), "wg0")
	if err == nil || !strings.HasPrefix(err.Error(), h.inForce("wg0")+": [Peer] Node/node-01: Endpoint: hub.example.org:51820: no such host") {
		t.Errorf("once: %v", err)
	}
	mu.Lock()
	asked = 0
	mu.Unlock()
	h.run(t)
	h.eventually(t, "the endpoint is set in the end", func() bool { return strings.Contains(h.kernel.sent(), "endpoint 192.0.2.7:51820") })
}

// What others write in the same folder, such as the temporary file before a rename, must not make the rename wait.
func TestLookThatFindsNothingIsIdle(t *testing.T) {
	h := newHouse(t, "wg0")
	i := h.newIface("wg0", func() {})
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2))
	for _, c := range []struct {
		name   string
		before func()
		device bool
		idle   bool
	}{
		{"a new proposal", func() {}, false, false},
		{"nothing", func() {}, false, true},
		{"a temporary file", func() { h.write(t, filepath.Join(h.Proposals, ".wg0.conf.new"), "half") }, false, true},
		{"another proposal", func() { h.write(t, h.proposal("wg0"), rendered(t, 1, 2, 3)) }, false, false},
		{"the device is looked at", func() {}, true, false},
	} {
		c.before()
		if l := h.look(t, i, c.device); l.idle != c.idle || l.err != nil {
			t.Errorf("%s: idle is %v: %v", c.name, l.idle, l.err)
		}
	}
}

// A file without an end mark that somebody writes in place may be half of itself. One that is renamed into its place is
// whole.
func TestRenamedFileIsNotWaitedFor(t *testing.T) {
	h := newHouse(t)
	h.Settle = time.Hour
	d := h.run(t)
	h.eventually(t, "ready", func() bool { return d.Ready() == nil })
	write(t, h.inForce("wg0"), byHand(t, peers(1, 1)...))
	h.eventually(t, "the interface is found", func() bool { return len(d.all()) == 1 && d.all()[0].state().looks > 0 })
	time.Sleep(50 * time.Millisecond)
	if n := h.kernel.peers("wg0"); n != 0 {
		t.Errorf("a file that was written in place was read at once: %d peers", n)
	}
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 2)...))
	h.eventually(t, "a file that was renamed into its place is applied", func() bool { return h.kernel.peers("wg0") == 2 })
}

// Nor is it looked at for what others write beside it.
func TestFilesBesideAreNotLookedAt(t *testing.T) {
	h := newHouse(t)
	h.write(t, h.inForce("wg0"), byHand(t, peer(1)))
	d := h.run(t)
	h.eventually(t, "ready", func() bool { return d.Ready() == nil })
	time.Sleep(2 * tick)
	looks := func() int { return d.all()[0].state().looks }
	write(t, filepath.Join(h.Dir, ".wg0.conf.new"), "half")
	time.Sleep(2 * tick)
	before := looks()
	for range 10 {
		write(t, filepath.Join(h.Dir, ".wg0.conf.new"), "half")
		time.Sleep(time.Millisecond)
	}
	time.Sleep(2 * tick)
	if n := looks() - before; n > 0 {
		t.Errorf("%d looks", n)
	}
}

func TestAProposalIsGivenItsMeaningOnce(t *testing.T) {
	h := newHouse(t, "wg0")
	h.Resync = time.Hour
	i := h.newIface("wg0", func() {})
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2))
	h.look(t, i, true)
	asked := 0
	h.kernel.asked = func() { asked++ }
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2, 3))
	if l := h.look(t, i, false); l.steps != 2 || asked != 1 {
		t.Errorf("%d steps, %d questions about the machine", l.steps, asked)
	}
}
