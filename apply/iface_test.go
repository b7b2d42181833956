package apply

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"wg-kube/apply/plan"
	"wg-kube/templates/wgquick"
)

func TestLookAppliesAFileMadeByHand(t *testing.T) {
	h := newHouse(t)
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 3)...))
	i := h.newIface("wg0", func() {})
	if l := h.look(t, i, true); l.err != nil || l.drift || h.kernel.peers("wg0") != 3 {
		t.Fatalf("%+v, %d peers", l, h.kernel.peers("wg0"))
	}
	s := h.status(t, "wg0")
	if s.Applied == "" || s.Applied != s.InForce || s.PublicKey != config().Interface.PrivateKey.Public() {
		t.Errorf("status: %+v", s)
	}
	h.kernel.sent()
	h.log.Take()
	if h.look(t, i, true); h.kernel.sent() != "" || h.log.Take() != "" {
		t.Error("at rest there is silence")
	}
	if h.look(t, h.newIface("wg0", func() {}), true); h.kernel.sent() != "" || h.log.Take() != "" {
		t.Error("after a restart there is silence too")
	}
	looked := h.kernel.looked["wg0"]
	if h.look(t, i, false); h.kernel.looked["wg0"] != looked {
		t.Error("a file that has not changed costs no look at the device")
	}

	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 4)...))
	l := h.look(t, i, false)
	if got := h.kernel.sent(); l.drift || strings.Count(got, "\n") != 2 || !strings.Contains(got, "10.0.0.4/32") {
		t.Errorf("one peer more is a peer and a route, no drift: %v\n%s", l.drift, got)
	}
	if !strings.Contains(h.log.Take(), "msg=changed") {
		t.Error("a change is logged as one")
	}
}

func TestLookRepairsDrift(t *testing.T) {
	h := newHouse(t)
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 3)...))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	h.log.Take()
	h.kernel.change("wg0", func(l *plan.Live) { l.Peers = l.Peers[:2] })
	if l := h.look(t, i, true); !l.drift || h.kernel.peers("wg0") != 3 {
		t.Errorf("not repaired: %+v", l)
	}
	if log := h.log.Take(); !strings.Contains(log, "msg=drift") || !strings.Contains(log, "op=") {
		t.Errorf("not logged as drift:\n%s", log)
	}
}

func TestLookPromotes(t *testing.T) {
	h := newHouse(t, "wg0")
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	public := h.status(t, "wg0").PublicKey
	if public.IsZero() {
		t.Fatal("an interface that takes proposals has a key before it has a file")
	}
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2))
	if l := h.look(t, i, false); l.err != nil || h.kernel.peers("wg0") != 2 {
		t.Fatalf("%+v", l)
	}
	if got := mode(t, h.inForce("wg0")); got != 0o600 {
		t.Errorf("mode %o", got)
	}
	b, err := os.ReadFile(h.inForce("wg0"))
	must(t, err)
	c, err := wgquick.Parse("wg0.conf", b)
	must(t, err)
	if !Ours(c) || !c.End || c.Interface.PrivateKey.Public() != public {
		t.Errorf("the file in force:\n%s", b)
	}
	before, err := os.Stat(h.inForce("wg0"))
	must(t, err)
	h.look(t, i, true)
	h.look(t, h.newIface("wg0", func() {}), true)
	if after, _ := os.Stat(h.inForce("wg0")); !os.SameFile(before, after) {
		t.Error("the same proposal is written twice")
	}
	if h.status(t, "wg0").PublicKey != public {
		t.Error("the key has changed")
	}

	h.kernel.sent()
	comments := strings.Replace(rendered(t, 1, 2), "For the hub test.", "For the hub, still.", 1)
	c, err = wgquick.Parse("x", []byte(comments))
	must(t, err)
	c.End = true
	b, err = c.Marshal()
	must(t, err)
	h.write(t, h.proposal("wg0"), string(b))
	h.look(t, i, false)
	if b, _ := os.ReadFile(h.inForce("wg0")); !strings.Contains(string(b), "still") || h.kernel.sent() != "" {
		t.Error("new comments are written, and do not touch the device")
	}
}

func TestLookHoldsUntilAccept(t *testing.T) {
	h := newHouse(t, "wg0")
	i := h.newIface("wg0", func() {})
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2, 3, 4, 5, 6))
	h.look(t, i, true)
	h.log.Take()
	h.write(t, h.proposal("wg0"), rendered(t, 1, 9))
	h.look(t, i, false)
	if h.kernel.peers("wg0") != 7 {
		t.Errorf("%d peers: the new one comes, the others wait", h.kernel.peers("wg0"))
	}
	s := h.status(t, "wg0")
	if len(s.Held) != 5 || s.Held[0].Peer != "Node/node-02" {
		t.Errorf("held: %+v", s.Held)
	}
	if log := h.log.Take(); strings.Count(log, "wg-apply accept wg0") != 1 {
		t.Errorf("one line names the command:\n%s", log)
	}
	if h.look(t, i, true); h.log.Take() != "" || len(h.status(t, "wg0").Held) != 5 {
		t.Error("what is held is said once, and stays held")
	}
	if h.look(t, h.newIface("wg0", func() {}), true); len(h.status(t, "wg0").Held) != 5 {
		t.Error("after a restart it is held no more")
	}

	said, err := h.Accept(t.Context(), "wg0")
	if err != nil || strings.Count(strings.Join(said, "\n"), "  - ") != 5 {
		t.Errorf("accept: %v %q", err, said)
	}
	h.look(t, i, false)
	if h.kernel.peers("wg0") != 2 || len(h.status(t, "wg0").Held) != 0 {
		t.Errorf("%d peers after accept, %d held", h.kernel.peers("wg0"), len(h.status(t, "wg0").Held))
	}
}

// A proposal that came while the kernel could not tell what there is has no fault: it is tried again by itself.
func TestLookAgainWhereTheMachineIsNotSeen(t *testing.T) {
	h := newHouse(t, "wg0")
	i := h.newIface("wg0", func() {})
	h.write(t, h.proposal("wg0"), rendered(t, 1))
	h.look(t, i, true)
	h.kernel.unseen = errors.New("a dump is torn")
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2))
	if l := h.look(t, i, false); l.err == nil || len(l.status.Refused) > 0 || !slices.Equal(l.status.Errors, []string{"a dump is torn"}) {
		t.Errorf("%v: refused: %q, errors: %q", l.err, l.status.Refused, l.status.Errors)
	}
	h.kernel.unseen = nil
	if l := h.look(t, i, true); l.err != nil || h.kernel.peers("wg0") != 2 {
		t.Errorf("%v: %d peers", l.err, h.kernel.peers("wg0"))
	}
}

func TestLookNeverOverwritesAFileMadeByHand(t *testing.T) {
	h := newHouse(t, "wg0")
	hand := byHand(t, peers(1, 1)...)
	h.write(t, h.inForce("wg0"), hand)
	h.write(t, h.proposal("wg0"), rendered(t, 2))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	if b, _ := os.ReadFile(h.inForce("wg0")); string(b) != hand {
		t.Error("overwritten")
	}
	s := h.status(t, "wg0")
	if h.kernel.peers("wg0") != 1 || len(s.Refused) != 1 || !strings.Contains(s.Refused[0], "made by hand") {
		t.Errorf("refused: %q", s.Refused)
	}
	if _, err := h.Accept(t.Context(), "wg0"); err == nil {
		t.Error("accept overwrites it")
	}
}

// Nor one that a person writes while the proposal is being compared with what was there before: that may take as long as
// a resolver does.
func TestNoFileMadeByHandMeanwhileIsOverwritten(t *testing.T) {
	hand := byHand(t, peers(1, 7)...)
	for name, command := range map[string]func(h *house) error{
		"once":   func(h *house) error { return h.Once(t.Context(), "wg0") },
		"accept": func(h *house) error { _, err := h.Accept(t.Context(), "wg0"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, "wg0")
			h.write(t, h.proposal("wg0"), rendered(t, 1))
			i := h.newIface("wg0", func() {})
			h.look(t, i, true)
			h.write(t, h.proposal("wg0"), rendered(t, 1, 2))
			h.kernel.asked = sync.OnceFunc(func() { h.write(t, h.inForce("wg0"), hand) })
			if err := command(h); err == nil || !strings.Contains(err.Error(), "not written") {
				t.Errorf("it says: %v", err)
			}
			h.look(t, i, true)
			if b, _ := os.ReadFile(h.inForce("wg0")); string(b) != hand || h.kernel.peers("wg0") != 7 {
				t.Errorf("%d peers, and the file is:\n%s", h.kernel.peers("wg0"), b)
			}
		})
	}
}

func TestLookKeepsWhatWorked(t *testing.T) {
	for name, broken := range map[string]string{
		"an unknown key":    "[Interface]\nAddress = 10.9.0.1/24\nColour = blue\n",
		"a prefix too long": "[Interface]\n\n[Peer]\nPublicKey = rSf/Xt9xxgvIFPXJ9vQ5cUWrsrwjR4xnjAWcwPzeQBE=\nAllowedIPs = 10.0.0.0/33\n",
		"not a text":        "\x7fELF\x00\x01",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, "wg1")
			h.write(t, h.inForce("wg0"), byHand(t, peers(1, 2)...))
			h.write(t, h.proposal("wg1"), rendered(t, 1, 2))
			wg0, wg1 := h.newIface("wg0", func() {}), h.newIface("wg1", func() {})
			h.look(t, wg0, true)
			h.look(t, wg1, true)
			h.kernel.sent()
			h.log.Take()

			h.write(t, h.inForce("wg0"), broken)
			h.write(t, h.proposal("wg1"), broken)
			for range 2 {
				h.look(t, wg0, true)
				h.look(t, wg1, true)
			}
			if got := h.kernel.sent(); got != "" {
				t.Errorf("a broken file changes the device:\n%s", got)
			}
			for iface, path := range map[string]string{"wg0": h.inForce("wg0"), "wg1": h.proposal("wg1")} {
				s := h.status(t, iface)
				if len(s.Refused) == 0 || !strings.HasPrefix(s.Refused[0], path+":") {
					t.Errorf("%s: refused: %q", iface, s.Refused)
				}
			}
			if log := h.log.Take(); strings.Count(log, h.inForce("wg0")+":") != 1 {
				t.Errorf("a fault is logged once:\n%s", log)
			}
			h.write(t, h.inForce("wg0"), byHand(t, peers(1, 3)...))
			h.look(t, wg0, false)
			if h.kernel.peers("wg0") != 3 || len(h.status(t, "wg0").Refused) != 0 {
				t.Error("the next good file is not applied")
			}
		})
	}
}

func TestLookWhenTheFileIsGone(t *testing.T) {
	h := newHouse(t)
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 2)...))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	must(t, os.Remove(h.inForce("wg0")))
	if l := h.look(t, i, false); l.again == 0 {
		t.Error("an editor may be about to put it back")
	}
	time.Sleep(2 * h.Settle)
	h.look(t, i, false)
	s := h.status(t, "wg0")
	if h.kernel.peers("wg0") != 2 || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "gone") {
		t.Errorf("%d peers, %q", h.kernel.peers("wg0"), s.Warnings)
	}
	i.GoneAfter = 10 * time.Millisecond
	l := h.look(t, i, false)
	time.Sleep(l.again)
	h.look(t, i, false)
	if live, _ := h.kernel.Observe(t.Context(), "wg0"); live.Exists {
		t.Error("--gone-after does not take it down")
	}
}

func TestDown(t *testing.T) {
	h := newHouse(t)
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 2)...))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	must(t, h.Down(t.Context(), "wg0"))
	h.look(t, i, true)
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 3)...))
	h.look(t, i, true)
	if live, _ := h.kernel.Observe(t.Context(), "wg0"); live.Exists {
		t.Error("it does not stay down")
	}
	must(t, h.Once(t.Context(), "wg0"))
	if h.kernel.peers("wg0") != 3 {
		t.Error("once does not bring it up again")
	}
	if err := h.Down(t.Context(), "nosuch"); err == nil {
		t.Error("something that is not there is taken down")
	}
}

func TestOnce(t *testing.T) {
	h := newHouse(t)
	if err := h.Once(t.Context(), "wg0"); err == nil || !strings.Contains(err.Error(), "no such file; with --proposed wg0") {
		t.Errorf("without a file: %v", err)
	}
	if _, err := h.Accept(t.Context(), "wg0"); err == nil || !strings.Contains(err.Error(), "there is no such proposal") {
		t.Errorf("without a proposal: %v", err)
	}
	waits := h.Config
	waits.Proposed = []string{"wg0"}
	if err := waits.Once(t.Context(), "wg0"); err == nil || !strings.Contains(err.Error(), "nor the proposal that would make it") {
		t.Errorf("without a file and a proposal: %v", err)
	}
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 2)...))
	must(t, h.Once(t.Context(), "wg0"))
	h.kernel.sent()
	must(t, h.Once(t.Context(), "wg0"))
	if got := h.kernel.sent(); got != "" {
		t.Errorf("the second time it sends:\n%s", got)
	}
	h.kernel.fail["wg0"] = errors.New("no buffer space")
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 3)...))
	if err := h.Once(t.Context(), "wg0"); err == nil || !strings.Contains(err.Error(), "no buffer space") {
		t.Errorf("a kernel that fails: %v", err)
	}
}

func TestPreviewChangesNothing(t *testing.T) {
	h := newHouse(t, "wg0")
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2))
	tree := func() (all string) {
		must(t, filepath.Walk(filepath.Dir(h.Dir), func(path string, fi os.FileInfo, err error) error {
			all += path + " " + fi.Mode().String() + " " + fi.ModTime().String() + "\n"
			return err
		}))
		return all
	}
	before := tree()
	p, err := h.Preview(t.Context(), "wg0")
	must(t, err)
	for _, want := range []string{"a private key is made", "+ [Peer] Node/node-01", "\nip link add", "\nwg set wg0 peer"} {
		if !strings.Contains(p.String(), want) {
			t.Errorf("the preview lacks %q:\n%s", want, p)
		}
	}
	if tree() != before || h.kernel.sent() != "" {
		t.Error("looking ahead changes something")
	}
	must(t, h.Once(t.Context(), "wg0"))
	if p, err = h.Preview(t.Context(), "wg0"); err != nil || !p.Empty() {
		t.Errorf("after once there is nothing to do: %v\n%s", err, p)
	}
	h.write(t, h.proposal("wg0"), rendered(t, 2, 3))
	if p, err = h.Preview(t.Context(), "wg0"); err != nil || p.Empty() {
		t.Fatal(err)
	}
	for _, want := range []string{"  - [Peer] Node/node-01", "  + [Peer] Node/node-03"} {
		if !strings.Contains(p.String(), want) {
			t.Errorf("the preview lacks %q:\n%s", want, p)
		}
	}
}

func TestKeygen(t *testing.T) {
	h := newHouse(t)
	first, err := h.Keygen(t.Context(), "wg0", "")
	must(t, err)
	if again, err := h.Keygen(t.Context(), "wg0", ""); err != nil || again != first || h.status(t, "wg0").PublicKey != first {
		t.Errorf("the second time it is %v, %v", again, err)
	}
	mine, err := wgquick.NewPrivateKey()
	must(t, err)
	file := filepath.Join(t.TempDir(), "key")
	write(t, file, mine.Reveal()+"\n")
	if got, err := h.Keygen(t.Context(), "wg0", file); err != nil || got != mine.Public() || h.status(t, "wg0").PublicKey != got {
		t.Errorf("imported: %v, %v", got, err)
	}
	h.Proposed = []string{"wg0"}
	h.write(t, h.proposal("wg0"), rendered(t, 1))
	must(t, h.Once(t.Context(), "wg0"))
	b, err := os.ReadFile(h.inForce("wg0"))
	if err != nil || !strings.Contains(string(b), mine.Reveal()) {
		t.Error("the imported key is not the one in force")
	}
	other, err := wgquick.NewPrivateKey()
	must(t, err)
	write(t, file, other.Reveal())
	if _, err := h.Keygen(t.Context(), "wg0", file); err == nil || strings.Contains(err.Error(), other.Reveal()) {
		t.Errorf("a key beside the one in force: %v", err)
	}
	h.write(t, h.inForce("wg0"), "[Interface")
	if got, err := h.Keygen(t.Context(), "wg0", ""); err == nil || !got.IsZero() {
		t.Errorf("the key is in a file that cannot be read: %v, %v", got, err)
	}
	if _, err := h.Keygen(t.Context(), "wg1", "/nonexistent"); err == nil || !strings.HasPrefix(err.Error(), "--import: /nonexistent: ") {
		t.Errorf("no such key: %v", err)
	}
}

// unprivileged is a kernel that shows no interface to who has no privilege.
type unprivileged struct{ System }

func (unprivileged) Observe(context.Context, string) (plan.Live, error) {
	return plan.Live{}, unix.EPERM
}

func TestKeygenAsksTheDevice(t *testing.T) {
	h := newHouse(t, "wg0")
	h.write(t, h.proposal("wg0"), rendered(t, 1))
	must(t, h.Once(t.Context(), "wg0"))
	was := h.status(t, "wg0").PublicKey
	must(t, os.RemoveAll(h.Dir))
	must(t, h.prepare())
	hidden, none := h.Config, h.Config
	hidden.System, none.System = unprivileged{h.kernel}, nil
	if _, err := hidden.Keygen(t.Context(), "wg0", ""); !errors.Is(err, unix.EPERM) || isThere(h.Keys("wg0").Dir) {
		t.Errorf("the published key is replaced by who cannot see whether the device has it: %v", err)
	}
	if got, err := h.Keygen(t.Context(), "wg0", ""); err != nil || got != was {
		t.Errorf("not the key of the device: %v, %v", got, err)
	}
	for name, c := range map[string]Config{"wg1": hidden, "wg2": none} {
		if got, err := c.Keygen(t.Context(), name, ""); err != nil || got.IsZero() || got == was {
			t.Errorf("%s, the first key: %v, %v", name, got, err)
		}
	}
}

func TestPrivateKeyFileIsWaitedFor(t *testing.T) {
	h := newHouse(t, "wg0")
	h.PrivateKeyFile = filepath.Join(t.TempDir(), "key")
	h.write(t, h.proposal("wg0"), rendered(t, 1))
	i := h.newIface("wg0", func() {})
	if l := h.look(t, i, true); l.err == nil || !h.status(t, "wg0").PublicKey.IsZero() {
		t.Errorf("a key was made: %+v", l)
	}
	mine, err := wgquick.NewPrivateKey()
	must(t, err)
	write(t, h.PrivateKeyFile, mine.Reveal())
	if h.look(t, i, false); h.status(t, "wg0").PublicKey != mine.Public() || h.kernel.peers("wg0") != 1 {
		t.Error("the key is there and not taken")
	}
}

func TestEndpoints(t *testing.T) {
	h := newHouse(t)
	at := func(s string) wgquick.Peer {
		p := peer(1)
		p.Endpoint = wgquick.EndpointOf(netip.MustParseAddrPort(s))
		return p
	}
	roamed := netip.MustParseAddrPort("192.0.2.9:9")
	h.write(t, h.inForce("wg0"), byHand(t, at("192.0.2.1:1"), peer(2)))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	h.kernel.change("wg0", func(l *plan.Live) {
		for n := range l.Peers {
			l.Peers[n].Endpoint, l.Peers[n].LastHandshake = roamed, time.Now()
		}
	})
	h.kernel.sent()
	if h.look(t, i, true); h.kernel.sent() != "" {
		t.Error("a roamed endpoint is left alone")
	}
	if s := h.status(t, "wg0"); len(s.Peers) != 2 || s.Peers[0].Roamed != roamed || s.Peers[0].Asked.String() != "192.0.2.1:1" {
		t.Errorf("remembered: %+v", s.Peers)
	}

	must(t, h.kernel.Delete(t.Context(), "wg0"))
	if h.look(t, h.newIface("wg0", func() {}), true); strings.Count(h.kernel.sent(), "endpoint "+roamed.String()) != 2 {
		t.Error("a new link goes to where the peers were last seen")
	}
	if h.look(t, i, true); h.kernel.sent() != "" {
		t.Error("and stays there")
	}
	h.write(t, h.inForce("wg0"), byHand(t, at("192.0.2.2:2"), peer(2)))
	if h.look(t, i, true); !strings.Contains(h.kernel.sent(), "endpoint 192.0.2.2:2") {
		t.Error("another endpoint in the file is not set")
	}
}

func TestTalkersAreGreeted(t *testing.T) {
	h := newHouse(t)
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 3)...))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	h.kernel.change("wg0", func(l *plan.Live) {
		for n := range l.Peers { // the third was never heard of
			if n < 2 {
				l.Peers[n].Endpoint, l.Peers[n].LastHandshake = netip.MustParseAddrPort("192.0.2.9:9"), time.Now()
			}
		}
		l.Peers[1].LastHandshake = time.Now().Add(-time.Hour)
	})
	h.look(t, i, true)
	for _, c := range []struct {
		who   string
		iface *iface
		want  int
	}{
		{"the one that was talking", i, 1},
		{"those that have roamed, when we were not there", h.newIface("wg0", func() {}), 2},
	} {
		must(t, h.kernel.Delete(t.Context(), "wg0"))
		h.kernel.sent()
		if h.look(t, c.iface, true); strings.Count(h.kernel.sent(), "; wg set") != c.want {
			t.Errorf("%s: %d are to be greeted", c.who, c.want)
		}
		h.kernel.change("wg0", func(l *plan.Live) {
			l.Peers[0].Endpoint, l.Peers[1].Endpoint = netip.MustParseAddrPort("192.0.2.9:9"), netip.MustParseAddrPort("192.0.2.9:9")
		})
	}
}

// What is known of who talks goes with the peer, and not with the device.
func TestWhoTalksIsForgottenWithThePeer(t *testing.T) {
	h := newHouse(t)
	i := h.newIface("wg0", func() {})
	for n := 1; n <= 20; n++ { // the first stays, the others come and go
		h.write(t, h.inForce("wg0"), byHand(t, peer(1), peer(n+1)))
		h.look(t, i, true)
		h.look(t, i, true)
		if n == 1 {
			h.kernel.change("wg0", func(l *plan.Live) { l.Peers[0].RxBytes = 7 })
		}
	}
	if len(i.quiet) != 2 || i.quiet[key(1)].rx != 7 {
		t.Errorf("%d are known: %v", len(i.quiet), i.quiet)
	}
	must(t, h.kernel.Delete(t.Context(), "wg0"))
	h.kernel.fail["wg0"] = errors.New("not yet")
	if h.look(t, i, true); len(i.quiet) != 2 {
		t.Errorf("with the device %d are forgotten", 2-len(i.quiet))
	}
}

func TestHooksAreNotRun(t *testing.T) {
	h := newHouse(t)
	touched := filepath.Join(t.TempDir(), "touched")
	h.write(t, h.inForce("wg0"), strings.Replace(byHand(t), "[Interface]\n", "[Interface]\nPostUp = touch "+touched+"\nDNS = 1.1.1.1\n", 1))
	h.look(t, h.newIface("wg0", func() {}), true)
	if _, err := os.Stat(touched); err == nil {
		t.Error("PostUp was run")
	}
	if w := strings.Join(h.status(t, "wg0").Warnings, "\n"); !strings.Contains(w, "PostUp is not run") || !strings.Contains(w, "DNS is not set") {
		t.Errorf("warnings: %s", w)
	}
}

func TestLookGoesByWhatOtherCommandsDid(t *testing.T) {
	h := newHouse(t, "wg0")
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	mine, err := wgquick.NewPrivateKey()
	must(t, err)
	file := filepath.Join(t.TempDir(), "key")
	write(t, file, mine.Reveal())
	_, err = h.Keygen(t.Context(), "wg0", file)
	must(t, err)
	if h.look(t, i, true); h.status(t, "wg0").PublicKey != mine.Public() {
		t.Error("a daemon that runs goes back to the key that it made")
	}
	h.write(t, h.proposal("wg0"), rendered(t, 1))
	must(t, h.Once(t.Context(), "wg0"))
	h.kernel.sent()
	if l := h.look(t, i, true); h.kernel.sent() != "" || l.drift {
		t.Error("what once did is done again")
	}
}

func TestLookThatIsTooLate(t *testing.T) {
	h := newHouse(t, "wg0")
	i := h.newIface("wg0", func() {})
	h.write(t, h.proposal("wg0"), rendered(t, 1))
	h.look(t, i, true)
	before := h.status(t, "wg0")
	h.log.Take()
	h.kernel.sent()
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	i.look(ctx, true)
	if b, _ := os.ReadFile(h.inForce("wg0")); strings.Contains(string(b), "10.0.0.2") || h.kernel.sent() != "" || h.log.Take() != "" {
		t.Error("something is done after the end")
	}
	if d := cmp.Diff(before, h.status(t, "wg0"), cmpopts.EquateComparable(netip.AddrPort{})); d != "" {
		t.Errorf("the status has changed:\n%s", d)
	}
}

func TestLookThatIsStopped(t *testing.T) {
	h := newHouse(t, "wg0")
	h.write(t, h.proposal("wg0"), rendered(t, 1))
	h.look(t, h.newIface("wg0", func() {}), true)
	before := h.status(t, "wg0")
	h.log.Take()
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2))
	ctx, cancel := context.WithCancel(t.Context())
	h.kernel.asked = cancel // the end comes while the machine is asked about the proposal
	h.newIface("wg0", func() {}).look(ctx, true)
	if log := h.log.Take(); log != "" {
		t.Errorf("log:\n%s", log)
	}
	if d := cmp.Diff(before, h.status(t, "wg0"), cmpopts.EquateComparable(netip.AddrPort{})); d != "" {
		t.Errorf("the status has changed:\n%s", d)
	}
	h.kernel.asked = nil
	if h.look(t, h.newIface("wg0", func() {}), true); h.kernel.peers("wg0") != 2 {
		t.Error("the next one does not go on")
	}
}

func TestLeftoversOfAKill(t *testing.T) {
	h := newHouse(t, "wg0")
	h.write(t, h.proposal("wg0"), rendered(t, 1))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	left := []string{filepath.Join(h.Dir, ".wg0.conf1234567890123456789"), filepath.Join(h.Keys("wg0").Dir, ".0123456789abcdef.key1234567890123456789")}
	other := filepath.Join(h.Dir, ".wg1.conf1234567890123456789")
	for _, path := range append(left, other) {
		write(t, path, "PrivateKey")
	}
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2))
	if h.look(t, i, true); isThere(left[0]) {
		t.Error("it is left by the next write")
	}
	write(t, left[0], "PrivateKey")
	h.look(t, h.newIface("wg0", func() {}), true)
	for _, path := range left {
		if isThere(path) {
			t.Errorf("%s is left by the next start", path)
		}
	}
	if !isThere(other) {
		t.Error("that of another interface, which is not locked, is gone")
	}
}

func TestALinkAtThePathStays(t *testing.T) {
	h := newHouse(t, "wg0")
	i := h.newIface("wg0", func() {})
	to := filepath.Join(t.TempDir(), "wg0.conf")
	must(t, os.Symlink(to, h.inForce("wg0")))
	h.write(t, h.proposal("wg0"), rendered(t, 1))
	h.look(t, i, true)
	want := h.inForce("wg0") + ": a link to " + to + ", where nothing is: not written."
	if s := h.status(t, "wg0"); len(s.Refused) != 1 || !strings.HasPrefix(s.Refused[0], want) {
		t.Errorf("refused: %q", s.Refused)
	}
	if got, err := os.Readlink(h.inForce("wg0")); err != nil || got != to {
		t.Errorf("the link is %q, %v", got, err)
	}
	must(t, os.Remove(h.inForce("wg0")))
	h.look(t, i, true)
	must(t, os.Rename(h.inForce("wg0"), to))
	must(t, os.Symlink(to, h.inForce("wg0")))
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2))
	h.look(t, i, true)
	if got, err := os.Readlink(h.inForce("wg0")); err != nil || got != to || h.kernel.peers("wg0") != 2 {
		t.Errorf("the link is %q, %v; %d peers", got, err, h.kernel.peers("wg0"))
	}
}

// A status that cannot be written keeps no proposal from being in force, and is said once.
func TestAStatusThatCannotBeWritten(t *testing.T) {
	h := newHouse(t, "wg0")
	must(t, os.MkdirAll(filepath.Join(h.statusFile("wg0"), "in the way"), 0o700))
	i := h.newIface("wg0", func() {})
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2))
	for range 3 {
		if l := h.look(t, i, true); l.err == nil || h.kernel.peers("wg0") != 2 {
			t.Errorf("%v, %d peers", l.err, h.kernel.peers("wg0"))
		}
	}
	if log := h.log.Take(); strings.Count(log, "the status is not written") != 1 {
		t.Errorf("it is not said once:\n%s", log)
	}
	must(t, os.RemoveAll(h.statusFile("wg0")))
	if l := h.look(t, i, true); l.err != nil || h.status(t, "wg0").Applied == "" {
		t.Errorf("%v, %+v", l.err, h.status(t, "wg0"))
	}
}

// What could not be written is known all the same: what the file asked for is not asked for at each look, and what
// somebody else changes is no work of ours.
func TestWhatCannotBeWrittenIsKnown(t *testing.T) {
	h := newHouse(t)
	at := func(s string) string {
		p := peer(1)
		p.Endpoint = wgquick.EndpointOf(netip.MustParseAddrPort(s))
		return byHand(t, p, peer(2))
	}
	h.write(t, h.inForce("wg0"), at("192.0.2.1:1"))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	must(t, os.Remove(h.statusFile("wg0")))
	must(t, os.MkdirAll(filepath.Join(h.statusFile("wg0"), "in the way"), 0o700))
	h.write(t, h.inForce("wg0"), at("192.0.2.2:2"))
	h.look(t, i, true)
	h.kernel.change("wg0", func(l *plan.Live) {
		for n := range l.Peers {
			l.Peers[n].Endpoint, l.Peers[n].LastHandshake = netip.MustParseAddrPort("192.0.2.9:9"), time.Now()
		}
	})
	h.kernel.sent()
	h.look(t, i, true)
	if sent := h.kernel.sent(); sent != "" {
		t.Errorf("a roamed endpoint is not left alone: %s", sent)
	}
	h.kernel.change("wg0", func(l *plan.Live) { l.Peers = l.Peers[:1] })
	if l := h.look(t, i, true); l.steps == 0 || !l.drift {
		t.Errorf("what somebody else changed is no drift, but: %s", h.kernel.sent())
	}
}
