package apply

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"wg-kube/apply/plan"
	"wg-kube/templates/status"
	"wg-kube/templates/wgquick"
)

func (h *house) view(t *testing.T, iface string) View {
	t.Helper()
	v, err := h.View(t.Context(), iface)
	must(t, err)
	return v
}

// changes is what is left to do, or -1 where that cannot be told.
func (v View) changes() int {
	if v.Changes == nil {
		return -1
	}
	return *v.Changes
}

// Nobody but the test looks at the interfaces: no daemon brings their status up to date.

func TestViewOfTheDeviceAndItsFile(t *testing.T) {
	h := newHouse(t)
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 2)...))
	must(t, h.Once(t.Context(), "wg0"))
	if v := h.view(t, "wg0"); v.changes() != 0 || v.Applied != v.InForce || v.Live == nil || !v.Live.Up {
		t.Errorf("as its file says: %+v", v)
	}
	h.kernel.change("wg0", func(l *plan.Live) { l.Up, l.Peers = false, l.Peers[:1] })
	if v := h.view(t, "wg0"); v.Live.Up || v.changes() == 0 {
		t.Errorf("the link is down: %+v", v)
	}
	must(t, h.Once(t.Context(), "wg0"))

	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 3)...))
	if v := h.view(t, "wg0"); v.Applied == v.InForce || v.changes() == 0 {
		t.Errorf("the file has changed: %+v", v)
	}
	h.write(t, h.inForce("wg0"), "[Interface]\nColour = blue\n")
	if v := h.view(t, "wg0"); len(v.Refused) != 1 || v.InForce != "" || v.changes() != -1 {
		t.Errorf("the file has a fault: %+v", v)
	}
	must(t, os.Remove(h.inForce("wg0")))
	if v := h.view(t, "wg0"); v.InForce != "" || v.Applied == "" || v.Waiting != "" {
		t.Errorf("the file is gone: %+v", v)
	}

	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 2)...))
	must(t, h.kernel.Delete(t.Context(), "wg0"))
	if v := h.view(t, "wg0"); v.Live != nil || v.LiveError != "" {
		t.Errorf("the device is gone: %+v", v)
	}
	must(t, h.Down(t.Context(), "wg0"))
	if v := h.view(t, "wg0"); !v.Down {
		t.Errorf("taken down: %+v", v)
	}
}

func TestViewOfTheProposal(t *testing.T) {
	h := newHouse(t, "wg0")
	if v := h.view(t, "wg0"); v.Waiting != h.proposal("wg0") {
		t.Errorf("it waits for %q", v.Waiting)
	}
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2, 3, 4, 5, 6))
	must(t, h.Once(t.Context(), "wg0"))
	h.Proposed = nil // whoever asks need not say so again
	if v := h.view(t, "wg0"); v.Waiting != "" || len(v.Held)+len(v.Refused)+len(v.Warnings) > 0 {
		t.Errorf("as its file says: %+v", v)
	}

	c := proposal(peers(1, 2)...)
	c.Head, c.Refused = []string{wgquick.ProposalHead}, []string{"Node/rogue: its key is another's"}
	b, err := c.Marshal()
	must(t, err)
	h.write(t, h.proposal("wg0"), string(b))
	v := h.view(t, "wg0")
	if len(v.Held) != 0 || len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "not in force yet") {
		t.Errorf("a proposal that nobody has taken, so there is nothing to accept: %+v", v)
	}
	if !slices.Equal(v.LeftOut, c.Refused) {
		t.Errorf("left out: %q", v.LeftOut)
	}

	h.Proposed = []string{"wg0"}
	must(t, h.Once(t.Context(), "wg0"))
	must(t, os.Remove(h.statusFile("wg0"))) // as after a boot
	h.Proposed = nil
	if v := h.view(t, "wg0"); len(v.Held) != 4 {
		t.Errorf("held: %+v", v.Held)
	}
	must(t, os.Remove(h.proposal("wg0")))
	v = h.view(t, "wg0")
	if len(v.Held) != 4 || len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "there is no such proposal") {
		t.Errorf("the proposal is gone: %+v", v)
	}
	h.write(t, h.proposal("wg0"), "[Interface]\nPostUp = true\n")
	if v := h.view(t, "wg0"); len(v.Refused) == 0 || !strings.HasPrefix(v.Refused[0], h.proposal("wg0")+":2: ") {
		t.Errorf("the proposal is refused: %+v", v)
	}
}

func TestViewOfNothing(t *testing.T) {
	h := newHouse(t)
	for what, stale := range map[string]status.Status{
		"never there": {Interface: "wg0"},
		"long gone":   {Interface: "wg0", Applied: "sha256:aa"},
	} {
		must(t, h.writeStatus(stale))
		if _, err := h.View(t.Context(), "wg0"); !errors.Is(err, ErrNoInterface) || !strings.HasPrefix(err.Error(), "wg0: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := h.Keygen(t.Context(), "wg1", ""); err != nil {
		t.Fatal(err)
	}
	if v := h.view(t, "wg1"); v.PublicKey.IsZero() {
		t.Error("an interface with a key alone is one")
	}
}

func TestATypoLeavesNoStatus(t *testing.T) {
	h := newHouse(t)
	if err := h.Once(t.Context(), "wg7"); err == nil {
		t.Error("there is no such file")
	}
	h.look(t, h.newIface("wg9", func() {}), true)
	if left, _ := filepath.Glob(filepath.Join(h.RunDir, "*.json")); len(left) > 0 {
		t.Errorf("left: %s", left)
	}
}

// TestTheStatusIsCopied: whoever sees the copy alone reads what the status says, also in a folder that is new.
func TestTheStatusIsCopied(t *testing.T) {
	h := newHouse(t)
	h.StatusCopy = t.TempDir()
	h.write(t, h.inForce("wg0"), byHand(t))
	i := h.newIface("wg0", func() {})
	copied := filepath.Join(h.StatusCopy, "wg0.json")
	for range 2 {
		h.look(t, i, true)
		want, err := os.ReadFile(h.statusFile("wg0"))
		must(t, err)
		if got, err := os.ReadFile(copied); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: %s; want %s", err, got, want)
		}
		must(t, os.Remove(copied))
	}
}

func TestKnown(t *testing.T) {
	h := newHouse(t, "wg3")
	h.write(t, h.inForce("wg1"), byHand(t))
	must(t, h.writeStatus(status.Status{Interface: "wg0", Applied: "sha256:aa"}))
	write(t, filepath.Join(h.RunDir, "no interface.json"), "{}")
	if known, err := h.Known(); err != nil || !slices.Equal(known, []string{"wg0", "wg1", "wg3"}) {
		t.Errorf("%q, %v", known, err)
	}
	must(t, os.Chmod(h.RunDir, 0))
	asNobody(t, func() {
		if known, err := h.Known(); !errors.Is(err, os.ErrPermission) {
			t.Errorf("to nobody: %q, %v", known, err)
		}
	})
	must(t, os.Chmod(h.RunDir, 0o755))
	must(t, os.RemoveAll(h.RunDir))
	if known, err := h.Known(); err != nil || !slices.Equal(known, []string{"wg1", "wg3"}) {
		t.Errorf("before anything was written: %q, %v", known, err)
	}
}

// asNobody runs f without root's right to look everywhere.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if os.Geteuid() == 0 {
		must(t, unix.Setfsuid(65534))
		defer func() { must(t, unix.Setfsuid(0)) }()
	}
	f()
}

func TestMisnamed(t *testing.T) {
	h := newHouse(t)
	for _, name := range []string{"wg0", ".hidden", "my tunnel", "waytoolonganameforthekernel"} {
		h.write(t, h.inForce(name), byHand(t))
	}
	faults := h.Misnamed()
	if len(faults) != 2 || !strings.HasPrefix(faults[0].Error(), h.inForce("my tunnel")+": left alone: ") {
		t.Errorf("%q", faults)
	}
}
