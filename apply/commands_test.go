package apply

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wg-kube/apply/hints"
	"wg-kube/apply/plan"
	"wg-kube/templates/wgquick"
)

// diary is a file that commands write to.
type diary string

func newDiary(t *testing.T) diary { return diary(filepath.Join(t.TempDir(), "diary")) }

// take returns what was written since it was last called, with blanks for newlines.
func (d diary) take(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(string(d))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	_ = os.Remove(string(d))
	return strings.Join(strings.Fields(string(b)), " ")
}

// hooks are lines for each hook, of which each writes its name and the interface into the diary.
func (d diary) hooks() string {
	var lines string
	for _, hook := range []string{"PostDown", "PostUp", "PreDown", "PreUp"} {
		lines += hook + " = echo " + hook + "-%i >>" + string(d) + "\n"
	}
	return lines
}

// saying is a file made by hand, with more in its first section.
func saying(t *testing.T, more string, peers ...wgquick.Peer) string {
	t.Helper()
	return strings.Replace(byHand(t, peers...), "[Interface]\n", "[Interface]\n"+more, 1)
}

// resolvconf puts one in the way of the real one. It writes into the diary, and fails while there is a file beside it.
func (d diary) resolvconf(t *testing.T) (fail string) {
	t.Helper()
	bin := t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	fail = filepath.Join(bin, "fail")
	must(t, os.WriteFile(filepath.Join(bin, "resolvconf"), []byte("#!/bin/sh\n"+
		"set -- $(echo \"$@\" | sed 's/tun\\.//')\n(echo $1 $2; cat) >>"+string(d)+"\n[ ! -e "+fail+" ]\n"), 0o700))
	return fail
}

func (h *house) exists(t *testing.T, iface string) bool {
	t.Helper()
	live, err := h.kernel.Observe(t.Context(), iface)
	must(t, err)
	return live.Exists
}

func TestHooksAreRunOnce(t *testing.T) {
	h, d := newHouse(t), newDiary(t)
	h.Hooks = true
	h.write(t, h.inForce("wg0"), saying(t, d.hooks(), peers(1, 2)...))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	if got := d.take(t); got != "PreUp-wg0 PostUp-wg0" {
		t.Errorf("up: %q", got)
	}
	h.look(t, i, true)
	h.look(t, h.newIface("wg0", func() {}), true)
	h.kernel.change("wg0", func(l *plan.Live) { l.Peers = l.Peers[:1] })
	h.look(t, i, true)
	h.write(t, h.inForce("wg0"), saying(t, d.hooks(), peers(1, 3)...))
	h.look(t, i, true)
	if got := d.take(t); got != "" || h.kernel.peers("wg0") != 3 {
		t.Errorf("another look, a restart, drift, a file that changes: %q, %d peers", got, h.kernel.peers("wg0"))
	}
	if w := h.status(t, "wg0").Warnings; len(w) > 0 {
		t.Errorf("what is run is no warning: %q", w)
	}
	must(t, h.kernel.Delete(t.Context(), "wg0"))
	h.look(t, i, true)
	if got := d.take(t); got != "PreUp-wg0 PostUp-wg0" {
		t.Errorf("a link made anew: %q", got)
	}
	must(t, h.Down(t.Context(), "wg0"))
	if got := d.take(t); got != "PreDown-wg0 PostDown-wg0" || h.exists(t, "wg0") {
		t.Errorf("down: %q", got)
	}
	h.look(t, i, true)
	must(t, h.Down(t.Context(), "wg0"))
	if got := d.take(t); got != "" {
		t.Errorf("down already: %q", got)
	}
}

func TestHooksOfAnInterfaceThatIsTakenOver(t *testing.T) {
	h, d := newHouse(t), newDiary(t)
	h.write(t, h.inForce("wg0"), saying(t, d.hooks(), peers(1, 2)...))
	h.look(t, h.newIface("wg0", func() {}), true)
	h.Hooks = true
	h.look(t, h.newIface("wg0", func() {}), true)
	if got := d.take(t); got != "" {
		t.Errorf("taken over: %q", got)
	}
	must(t, h.Down(t.Context(), "wg0"))
	if got := d.take(t); got != "PreDown-wg0 PostDown-wg0" {
		t.Errorf("down: %q", got)
	}
}

func TestNothingOfAProposalIsRun(t *testing.T) {
	h, d := newHouse(t, "wg0"), newDiary(t)
	d.resolvconf(t)
	h.Hooks, h.DNS = true, true
	hooks := d.hooks() + "DNS = 192.0.2.53\n"
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	b, err := os.ReadFile(h.inForce("wg0"))
	must(t, err)
	c, err := wgquick.Parse("wg0.conf", []byte(strings.Replace(string(b), "[Interface]\n", "[Interface]\n"+hooks, 1)))
	must(t, err)
	edited, err := c.Marshal() // with an end mark that holds
	must(t, err)

	h.Proposed = nil // so that it is not written anew
	must(t, h.kernel.Delete(t.Context(), "wg0"))
	h.write(t, h.inForce("wg0"), string(edited))
	h.look(t, h.newIface("wg0", func() {}), true)
	must(t, h.Down(t.Context(), "wg0"))
	if got := d.take(t); got != "" {
		t.Errorf("run: %q", got)
	}
	if log := h.log.Take(); strings.Count(log, "is not run") < 4 || !strings.Contains(log, "written from a proposal") || !strings.Contains(log, "DNS is not set") {
		t.Errorf("not said:\n%s", log)
	}
}

func TestHooksThatFail(t *testing.T) {
	const before, after = "PreUp = echo before >>", "PostUp = echo after >>"
	for name, c := range map[string]struct{ hook, run string }{
		"PreUp":  {"PreUp = echo why >&2; exit 3", "before"},
		"PostUp": {"PostUp = echo why >&2; exit 3", "before after"},
	} {
		t.Run(name, func(t *testing.T) {
			h, d := newHouse(t), newDiary(t)
			h.Hooks = true
			broken := before + string(d) + "\n" + after + string(d) + "\n" + c.hook + "\n"
			h.write(t, h.inForce("wg0"), saying(t, broken, peers(1, 2)...))
			i := h.newIface("wg0", func() {})
			for range 3 {
				if l := h.look(t, i, true); l.err != nil {
					t.Errorf("it is tried again: %v", l.err)
				}
			}
			if h.exists(t, "wg0") {
				t.Error("something is left")
			}
			if got := d.take(t); got != c.run {
				t.Errorf("run: %q, want %q, once", got, c.run)
			}
			errs := strings.Join(h.status(t, "wg0").Errors, "\n")
			for _, want := range []string{h.inForce("wg0") + ": " + name + ": ", "exit status 3: why", "wg-apply once wg0"} {
				if !strings.Contains(errs, want) {
					t.Errorf("the errors lack %q: %q", want, errs)
				}
			}
			if log := h.log.Take(); strings.Count(log, "not as the file says") != 2 {
				t.Errorf("two lines, logged once:\n%s", log)
			}
			if err := h.Once(t.Context(), "wg0"); err == nil || d.take(t) != c.run || h.exists(t, "wg0") {
				t.Errorf("once tries it again, and leaves nothing: %v", err)
			}
			h.write(t, h.inForce("wg0"), saying(t, d.hooks(), peers(1, 2)...))
			h.look(t, i, true)
			if got := d.take(t); got != "PreUp-wg0 PostUp-wg0" || !h.exists(t, "wg0") || len(h.status(t, "wg0").Errors) > 0 {
				t.Errorf("put right: %q, %q", got, h.status(t, "wg0").Errors)
			}
		})
	}
}

func TestDownWithHooksThatFail(t *testing.T) {
	h, d := newHouse(t), newDiary(t)
	h.Hooks = true
	h.write(t, h.inForce("wg0"), saying(t, d.hooks()+"PreDown = exit 4\n"))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	d.take(t)
	if err := h.Down(t.Context(), "wg0"); err == nil || !strings.Contains(err.Error(), "exit status 4") || d.take(t) != "PreDown-wg0" {
		t.Errorf("PreDown: %v", err)
	}
	if h.look(t, i, true); !h.exists(t, "wg0") {
		t.Error("a PreDown that fails leaves it up")
	}
	h.write(t, h.inForce("wg0"), saying(t, "PostDown = exit 5\n"))
	if err := h.Down(t.Context(), "wg0"); err == nil || !strings.Contains(err.Error(), "exit status 5") {
		t.Errorf("PostDown: %v", err)
	}
	if h.look(t, i, true); h.exists(t, "wg0") {
		t.Error("a PostDown that fails finds it down already")
	}
}

func TestHooksWhenTheFileIsGone(t *testing.T) {
	for name, more := range map[string]string{"they work": "", "PreDown fails": "PreDown = false\n"} {
		t.Run(name, func(t *testing.T) {
			h, d := newHouse(t), newDiary(t)
			h.Hooks, h.GoneAfter = true, 5*time.Millisecond
			h.write(t, h.inForce("wg0"), saying(t, d.hooks()+more))
			i := h.newIface("wg0", func() {})
			h.look(t, i, true)
			d.take(t)
			must(t, os.Remove(h.inForce("wg0")))
			for range 5 {
				h.look(t, i, true)
				time.Sleep(h.GoneAfter)
			}
			if got := d.take(t); got != "PreDown-wg0 PostDown-wg0" || h.exists(t, "wg0") {
				t.Errorf("gone: %q", got)
			}
		})
	}
}

func TestDNS(t *testing.T) {
	h, d := newHouse(t), newDiary(t)
	fail := d.resolvconf(t)
	h.DNS = true
	const set = "DNS = 192.0.2.53, a.example\n"
	h.write(t, h.inForce("wg0"), saying(t, set))
	i := h.newIface("wg0", func() {})
	step := func(what, want string, errs int) {
		t.Helper()
		h.look(t, i, true)
		if got := d.take(t); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
		if got := h.status(t, "wg0").Errors; len(got) != errs {
			t.Errorf("%s: errors: %q", what, got)
		}
	}
	step("up", "-a wg0 nameserver 192.0.2.53 search a.example", 0)
	step("at rest", "", 0)
	i = h.newIface("wg0", func() {})
	step("a restart", "", 0)
	h.write(t, h.inForce("wg0"), saying(t, set, peers(1, 2)...))
	step("another change", "", 0)
	h.write(t, h.inForce("wg0"), saying(t, "DNS = 192.0.2.54\n"))
	step("another resolver", "-a wg0 nameserver 192.0.2.54", 0)
	h.write(t, h.inForce("wg0"), saying(t, "DNS = a.example\n"))
	step("no resolver", "-d wg0", 0)
	if w := h.status(t, "wg0").Warnings; len(w) != 1 || !strings.Contains(w[0], "no resolver among them") {
		t.Errorf("warnings: %q", w)
	}
	must(t, os.WriteFile(fail, nil, 0o600))
	h.write(t, h.inForce("wg0"), saying(t, set))
	step("it fails", "-a wg0 nameserver 192.0.2.53 search a.example", 1)
	if !h.exists(t, "wg0") {
		t.Error("what was up is not taken down for that")
	}
	must(t, os.Remove(fail))
	step("it works again", "-a wg0 nameserver 192.0.2.53 search a.example", 0)
	must(t, h.kernel.Delete(t.Context(), "wg0"))
	step("a link made anew", "-a wg0 nameserver 192.0.2.53 search a.example", 0)

	h.DNS = false // the command was called without the flag
	must(t, h.Down(t.Context(), "wg0"))
	if got := d.take(t); got != "-d wg0" || len(h.status(t, "wg0").DNS) > 0 {
		t.Errorf("down: %q", got)
	}
	must(t, h.Once(t.Context(), "wg0"))
	if got := d.take(t); got != "" {
		t.Errorf("without --dns: %q", got)
	}
}

func TestDNSThatFailsOnANewInterface(t *testing.T) {
	h, d := newHouse(t), newDiary(t)
	must(t, os.WriteFile(d.resolvconf(t), nil, 0o600))
	h.DNS = true
	h.write(t, h.inForce("wg0"), saying(t, "DNS = 192.0.2.53\n"))
	if l := h.look(t, h.newIface("wg0", func() {}), true); l.err == nil {
		t.Error("it is not tried again")
	}
	if got := d.take(t); got != "-a wg0 nameserver 192.0.2.53 -d wg0" || h.exists(t, "wg0") {
		t.Errorf("all or nothing: %q", got)
	}
	if s := h.status(t, "wg0"); len(s.Errors) == 0 || len(s.DNS) > 0 {
		t.Errorf("%+v", s)
	}
}

func TestPreviewNamesWhatIsRun(t *testing.T) {
	h, d := newHouse(t), newDiary(t)
	d.resolvconf(t)
	h.Hooks, h.DNS = true, true
	h.write(t, h.inForce("wg0"), saying(t, "PreUp = echo %i\nPostUp = true\nPreDown = false\nDNS = 192.0.2.53\n"))
	preview := func() []string {
		t.Helper()
		p, err := h.Preview(t.Context(), "wg0")
		must(t, err)
		return p.Run
	}
	if diff := cmp.Diff([]string{"PreUp: echo %i", `DNS is set to ["192.0.2.53"]`, "PostUp: true"}, preview()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	must(t, h.Once(t.Context(), "wg0"))
	if got := preview(); got != nil {
		t.Errorf("up: %q", got)
	}
	h.write(t, h.inForce("wg0"), saying(t, "PreUp = echo %i\n"))
	if diff := cmp.Diff([]string{"DNS is unset"}, preview()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestKeysInHooksAreNotShown(t *testing.T) {
	h := newHouse(t)
	key, err := wgquick.NewPrivateKey()
	must(t, err)
	h.write(t, h.inForce("wg0"), saying(t, "PostUp = echo set "+key.Reveal()+"; exit 1\n"))
	h.look(t, h.newIface("wg0", func() {}), true)
	must(t, h.kernel.Delete(t.Context(), "wg0"))
	h.Hooks = true
	p, err := h.Preview(t.Context(), "wg0")
	must(t, err)
	h.look(t, h.newIface("wg0", func() {}), true)
	b, err := os.ReadFile(h.statusFile("wg0"))
	must(t, err)
	if all := h.log.Take() + string(b) + p.String(); strings.Contains(all, key.Reveal()) || !strings.Contains(all, "(hidden)") {
		t.Errorf("shown:\n%s", all)
	}
}

func TestHints(t *testing.T) {
	h := newHouse(t)
	reads := 0
	seen := hints.Seen{Forwarding4: false, Forwarding6: true}
	h.Surroundings = func(_ context.Context, _ string, ask hints.Ask) (hints.Seen, error) {
		reads++
		if !ask.Forwarding {
			return hints.Seen{Forwarding4: true, Forwarding6: true}, nil
		}
		return seen, nil
	}
	h.Resync = time.Hour
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 1)...))
	i := h.newIface("wg0", func() {})
	look := func(what string, wantReads int, warned bool) {
		t.Helper()
		h.look(t, i, true)
		w := h.status(t, "wg0").Warnings
		if reads != wantReads || (len(w) > 0) != warned {
			t.Errorf("%s: read %d times, %q", what, reads, w)
		}
	}
	look("made just now", 0, false)
	look("a device with one peer", 1, false)
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 3)...))
	look("a hub by now", 1, false)
	look("forwarding is off", 2, true)
	h.log.Take()
	look("at rest", 2, true)
	if log := h.log.Take(); log != "" {
		t.Errorf("said twice:\n%s", log)
	}
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 1)...))
	look("still to be looked at", 2, true)
	look("no hub any more", 3, false)
	h.write(t, h.inForce("wg0"), byHand(t, peers(1, 3)...))
	h.look(t, i, true)
	seen.Forwarding4 = true
	i.around.at = time.Now().Add(-2 * h.Resync)
	look("turned on, and seen at the next resync", 4, false)
}
