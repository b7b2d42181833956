package apply

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"wg-kube/templates/status"
	"wg-kube/templates/wgquick"
)

func TestFirstStartIsNoWarning(t *testing.T) {
	for name, c := range map[string]struct{ proposed, waitsFor []string }{
		"for a file":     {nil, []string{"etc", "wg0.conf"}},
		"for a proposal": {[]string{"wg0"}, []string{"proposals", "wg0.conf"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, c.proposed...)
			i := h.newIface("wg0", func() {})
			h.look(t, i, true)
			h.look(t, i, true)
			log := h.log.Take()
			if strings.Count(log, `level=INFO msg="waiting for a file"`) != 1 || !strings.Contains(log, strings.Join(c.waitsFor, "/")) {
				t.Errorf("not said, once, what is waited for:\n%s", log)
			}
			if strings.Contains(log, "level=WARN") {
				t.Errorf("a normal state is no warning:\n%s", log)
			}
		})
	}
}

// A folder that is gone keeps everything from being done. That is a fault like any other: told, counted, and said once.
func TestALockThatCannotBeHadIsToldOnce(t *testing.T) {
	h := newHouse(t)
	h.write(t, h.inForce("wg0"), byHand(t, peer(1)))
	l := newLoop(h.Config, "wg0")
	for l.state().last.steps == 0 { // until the file is quiet
		l.look(t.Context(), true)
	}
	h.log.Take()
	must(t, os.Rename(h.RunDir, h.RunDir+".old"))
	for range 3 {
		if got := l.look(t.Context(), true); got.err == nil {
			t.Fatal("no failure")
		}
	}
	if log := h.log.Take(); strings.Count(log, "wg0.lock: no such file or directory") != 1 {
		t.Errorf("not said once:\n%s", log)
	}
	if line := l.state().line(); !strings.HasPrefix(line, "error: ") {
		t.Errorf("the state is %q", line)
	}
	must(t, os.Rename(h.RunDir+".old", h.RunDir))
	l.look(t.Context(), true)
	if log, line := h.log.Take(), l.state().line(); log != "" || line != "1 peer" {
		t.Errorf("when it is back: %q\n%s", line, log)
	}
}

func TestHeldLine(t *testing.T) {
	prefixes := peer(1).AllowedIPs
	for want, held := range map[string][]Held{
		"kept: 1 peer;":               {{}},
		"kept: 2 peers;":              {{}, {}},
		"kept: 1 prefix;":             {{Prefixes: prefixes[:1]}},
		"kept: 1 peer and 2 prefixes": {{}, {Prefixes: prefixes[:1]}, {Prefixes: prefixes[:1]}},
	} {
		if got := heldLine(status.Status{Interface: "wg0", Held: held}); !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	why := status.Status{Interface: "wg0", Held: make([]Held, 600), HeldWhy: "600 of 1000 peers of the last 10m would go"}
	if got, want := heldLine(why), "600 of 1000 peers of the last 10m would go; no longer in the proposal, and kept: 600 peers; let go by: wg-apply accept wg0"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// What takes the place of a peer is told, by both names and both keys.
func TestReplacedPeersAreNamed(t *testing.T) {
	hub := func(name string, k int, prefixes ...int) wgquick.Peer {
		p := peer(k, prefixes...)
		p.Origin.Name = name
		return p
	}
	was := hub("hub", 1, 1, 2)
	for _, tt := range []struct {
		name    string
		was, is []wgquick.Peer
		want    []string
	}{
		{"the only hub has a new key", []wgquick.Peer{was}, []wgquick.Peer{hub("hub", 9, 1, 2)}, []string{"hub 1 by hub 9"}},
		{"another has its place", []wgquick.Peer{was}, []wgquick.Peer{hub("thief", 9, 1, 2)}, []string{"hub 1 by thief 9"}},
		{"a part of it", []wgquick.Peer{was, peer(3)}, []wgquick.Peer{peer(3), hub("thief", 9, 2)}, []string{"hub 1 by thief 9"}},
		{"another is there instead, for other prefixes", []wgquick.Peer{was}, []wgquick.Peer{hub("thief", 9, 7)}, []string{"hub 1 by thief 9"}},
		{"its name counts before its prefixes", []wgquick.Peer{was}, []wgquick.Peer{hub("a", 8, 1, 2), hub("hub", 9, 3)}, []string{"hub 1 by hub 9"}},
		{"all have new keys", peers(1, 3), []wgquick.Peer{hub("node-01", 11), hub("node-02", 12), hub("node-03", 13)},
			[]string{"node-01 1 by node-01 11", "node-02 2 by node-02 12", "node-03 3 by node-03 13"}},
		{"one goes, and one comes", peers(1, 3), []wgquick.Peer{peer(1), peer(2), peer(4)}, nil},
		{"prefixes move between those who stay", []wgquick.Peer{was, peer(3)}, []wgquick.Peer{hub("hub", 1, 2), peer(3, 1, 3)}, nil},
		{"nobody is left", []wgquick.Peer{was}, nil, nil},
		{"the first ones come", nil, peers(1, 3), nil},
	} {
		if got := inWords(replaced(tt.was, tt.is)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}

	h := newHouse(t, "wg0")
	i := h.newIface("wg0", func() {})
	h.write(t, h.proposal("wg0"), renderedOf(t, was))
	h.look(t, i, true)
	if log := h.log.Take(); strings.Contains(log, "replaced") {
		t.Errorf("a first hub:\n%s", log)
	}
	h.write(t, h.proposal("wg0"), renderedOf(t, hub("thief", 9, 1, 2)))
	h.look(t, i, true)
	want := fmt.Sprintf(`level=WARN msg=replaced iface=wg0 peer="Node/hub %s" by="Node/thief %s"`, key(1), key(9))
	if log := h.log.Take(); strings.Count(log, want) != 1 {
		t.Errorf("no line has %s:\n%s", want, log)
	}
	if h.look(t, i, true); h.log.Take() != "" {
		t.Error("it is said again")
	}
}

// inWords is what would be said of them.
func inWords(pairs [][2]*wgquick.Peer) (lines []string) {
	for _, r := range pairs {
		lines = append(lines, fmt.Sprintf("%s %d by %s %d", r[0].Origin.Name, r[0].PublicKey[3], r[1].Origin.Name, r[1].PublicKey[3]))
	}
	return lines
}

// So is whoever takes prefixes of those who stay, or all of them at once: no guard holds that.
func TestPrefixesTakenOverAreTold(t *testing.T) {
	bare := func(from, to int) (out []wgquick.Peer) {
		for _, p := range peers(from, to) {
			p.AllowedIPs = nil
			out = append(out, p)
		}
		return out
	}
	for _, tt := range []struct {
		name    string
		was, is []wgquick.Peer
		want    []string
	}{
		{"a newcomer has all", peers(1, 2), append(bare(1, 2), peer(9, 1, 2)), []string{"node-01 1 by node-09 9", "node-02 2 by node-09 9"}},
		{"one who was there has all", peers(1, 3), append(bare(1, 2), peer(3, 1, 2, 3)), []string{"node-01 1 by node-03 3", "node-02 2 by node-03 3"}},
		{"one of two", []wgquick.Peer{peer(1, 1, 2), peer(3)}, []wgquick.Peer{peer(1), peer(3, 2, 3)}, []string{"node-01 1 by node-03 3"}},
		{"of one who is gone", peers(1, 2), []wgquick.Peer{peer(2, 1, 2)}, []string{"node-01 1 by node-02 2"}},
		{"of one who is gone, by a newcomer: replaced", peers(1, 2), []wgquick.Peer{peer(2), peer(9, 1)}, nil},
		{"they change places", []wgquick.Peer{peer(1, 1), peer(2, 2)}, []wgquick.Peer{peer(1, 2), peer(2, 1)},
			[]string{"node-01 1 by node-02 2", "node-02 2 by node-01 1"}},
		{"one comes and one goes", peers(1, 3), []wgquick.Peer{peer(1), peer(2), peer(4)}, nil},
		{"more and less of their own", []wgquick.Peer{peer(1, 1, 2), peer(2, 3)}, []wgquick.Peer{peer(1, 1), peer(2, 3, 4)}, nil},
	} {
		if got := inWords(robbed(tt.was, tt.is)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}

	h := newHouse(t, "wg0")
	i := h.newIface("wg0", func() {})
	h.write(t, h.proposal("wg0"), rendered(t, numbers(1, 60)...))
	h.look(t, i, true)
	h.log.Take()
	h.write(t, h.proposal("wg0"), renderedOf(t, append(bare(1, 60), peer(99, numbers(1, 60)...))...))
	h.look(t, i, true)
	log := h.log.Take()
	for _, want := range []string{
		fmt.Sprintf(`level=WARN msg="prefixes taken over" iface=wg0 peer="Node/node-07 %s" by="Node/node-99 %s"`, key(7), key(99)),
		`level=WARN msg="prefixes taken over" iface=wg0 op="... and 20 more"`,
	} {
		if strings.Count(log, want) != 1 {
			t.Errorf("no line has %s:\n%s", want, log)
		}
	}
}

func TestPreviewSaysWhatIsHeld(t *testing.T) {
	h := newHouse(t, "wg0")
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2, 3, 4, 5, 6))
	must(t, h.Once(t.Context(), "wg0"))
	h.write(t, h.proposal("wg0"), rendered(t, 1))
	must(t, h.Once(t.Context(), "wg0"))
	for _, proposed := range [][]string{{"wg0"}, nil} { // whoever asks need not say so
		h.Proposed = proposed
		p, err := h.Preview(t.Context(), "wg0")
		must(t, err)
		if got := p.String(); !p.Empty() || strings.Count(got, "\n") != 6 ||
			!strings.HasPrefix(got, "# held: 5 of 6 peers at once would go\n# held: Node/node-02 since 20") || !strings.Contains(got, "Z; let go by: wg-apply accept wg0\n") {
			t.Errorf("proposed %q:\n%s", proposed, got)
		}
	}
}

func TestLineOfTheServiceManager(t *testing.T) {
	inUse := status.Status{InForce: "sha256:1", Applied: "sha256:1"}
	with := func(s status.Status, change func(s *status.Status)) status.Status { change(&s); return s }
	for _, tt := range []struct {
		status status.Status
		peers  int
		want   string
	}{
		{inUse, 1, "1 peer"},
		{with(inUse, func(s *status.Status) { s.Held = make([]Held, 2) }), 7, "7 peers, 2 held"},
		{with(inUse, func(s *status.Status) { s.Refused = []string{"a.conf:7: no", "more"} }), 2, "2 peers, 2 refused: a.conf:7: no"},
		{with(inUse, func(s *status.Status) { s.Applied, s.Refused = "sha256:0", []string{"a.conf:7: no"} }), 2, "refused: a.conf:7: no"},
		{status.Status{}, 0, "waiting for a file"},
	} {
		if got := (state{looked: true, last: look{status: tt.status, peers: tt.peers}}).line(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
