package apply

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"wg-kube/apply/plan"
	"wg-kube/internal/lab"
	"wg-kube/templates/status"
	"wg-kube/templates/wgquick"
)

// fake is a kernel that does what Live.After says that the real one does.
type fake struct {
	mu     sync.Mutex
	live   map[string]plan.Live
	plans  []plan.Plan
	fail   map[string]error // of Apply, by interface
	hang   map[string]chan struct{}
	looked map[string]int // Observe, by interface
	events chan struct{}
	around plan.Underlay
	asked  func() // is called before the answer about it; nil: nothing is
	unseen error  // is that answer; nil: it is around
}

func newFake() *fake {
	return &fake{around: plan.Underlay{MTU: 1500}, live: map[string]plan.Live{}, fail: map[string]error{}, hang: map[string]chan struct{}{}, looked: map[string]int{}, events: make(chan struct{}, 1)}
}

func (f *fake) Underlay(_ context.Context, iface string, _ *wgquick.Config) (plan.Underlay, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked != nil {
		f.asked()
	}
	u := f.around
	u.LinkMTU = f.live[iface].MTU
	return u, f.unseen
}

func (f *fake) Observe(ctx context.Context, iface string) (plan.Live, error) {
	f.mu.Lock()
	hang := f.hang[iface]
	f.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return plan.Live{}, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked[iface]++
	l := f.live[iface].After(plan.Plan{})
	l.Now = time.Now()
	for i := range l.Peers {
		l.Peers[i].Asked = wgquick.Endpoint{} // the kernel does not know it
	}
	return l, nil
}

func (f *fake) Apply(_ context.Context, p plan.Plan) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail[p.Interface]; err != nil {
		return err
	}
	f.plans = append(f.plans, p)
	f.live[p.Interface] = f.live[p.Interface].After(p)
	return nil
}

func (f *fake) Delete(_ context.Context, iface string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.live, iface)
	return nil
}

// change lets somebody else change an interface.
func (f *fake) change(iface string, change func(l *plan.Live)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.live[iface].After(plan.Plan{})
	change(&l)
	f.live[iface] = l
}

// sent returns what was applied since it was last called.
func (f *fake) sent() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, p := range f.plans {
		b.WriteString(p.String())
	}
	f.plans = nil
	return b.String()
}

// peers are the names of the peers that an interface has.
func (f *fake) peers(iface string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.live[iface].Peers)
}

// house is one machine: folders, a kernel and a log.
type house struct {
	Config
	kernel *fake
	log    *lab.Log
}

func newHouse(t testing.TB, proposed ...string) *house {
	t.Helper()
	dir := t.TempDir()
	h := &house{kernel: newFake(), log: &lab.Log{}}
	h.Config = Config{
		Dir:       filepath.Join(dir, "etc"),
		Proposals: filepath.Join(dir, "proposals"),
		RunDir:    filepath.Join(dir, "run"),
		Proposed:  proposed,
		MaxShrink: 0.5,
		Settle:    time.Millisecond,
		System:    h.kernel,
		Events: func(context.Context, func(string) bool) <-chan struct{} {
			return h.kernel.events
		},
		Lookup: func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no resolver here") },
		Log:    slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	must(t, os.Mkdir(h.Proposals, 0o750))
	must(t, h.prepare())
	return h
}

func (h *house) inForce(iface string) string  { return filepath.Join(h.Dir, iface+".conf") }
func (h *house) proposal(iface string) string { return filepath.Join(h.Proposals, iface+".conf") }

// write puts a file where it belongs, at once and complete.
func (h *house) write(t testing.TB, path, content string) {
	t.Helper()
	write(t, path+".new", content)
	must(t, os.Chmod(path+".new", 0o600))
	must(t, os.Rename(path+".new", path))
}

func (h *house) status(t testing.TB, iface string) status.Status {
	t.Helper()
	s, err := h.ReadStatus(iface)
	must(t, err)
	return s
}

// look looks at an interface until its files are quiet.
func (h *house) look(t testing.TB, i *iface, device bool) look {
	t.Helper()
	for {
		l := i.look(t.Context(), device)
		if l.again == 0 || !l.early {
			return l
		}
		time.Sleep(l.again)
	}
}

// byHand is a file as a person writes it.
func byHand(t testing.TB, peers ...wgquick.Peer) string {
	t.Helper()
	c := config(peers...)
	c.End = false
	b, err := c.Marshal()
	must(t, err)
	return string(b)
}
