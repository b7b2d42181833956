// Package render is the loop of wg-render: what the sources know now, what Build makes of it, and a proposal if that
// is another one than on disk. It also says on its own Node what the others need to know of it.
//
// It proposes only. It holds no private key, touches no device, and writes no file but the proposal. What it cannot
// read or may not write leaves the last proposal as it is.
package render

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"wg-kube/internal/retry"
	"wg-kube/internal/service"
	"wg-kube/internal/watch"
	"wg-kube/render/overlay"
	"wg-kube/render/source/files"
	"wg-kube/templates/wgquick"
)

const (
	firstRetry = time.Second             // after a proposal could not be written
	lastRetry  = time.Minute             // when that has failed again and again
	patience   = 10 * time.Second        // that Once has with its sources
	longest    = 1200 * time.Millisecond // for which changes are collected when many come at once
	breather   = 500 * time.Millisecond  // without anything to do, until what a step has left in memory is collected
)

// Config is what the loop needs. The zero value of a field is of no use where nothing else is said.
type Config struct {
	Self      overlay.Self // PublicKey is found in RunDir
	Policy    overlay.Policy
	APIServer func() []netip.Addr // what is known of it beside Policy.APIServer; nil: nothing
	Nodes     Source              // a Publisher as well, where there is a Node to publish on
	Peers     []Peers
	Fragments Fragments
	Out       string        // the folder of proposals
	RunDir    string        // where wg-apply says which public key the interface has
	Settle    time.Duration // after a change, for each peer that it concerned, how long further ones are collected; zero: not at all
	Log       *slog.Logger
	Metrics   *Metrics
}

// Loop renders one interface.
type Loop struct {
	Config
	device    *files.Files[device]
	written   *watch.Watcher  // of the proposal: somebody else may change it, or take it away
	disk      proposal        // the one last read
	held      *wgquick.Config // the last one that was of use; nil: there was none since the start
	builder   overlay.Builder
	reader    wgquick.Reader // of the proposals, those to be made and that on disk
	changed   int            // peers in the proposal that the last step wrote; zero: it wrote none
	made      *rendered      // the last one; nil: none yet
	locked    *os.File       // nil: not yet
	publisher *publisher
	answerers []*answerer
	answered  *rendered     // the one last offered to them; nil: none yet
	readings  []any         // theirs, at that time
	peers     chan struct{} // has a signal when one of Peers has
	refused   refusals
	seen      map[string]bool                // the Nodes seen since the start
	called    map[wgquick.Origin]overlay.Met // those of the last proposal that have called, with the key that they had then
	said      said
	standing  standing
	rescan    time.Duration             // how often the proposal on disk is looked at, whatever is heard of it
	busy      atomic.Pointer[time.Time] // since when the loop is at work; nil: it rests
	unready   atomic.Pointer[error]     // why the proposal is not what the sources ask for; nil: it has not been looked at
}

// New starts to watch the folders of c. Run or Once must be called.
func New(c Config) (*Loop, error) {
	c.Log = c.Log.With("iface", c.Self.Interface)
	device, err := watchDevice(c)
	if err != nil {
		return nil, err
	}
	l := &Loop{Config: c, device: device, peers: make(chan struct{}, 1), seen: map[string]bool{}, said: said{}, rescan: watch.Rescan}
	if l.written, err = watch.New(c.Log, l.path()); err != nil {
		return nil, err
	}
	if source, ok := c.Nodes.(Heard); ok {
		l.standing.source = source
	}
	if to, ok := c.Nodes.(Publisher); ok {
		l.publisher = newPublisher(to, c)
		l.standing.unwritten = l.publisher.unwritten
	}
	l.answerers = newAnswerers(c)
	return l, nil
}

// Run keeps the proposal as the sources want it, until ctx is done.
func (l *Loop) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	l.start(ctx, g)
	defer l.unlock()
	g.Go(func() error { l.written.Run(ctx); return nil })
	g.Go(func() error { l.standing.run(ctx); return nil })
	if l.publisher != nil {
		g.Go(func() error { return l.publisher.run(ctx) })
	}
	for _, a := range l.answerers {
		g.Go(func() error { return a.run(ctx) })
	}
	g.Go(func() error {
		select { // the fragments, which are on this disk, may hold the way to the cluster
		case <-l.Fragments.Changed():
		case <-time.After(l.Settle):
		}
		beat, stop := service.Heartbeat()
		defer stop()
		retrying := retry.Backoff{First: firstRetry, Last: lastRetry}
		for {
			written, again := l.written.C, (<-chan time.Time)(nil)
			if err := l.step(); err != nil {
				// What it did before it failed comes back as an event, which is no reason for haste.
				written, again = nil, time.After(retrying.Next())
			} else {
				retrying.Reset()
				again = l.refused.again()
			}
			pause(ctx, l.settle()) // what comes now is one change
			if !l.rest(ctx, beat, written, again) {
				return nil
			}
		}
	})
	return g.Wait()
}

// rest waits until there is something to do. It returns false when ctx is done.
func (l *Loop) rest(ctx context.Context, beat <-chan time.Time, written <-chan struct{}, again <-chan time.Time) bool {
	var quiet <-chan time.Time
	if l.changed > 0 {
		quiet = time.After(breather)
	}
	rescan := time.NewTicker(l.rescan)
	defer rescan.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-quiet:
			runtime.GC() // now, and not in the middle of the next change
		case <-beat:
			service.Alive()
		case <-l.Nodes.Changed():
			return true
		case <-l.peers:
			return true
		case <-l.Fragments.Changed():
			return true
		case <-l.device.Changed():
			return true
		case <-written:
			if !l.undisturbed() {
				return true
			}
		case <-rescan.C: // what was mounted over it for a moment took what we wrote with it, and nothing tells
			if written != nil && !l.undisturbed() {
				return true
			}
		case <-again:
			return true
		}
	}
}

// settle is how long to wait after a step. One change is followed by the next at once; of a thousand Nodes that change
// together those of a second are taken together.
func (l *Loop) settle() time.Duration {
	return min(l.Settle*time.Duration(max(l.changed, 1)), max(l.Settle, longest))
}

// step proposes what the sources want now, if that is anything new.
func (l *Loop) step() error {
	began := time.Now()
	l.busy.Store(&began)
	defer l.busy.Store(nil)
	l.changed = 0
	now := l.look()
	var r *rendered
	err := l.lock()
	if err == nil {
		r, err = l.render(&now)
	}
	if err == nil && r != nil {
		err = l.propose(r)
	}
	l.tell(now, r, err)
	if l.publisher != nil && now.waits == "" {
		l.publisher.offer(now.self, *now.own)
	}
	if err == nil && r != nil && now.waits == "" {
		l.answer(r)
	}
	return err
}

// Once makes one proposal from all that the sources know. It is written to stdout if that is not nil, else to disk.
func (l *Loop) Once(ctx context.Context, stdout io.Writer) error {
	if stdout == nil {
		if err := l.lock(); err != nil {
			return err
		}
		defer l.unlock()
	}
	ctx, stop := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	l.start(ctx, g)
	g.Go(func() error {
		defer stop()
		why := l.wait(ctx)
		now := l.look()
		if why != nil && now.waits != "" {
			now.waits = fmt.Sprintf("%s: %v", now.waits, why)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: interrupted while it waited for %s", l.path(), now.waits)
		}
		r, err := l.render(&now)
		switch {
		case err != nil:
			return err
		case r == nil:
			return fmt.Errorf("%s: kept as it is, for want of %s", l.path(), now.waits)
		case stdout != nil:
			_, err = stdout.Write(r.file)
		default:
			err = l.propose(r)
		}
		if err == nil && !now.synced {
			err = fmt.Errorf("%s: without a peer that is a Node, for want of %s", l.path(), now.waits)
		}
		l.tell(now, r, nil)
		return err
	})
	return g.Wait()
}

// start runs the sources.
func (l *Loop) start(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error { return l.Nodes.Run(ctx) })
	g.Go(func() error { return l.Fragments.Run(ctx) })
	g.Go(func() error { return l.device.Run(ctx) })
	for _, p := range l.Peers {
		g.Go(func() error { return p.Run(ctx) })
		g.Go(func() error { forward(ctx, p.Changed(), l.peers); return nil })
	}
}

// forward passes signals on, until ctx is done.
func forward(ctx context.Context, from <-chan struct{}, to chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-from:
		}
		select {
		case to <- struct{}{}:
		default:
		}
	}
}

// wait returns when each source has all that there is or ctx is done, or else why one has not: the first trouble
// with it, or the end of patience.
func (l *Loop) wait(ctx context.Context) error {
	end := time.After(patience)
	for {
		_, nodes := l.Nodes.Snapshot()
		_, fragments := l.Fragments.Snapshot()
		_, key := l.device.Snapshot()
		if nodes && fragments && key && l.peersThere() {
			return nil
		}
		if source, ok := l.Nodes.(Remote); ok && fragments && !nodes {
			if err := source.Trouble(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-end:
			return fmt.Errorf("not there within %v", patience)
		case <-l.Nodes.Changed():
		case <-l.peers:
		case <-l.Fragments.Changed():
		case <-l.device.Changed():
		}
	}
}

// peersThere reports whether each of Peers has all that it will have.
func (l *Loop) peersThere() bool {
	for _, p := range l.Peers {
		if _, synced := p.Snapshot(); !synced && p.Denied() == nil {
			return false
		}
	}
	return true
}

// stuck is how long the loop may be at work: a file system that hangs is all that keeps it.
const stuck = 5 * time.Minute

// Alive says that the loop is stuck, nil if it is not.
func (l *Loop) Alive() error {
	if since := l.busy.Load(); since != nil && time.Since(*since) > stuck {
		return fmt.Errorf("%s: at work since %s", l.path(), since.UTC().Format(time.RFC3339))
	}
	return nil
}

// Ready returns why the proposal on disk is not what the sources ask for, or may not be, nil if it is.
func (l *Loop) Ready() error {
	why := l.unready.Load()
	switch {
	case why == nil:
		return fmt.Errorf("%s: nothing is proposed yet", l.path())
	case *why != nil:
		return *why
	}
	return l.standing.outOfTouch()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
