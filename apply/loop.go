package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"wg-kube/apply/plan"
	"wg-kube/internal/retry"
	"wg-kube/internal/service"
	"wg-kube/internal/watch"
)

// Daemon keeps every interface as its file says, until its Run ends. Each has a loop of its own: one that is broken
// or slow costs no other anything.
type Daemon struct {
	Config
	only []string // interfaces; none: all that there are, also those that come later

	began time.Time // when Run did
	mu    sync.Mutex
	loops []*loop // by name
	found bool    // the interfaces have been looked for

	unfound string // why not all of them were found, as it was last said; empty: they were
}

// New makes a daemon for the interfaces that are named, or for all that there are.
func New(c Config, only ...string) *Daemon { return &Daemon{Config: c, only: only} }

// Run works until ctx is done. Then it leaves every interface as it is.
func (d *Daemon) Run(ctx context.Context) error {
	if err := d.prepare(); err != nil {
		return err
	}
	paths := []string{d.Dir, d.RunDir}
	if d.PrivateKeyFile != "" {
		paths = append(paths, d.PrivateKeyFile)
	}
	files, err := watch.NewBeside(d.Log, []string{d.Proposals}, paths...)
	if err != nil {
		return err
	}
	d.moved, d.began = files.Moved, time.Now()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	defer service.Stopping()
	running.Go(func() { files.Run(ctx) })
	beat, stop := service.Heartbeat()
	defer stop()
	var events <-chan struct{}
	if d.Events != nil {
		events = d.Events(ctx, d.concerns)
	}
	retrying := retry.Backoff{First: firstRetry, Last: lastRetry}
	var again <-chan time.Time
	discover := func() {
		again = nil
		if err := d.discover(ctx, &running); err != nil {
			again = time.After(retrying.Next())
			return
		}
		retrying.Reset()
	}
	discover()
	if again == nil && len(d.all()) == 0 {
		d.Log.Info("nothing to keep yet: there is no *.conf, and no --proposed", "path", d.Dir)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again:
			discover()
		case <-files.C:
			discover()
			for _, l := range d.all() {
				signal(l.files)
			}
		case _, ok := <-events:
			if !ok {
				events = nil
			}
			for _, l := range d.all() {
				signal(l.device)
			}
		case <-beat:
			if d.Alive() == nil {
				service.Alive()
			}
		}
	}
}

// discover starts the loops of interfaces that are new. Where it cannot see all that there are, it has to be tried
// again.
func (d *Daemon) discover(ctx context.Context, running *sync.WaitGroup) (err error) {
	names := d.only
	if len(names) == 0 {
		if names, err = d.Interfaces(); err == nil {
			d.unfound = ""
		} else {
			if d.unfound != err.Error() {
				d.Log.Error("not all interfaces are found", "err", err)
			}
			d.unfound, names = err.Error(), d.Proposed
		}
	}
	d.mu.Lock()
	for _, name := range names {
		at, known := slices.BinarySearchFunc(d.loops, name, func(l *loop, name string) int { return strings.Compare(l.iface.name, name) })
		if known {
			continue
		}
		l := newLoop(d.Config, name)
		l.iface.othersUp = func() bool { return d.up(name) }
		d.loops = slices.Insert(d.loops, at, l)
		running.Go(func() { l.run(ctx, d.tell) })
	}
	d.found = d.found || err == nil
	d.mu.Unlock()
	d.tell()
	return err
}

func (d *Daemon) all() []*loop {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.loops)
}

// up reports whether all interfaces but one have been looked at. One that hangs is not waited for without an end.
func (d *Daemon) up(but string) bool {
	waits := func(l *loop) bool { return l.iface.name != but && !l.state().looked }
	return time.Since(d.began) > othersWait || !slices.ContainsFunc(d.all(), waits)
}

func (d *Daemon) concerns(iface string) bool {
	return slices.ContainsFunc(d.all(), func(l *loop) bool { return l.iface.name == iface })
}

// tell tells the service manager how things stand.
func (d *Daemon) tell() {
	d.mu.Lock()
	ready := d.found
	d.mu.Unlock()
	var lines []string
	for _, l := range d.all() {
		s := l.state()
		ready = ready && s.looked
		lines = append(lines, l.iface.name+": "+s.line())
	}
	service.Status(strings.Join(lines, "; "))
	if ready {
		service.Ready()
	}
}

// stuck is how long a look may take: long enough for a first one with very many peers.
const stuck = 5 * time.Minute

// Alive says which loop is stuck, nil if none is.
func (d *Daemon) Alive() error {
	for _, l := range d.all() {
		if since := l.state().since; !since.IsZero() && time.Since(since) > stuck {
			return fmt.Errorf("%s: the device does not answer", l.iface.name)
		}
	}
	return nil
}

// Ready says what has not been looked at yet, and what fails and was never as its file says: a rollout is not to go on
// to the next machine then. A refused file and a peer that is held have been looked at, and so has an interface that
// waits for its file or that somebody took down. One that was right stays ready, whatever fails later.
func (d *Daemon) Ready() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.found {
		return errors.New("no interface has been looked for yet")
	}
	for _, l := range d.loops {
		s := l.state()
		if !s.looked {
			return fmt.Errorf("%s: not looked at yet", l.iface.name)
		}
		if failed := s.last.status.Errors; len(failed) > 0 && s.right.IsZero() {
			return fmt.Errorf("%s: not yet as its file says: %s", l.iface.name, failed[0])
		}
	}
	return nil
}

// loop is one interface at work.
type loop struct {
	iface  *iface
	files  chan struct{} // one of the files may have changed
	device chan struct{} // the device may have changed, or a name is resolved

	mu  sync.Mutex
	now state
}

// state is what others may know of a loop.
type state struct {
	last   look
	live   *plan.Live // the device when it was last looked at; nil: never
	looked bool       // at least once, and the file in force was not being written
	since  time.Time  // of the look under way; zero: there is none

	looks, failures, steps int       // so far
	repairs                kinds     // so far
	right                  time.Time // when the device was last seen to be, or made, as the file says
}

func newLoop(c Config, name string) *loop {
	l := &loop{files: make(chan struct{}, 1), device: make(chan struct{}, 1)}
	l.iface = c.newIface(name, func() { signal(l.device) })
	return l
}

// run looks: at once, when something may have changed, at every resync, and after a failure again and again.
// tell is called after each look.
func (l *loop) run(ctx context.Context, tell func()) {
	c := l.iface.Config
	retrying := retry.Backoff{First: firstRetry, Last: lastRetry}
	due, pause := true, time.Duration(0) // the last look was one for its time; and how long that was
	quarrel := 0                         // repairs, without a quiet time in between
	idle := 0                            // looks, since memory was last given back
	var quiet <-chan time.Time
	for device := true; ; {
		was := l.iface.stamp()
		got := l.look(ctx, device)
		tell()
		if ctx.Err() != nil {
			return
		}
		next, events := cmp.Or(c.Resync, forever), l.device
		switch {
		case got.err != nil: // what it did before it failed comes back as events; they are no reason for haste
			next, events = min(next, retrying.Next()), nil
		case got.drift: // somebody may be taking back what we do; the two of us are not to burn a core
			retrying.Reset()
			if quarrel++; quarrel > patience {
				next, events = min(next, max(firstRetry, truce*got.took), lastRetry), nil
			}
		case len(got.status.Refused) > 0: // what others have of the machine they may give back without a word
			if got.changed {
				retrying.Reset()
			}
			if got.changed || due {
				pause = retrying.Next()
			}
			next = min(next, pause)
		default:
			retrying.Reset()
		}
		if got.again > 0 {
			next = min(next, got.again)
		}
		due = false
		timer := time.NewTimer(next)
		settle := c.Settle // what comes meanwhile is one change
		if got.idle || got.early {
			settle = min(settle, got.took) // half of a core at most goes into the comings and goings of others
		}
		sleep(ctx, settle)
		if idle++; got.changed || got.steps > 0 || idle == airing {
			quiet, idle = time.After(breather), 0
		}
		for rest := true; rest; {
			rest = false
			select {
			case <-quiet:
				debug.FreeOSMemory() // a look at ten thousand peers leaves tens of megabytes that nobody needs
				quiet, rest = nil, true
			case <-ctx.Done():
				timer.Stop()
				return
			case <-l.files:
				device = false
				rest = (got.err != nil || got.fine()) && l.iface.stamp() == was
			case <-events:
				device = true
			case <-timer.C:
				device, due = true, true
				if got.steps == 0 {
					quarrel = 0
				}
			}
		}
		timer.Stop()
	}
}

// fine reports whether all is as the files say: nothing but what they are now is a reason to look at them again.
func (l *look) fine() bool { return !l.early && len(l.wrong()) == 0 && l.status.Waiting == "" }

// How soon, and how late, what failed is tried again.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

const (
	forever  = 1 << 40 * time.Microsecond
	breather = 500 * time.Millisecond // without anything to do, until memory is given back
	airing   = 4                      // looks that found nothing to do, until memory is given back all the same
	patience = 5                      // repairs, before somebody is taken to be undoing them
	truce    = 10                     // times as long as a repair took, until the next one then
)

// othersWait is how long after the start a proposal waits for other interfaces that have not been looked at, and how often
// it is seen whether they have.
const (
	othersWait  = 10 * time.Second
	othersCheck = 100 * time.Millisecond
)

// lockWait is how long another wg-apply may hold an interface.
const lockWait = 30 * time.Second

func (l *loop) look(ctx context.Context, device bool) look {
	began := time.Now()
	l.mu.Lock()
	l.now.since = began
	l.mu.Unlock()

	got := l.iface.look(ctx, device)

	l.mu.Lock()
	defer l.mu.Unlock()
	n := &l.now
	got.took = time.Since(began)
	if got.early {
		got.peers, got.refused = n.last.peers, n.last.refused
	}
	n.last, n.since = got, time.Time{}
	n.looked = n.looked || !got.early
	n.looks++
	n.steps += got.steps
	if got.err != nil {
		n.failures++
	}
	for kind, count := range got.repairs {
		n.repairs[kind] += count
	}
	if got.live != nil {
		n.live, n.right = got.live, time.Now()
	}
	return got
}

func (l *loop) state() state {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// line is the state in a few words.
func (s state) line() string {
	st := s.last.status
	switch {
	case !s.looked:
		return "starting"
	case len(st.Refused) > 0 && !st.InUse():
		return "refused: " + st.Refused[0]
	case len(st.Errors) > 0:
		return "error: " + st.Errors[0]
	case s.last.peers == 0 && st.InForce == "":
		return "waiting for a file"
	}
	line := count(s.last.peers, "peer", "peers")
	if n := len(st.Held); n > 0 {
		line += fmt.Sprintf(", %d held", n)
	}
	if n := len(st.Refused); n > 0 {
		line += fmt.Sprintf(", %d refused: %s", n, st.Refused[0])
	}
	return line
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
