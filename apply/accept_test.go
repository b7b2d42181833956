package apply

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wg-kube/templates/wgquick"
)

// inForcePicture is the peers of the file in force.
func (h *house) inForcePicture(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(h.inForce("wg0"))
	must(t, err)
	c, err := wgquick.Parse("wg0.conf", b)
	must(t, err)
	for i := range c.Peers {
		c.Peers[i].Held = time.Time{}
	}
	return picture(c)
}

// Whoever calls Once by hand need not say --proposed, and accepts then what was held before.
func TestOnceKeepsWhatIsHeld(t *testing.T) {
	h := newHouse(t, "wg0")
	h.write(t, h.proposal("wg0"), renderedOf(t, peer(1), peer(2), peer(3), peer(4), peer(5), peer(6)))
	must(t, h.Once(t.Context(), "wg0"))
	h.write(t, h.proposal("wg0"), renderedOf(t, peer(1)))
	must(t, h.Once(t.Context(), "wg0"))
	before := h.status(t, "wg0")
	h.Proposed = nil
	must(t, h.Once(t.Context(), "wg0"))
	if diff := cmp.Diff(before, h.status(t, "wg0")); diff != "" || len(before.Held) != 5 {
		t.Errorf("5 are to be held, and the status is to stay as it was (-was +is):\n%s", diff)
	}
	said, err := h.Accept(t.Context(), "wg0")
	must(t, err)
	if got := strings.Join(h.inForcePicture(t), ", "); got != "node-01 1 10.0.0.1/32" {
		t.Errorf("after %q there is in force: %s", said, got)
	}
}

// The status names two prefixes, and before anybody looks again the peer itself is gone from the proposal.
func TestAcceptOfPrefixesIsNotOfTheirPeer(t *testing.T) {
	h := newHouse(t, "wg0")
	put := func(ps ...wgquick.Peer) {
		t.Helper()
		h.write(t, h.proposal("wg0"), renderedOf(t, ps...))
	}
	put(peer(1, 1, 11, 12, 13, 14), peer(2))
	must(t, h.Once(t.Context(), "wg0"))
	put(peer(1), peer(2))
	must(t, h.Once(t.Context(), "wg0"))
	if held := h.status(t, "wg0").Held; len(held) != 1 || len(held[0].Prefixes) != 4 {
		t.Fatalf("held: %v", held)
	}
	put(peer(2))
	said, err := h.Accept(t.Context(), "wg0")
	must(t, err)
	if got := strings.Join(h.inForcePicture(t), ", "); got != "node-01 1 10.0.0.1/32, node-02 2 10.0.0.2/32" {
		t.Errorf("in force: %s", got)
	}
	if last := said[len(said)-1]; !strings.Contains(last, "held, as it came later (4 of 6 prefixes at once would go): Node/node-01 since") {
		t.Errorf("it does not say what is held now: %q", said)
	}
	if held := h.status(t, "wg0").Held; len(held) != 1 || len(held[0].Prefixes) != 0 {
		t.Errorf("held now: %v", held)
	}
	_, err = h.Accept(t.Context(), "wg0")
	must(t, err)
	if got := strings.Join(h.inForcePicture(t), ", "); got != "node-02 2 10.0.0.2/32" {
		t.Errorf("in force after all: %s", got)
	}
}

// What the machine cannot have is not measured against a past that is over.
func TestAcceptEndsThePast(t *testing.T) {
	h := newHouse(t, "wg0")
	h.ShrinkWindow = guard.Window
	for _, first := range []int{1, 6, 9} {
		h.write(t, h.proposal("wg0"), renderedOf(t, peers(first, 10)...))
		must(t, h.Once(t.Context(), "wg0"))
	}
	if held := h.status(t, "wg0").Held; len(held) != 3 {
		t.Fatalf("held: %v", held)
	}
	h.kernel.around.Routes = append(h.kernel.around.Routes, docker(9))
	_, err := h.Accept(t.Context(), "wg0")
	must(t, err)
	if got := strings.Join(h.inForcePicture(t), ", "); got != "node-10 a 10.0.0.10/32" {
		t.Errorf("in force: %s", got)
	}
}

// A proposal that was read and could not be compared yet has been shown to nobody.
func TestAcceptOfWhatCouldNotBeCompared(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, h *house) (mend func()){
		"a name without an answer": func(_ *testing.T, h *house) func() {
			r := make(resolver)
			h.Lookup = r.lookup
			return func() { close(r) }
		},
		"a file that cannot be written": func(t *testing.T, h *house) func() {
			path := h.inForce("wg0")
			must(t, os.Rename(path, path+".moved"))
			must(t, os.Symlink(path+".moved", path))
			must(t, os.Mkdir(path+".d", 0o700))
			must(t, os.Rename(path+".moved", path+".d/moved"))
			return func() { must(t, os.Rename(path+".d/moved", path+".moved")) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, "wg0")
			h.write(t, h.proposal("wg0"), rendered(t, numbers(1, 20)...))
			must(t, h.Once(t.Context(), "wg0"))
			mend := spoil(t, h)
			h.write(t, h.proposal("wg0"), renderedOf(t, fragment(30)))
			h.look(t, h.newIface("wg0", func() {}), true)
			mend()
			if _, err := h.Accept(t.Context(), "wg0"); err == nil || !strings.HasPrefix(err.Error(), "wg0: nothing was let go: ") {
				t.Error(err)
			}
			if n := len(h.inForcePicture(t)); n != 21 {
				t.Errorf("%d peers: what nobody has seen is accepted", n)
			}
		})
	}
}

// Where nothing is held there is nothing to accept, also the second time.
func TestAcceptOfNothing(t *testing.T) {
	h, _, propose := housePast(t)
	propose(1, 40)
	propose(21, 40)
	before := h.inForcePicture(t)
	for range 2 {
		if said, err := h.Accept(t.Context(), "wg0"); err != nil || len(said) > 0 {
			t.Errorf("%q, %v", said, err)
		}
	}
	if !slices.Equal(h.inForcePicture(t), before) {
		t.Error("something changes")
	}
	if held := propose(31, 40); held != 10 {
		t.Errorf("the past is forgotten for nothing: %d held", held)
	}
}

// Wherever it is killed, it has accepted or it has not, and is the same when it is called again.
func TestAcceptIsKilled(t *testing.T) {
	for _, tt := range []struct {
		name     string
		killed   func(t *testing.T, h *house) // in the middle of Accept
		accepted bool
	}{
		{"before anything", func(*testing.T, *house) {}, false},
		{"before the file is in force", func(t *testing.T, h *house) { h.voided(t) }, false},
		{"before the past is forgotten", func(t *testing.T, h *house) {
			void := h.voided(t)
			_, err := h.Accept(t.Context(), "wg0")
			must(t, err)
			must(t, os.WriteFile(filepath.Join(h.RunDir, "wg0.past"), void, 0o640))
		}, true},
		{"before the status is written", func(t *testing.T, h *house) {
			status, err := os.ReadFile(h.statusFile("wg0"))
			must(t, err)
			_, err = h.Accept(t.Context(), "wg0")
			must(t, err)
			must(t, os.WriteFile(h.statusFile("wg0"), status, 0o640))
		}, true},
	} {
		for _, again := range []bool{false, true} {
			name := tt.name
			if again {
				name += ", and it is called again"
			}
			t.Run(name, func(t *testing.T) {
				h, _, propose := housePast(t)
				propose(1, 40)
				propose(21, 40)
				if held := propose(33, 40); held != 12 {
					t.Fatalf("%d held", held)
				}
				tt.killed(t, h)
				if again {
					_, err := h.Accept(t.Context(), "wg0")
					must(t, err)
				}
				must(t, h.Once(t.Context(), "wg0"))
				held, peers := len(h.status(t, "wg0").Held), h.kernel.peers("wg0")
				if tt.accepted || again {
					if held != 0 || peers != 8 {
						t.Errorf("accepted: %d held, %d peers", held, peers)
					}
					if held := propose(37, 40); held != 0 {
						t.Errorf("half of what was accepted: %d held because %q", held, h.status(t, "wg0").HeldWhy)
					}
					return
				}
				if held != 12 || peers != 20 {
					t.Errorf("not accepted: %d held, %d peers", held, peers)
				}
				if held := propose(34, 40); held != 13 {
					t.Errorf("the past is forgotten for nothing: %d held", held)
				}
			})
		}
	}
}

// voided does what Accept does until the file is written, and returns the past as it is then.
func (h *house) voided(t *testing.T) []byte {
	t.Helper()
	i, unlock, err := h.alone(t.Context(), "wg0")
	must(t, err)
	defer unlock()
	f := i.files
	next, err := i.draft(t.Context(), f.inForce.config.Interface.PrivateKey, i.status.Held, nil)
	must(t, err)
	must(t, f.writeDown(next))
	must(t, f.past.void(hash(next.b)))
	b, err := os.ReadFile(f.past.path)
	must(t, err)
	if !strings.Contains(string(b), "voidBy") {
		t.Errorf("the past does not say so: %.300s", b)
	}
	return b
}

// While it cannot be recorded what was in force, nothing is taken away from anybody, and everything else goes on.
func TestAPastThatCannotBeWritten(t *testing.T) {
	h, pass, _ := housePast(t)
	past := filepath.Join(h.RunDir, "wg0.past")
	must(t, os.MkdirAll(filepath.Join(past, "in the way"), 0o700))
	i := h.newIface("wg0", func() {})
	look := func(ps ...wgquick.Peer) look {
		t.Helper()
		h.write(t, h.proposal("wg0"), renderedOf(t, ps...))
		return h.look(t, i, false)
	}
	look(peers(1, 10)...)
	moved := peer(5)
	moved.Endpoint = wgquick.Endpoint{Host: "192.0.2.5", Port: 51820}
	rekeyed := peer(6)
	rekeyed.PublicKey = key(66)
	l := look(append(append(peers(1, 4), moved, rekeyed), peers(7, 12)...)...)
	if got := strings.Join(h.inForcePicture(t), ", "); !strings.Contains(got, "node-06 42 ") || h.kernel.peers("wg0") != 12 || l.err == nil {
		t.Errorf("what takes nothing away waits: %v\n%s", l.err, got)
	}
	b, _ := os.ReadFile(h.inForce("wg0"))
	if !strings.Contains(string(b), "Endpoint = 192.0.2.5:51820") {
		t.Errorf("an endpoint that moves waits:\n%s", b)
	}
	if log := h.log.Take(); strings.Count(log, past) != 1 || !strings.Contains(log, past+": rename: file exists; until what was in force can be measured by, nothing of it goes") {
		t.Errorf("it is not said once:\n%s", log)
	}

	look(append(peers(3, 5), peers(7, 13)...)...)
	if n, s := h.kernel.peers("wg0"), h.status(t, "wg0"); n != 13 || len(s.Held) != 0 || len(s.Errors) != 1 {
		t.Errorf("%d peers, held %v, errors %q", n, s.Held, s.Errors)
	}
	for range 2 {
		if l := h.look(t, i, true); l.err == nil {
			t.Error("it is not tried again")
		}
	}
	if log := h.log.Take(); strings.Contains(log, past) {
		t.Errorf("it is said again:\n%s", log)
	}

	pass(time.Second)
	must(t, os.RemoveAll(past))
	if l := h.look(t, i, true); l.err != nil || h.kernel.peers("wg0") != 10 || len(h.status(t, "wg0").Errors) > 0 {
		t.Errorf("once it can be written: %v, %d peers", l.err, h.kernel.peers("wg0"))
	}
	if l := look(peers(8, 13)...); l.err != nil || h.status(t, "wg0").HeldWhy != "7 of 10 peers of the last 10m would go" {
		t.Errorf("what went before counts no more: %v, %q, held %v", l.err, h.status(t, "wg0").HeldWhy, h.status(t, "wg0").Held)
	}

	must(t, os.Remove(past))
	must(t, os.MkdirAll(filepath.Join(past, "in the way"), 0o700))
	look(peer(13))
	if s := h.status(t, "wg0"); h.kernel.peers("wg0") != 10 || len(s.Held) != 9 {
		t.Errorf("too much at once: %d peers, held %v", h.kernel.peers("wg0"), s.Held)
	}
	_, err := h.Accept(t.Context(), "wg0")
	must(t, err)
	if h.look(t, i, true); h.kernel.peers("wg0") != 1 {
		t.Errorf("accepted: %d peers", h.kernel.peers("wg0"))
	}
}

// What stands where the past should and could not have been written by us is of no use, and is replaced.
func TestAPastOfNoUse(t *testing.T) {
	for name, put := range map[string]func(t *testing.T, path string){
		"garbage":   func(t *testing.T, path string) { write(t, path, "\x00\xff{") },
		"cut short": func(t *testing.T, path string) { write(t, path, `[{"until":"2026-11-21T21:59:00Z","peers":[{"publ`) },
		"empty":     func(t *testing.T, path string) { write(t, path, "") },
		"a link":    func(t *testing.T, path string) { must(t, os.Symlink("/dev/zero", path)) },
		"a fifo":    func(t *testing.T, path string) { must(t, syscall.Mkfifo(path, 0o600)) },
		"a gigabyte": func(t *testing.T, path string) {
			write(t, path, "[]")
			must(t, os.Truncate(path, 1<<30))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, _, propose := housePast(t)
			propose(1, 20)
			put(t, filepath.Join(h.RunDir, "wg0.past"))
			if held := propose(11, 20); held != 0 {
				t.Errorf("%d held because %q", held, h.status(t, "wg0").HeldWhy)
			}
			if held := propose(12, 20); held != 1 {
				t.Errorf("nothing is measured any more: %d held", held)
			}
		})
	}
}

// An older version wrote the time of day.
func TestAPastOfAnotherClock(t *testing.T) {
	h, _, propose := housePast(t)
	propose(1, 20)
	propose(11, 20)
	h.clock = func() time.Time { return time.Unix(1000, 0) } // since the boot
	if held := propose(12, 20); held != 1 {
		t.Errorf("what went before is forgotten: %d held", held)
	}
}

func TestUptime(t *testing.T) {
	b, err := os.ReadFile("/proc/uptime")
	must(t, err)
	seconds, _, _ := strings.Cut(string(b), ".")
	since, err := time.ParseDuration(seconds + "s")
	must(t, err)
	if got := (Config{}).uptime().Sub(time.Unix(0, 0)); got < since || got > since+time.Hour {
		t.Errorf("%s, and the machine says %s", got, since)
	}
}

// A peer may have nearly all the prefixes there may be. What is held of it, is let go, or is accepted, keeps nobody busy.
func TestVeryManyPrefixesOfOnePeer(t *testing.T) {
	var all []netip.Prefix
	for n := range 400_000 { // more than that, so that what grows by the square does not end
		all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 32))
	}
	had, has := peer(1), peer(1)
	had.AllowedIPs, had.Held, has.AllowedIPs = all, time.Unix(1, 0), all[:1]
	held := []Held{{PublicKey: had.PublicKey, Prefixes: all[1:], Since: had.Held}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		d := draft{config: &wgquick.Config{Peers: []wgquick.Peer{had}}, held: held}
		if d.letGo("proposal"); len(d.refused) > 0 || len(d.held) != 1 {
			t.Errorf("refused: %q, %d held", d.refused, len(d.held))
		}
		rest, goes := accepted(&wgquick.Config{Peers: []wgquick.Peer{had}}, &wgquick.Config{Peers: []wgquick.Peer{has}}, held)
		if !goes || len(rest.Peers[0].AllowedIPs) != 1 {
			t.Errorf("accepted: %v, %d prefixes are left", goes, len(rest.Peers[0].AllowedIPs))
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("it takes a minute")
	}
}
