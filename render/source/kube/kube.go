// Package kube is the source of Nodes that watches an API server. It also writes what this node says of itself to its
// own Node.
//
// It is the only place of the pipeline that connects to an API server: what other sources have there they watch by
// way of it.
//
// It watches no more than it needs: a hub and a mesh node the peers and the hubs, a spoke the hubs and its own site,
// each its own Node; and keeps no more of a Node than the overlay reads. It judges nothing, and it never touches a label or an
// annotation without the prefix, or another's Node.
//
// What it has seen it keeps: a credential that goes, or a server that cannot be reached, changes no Node.
package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"wg-kube/internal/retry"
	"wg-kube/internal/watch"
	"wg-kube/render/overlay"
)

// Config says what to watch, and as whom.
type Config struct {
	Kubeconfig string        // a path, or several as in $KUBECONFIG; they may not exist yet. Empty: in-cluster
	Node       string        // the name of the own Node, which may not exist yet
	Role       overlay.Role  // says which other Nodes are watched
	Prefix     string        // of labels and annotations
	Site       string        // of a spoke; empty: the site label of its own Node
	FirstSync  time.Duration // how long the streamed first list may take before a plain one is asked for; zero: 30 s
	Log        *slog.Logger
}

// Source is connected to an API server while Run runs, as soon as there is a credential.
type Source struct {
	cfg     Config
	changed chan struct{}
	told    *trouble // of all connections: the next one may mend what the last one met
	others  []other
	servers addresses

	mu      sync.Mutex
	conn    *connection // the one in use; nil: none yet
	view    *connection // the one that is shown: conn, as soon as it has seen everything
	last    *connection // the one that Snapshot showed; nil: it has not been called
	synced  bool
	trouble error // why not; nil: nothing is known to be wrong

	telling sync.Mutex
	sent    sent
}

// other is what is watched beside the Nodes.
type other interface {
	// begin watches by way of c, until ctx is done. What shown has seen is kept.
	begin(ctx context.Context, c, shown *connection)

	// settled reports whether c has seen all that the server shows of it.
	settled(c *connection) bool
}

// New checks c. It connects to nothing.
func New(c Config) (*Source, error) {
	if c.FirstSync == 0 {
		c.FirstSync = 30 * time.Second
	}
	if c.Kubeconfig == "" && os.Getenv("KUBERNETES_SERVICE_HOST") == "" {
		return nil, errors.New("--kubeconfig: none is named, and KUBERNETES_SERVICE_HOST is not set: this is no pod")
	}
	if wrong := validation.IsQualifiedName(c.Prefix + overlay.LabelPeer); len(wrong) > 0 {
		return nil, fmt.Errorf("annotation prefix %q: %s", c.Prefix, strings.Join(wrong, "; "))
	}
	if wrong := validation.IsValidLabelValue(c.Site); len(wrong) > 0 {
		return nil, fmt.Errorf("site %q: %s", c.Site, strings.Join(wrong, "; "))
	}
	return &Source{cfg: c, changed: make(chan struct{}, 1), sent: sent{}, told: newTrouble(c.Log)}, nil
}

// Changed has a signal waiting when Snapshot may return something else than before.
func (s *Source) Changed() <-chan struct{} { return s.changed }

func (s *Source) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Snapshot returns the Nodes as they are known now, by name. synced never goes back.
func (s *Source) Snapshot() (nodes []overlay.Node, synced bool) {
	s.mu.Lock()
	view, synced := s.view, s.synced
	s.last = view
	s.mu.Unlock()
	if view == nil {
		return nil, false
	}
	return view.all(), synced
}

// showed is the connection whose Nodes Snapshot showed last: what else is shown must be of the same one.
func (s *Source) showed() *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.last, s.view)
}

func (s *Source) inUse() *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// Trouble returns what keeps the source from being synced, as far as it knows: there is no credential, or the API
// server does not answer as it should. It is nil once it is synced.
func (s *Source) Trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

func (s *Source) fails(err error) {
	s.mu.Lock()
	if !s.synced {
		s.trouble = err
	}
	s.mu.Unlock()
	s.signal()
}

// LastSync is when the API server was last heard of, on the watch that has been silent for longest; zero: never.
// A server that is well sends something about once a minute.
func (s *Source) LastSync() time.Time {
	s.mu.Lock()
	view := s.view
	s.mu.Unlock()
	if view == nil {
		return time.Time{}
	}
	return view.lastHeard()
}

// OutOfTouch returns why what Snapshot shows may not be what there is by now: something cannot be read any more, of which
// what was seen last stays. It is nil until the source is synced.
func (s *Source) OutOfTouch() error {
	s.mu.Lock()
	synced := s.synced
	s.mu.Unlock()
	if !synced {
		return nil
	}
	return s.told.first()
}

// APIServerAddrs are the addresses at which the API server is reached, or was since the start, and those of its name.
// It is empty while there is no credential.
func (s *Source) APIServerAddrs() []netip.Addr {
	if a := addr(os.Getenv("KUBERNETES_SERVICE_HOST")); a.IsValid() {
		s.servers.add(a)
	}
	return s.servers.list()
}

// Run watches until ctx is done. It waits for a credential, and connects anew when it becomes another.
func (s *Source) Run(ctx context.Context) error {
	var inUse credential
	disconnect := func() {}
	defer func() { disconnect() }()
	said := ""
	var lapsed <-chan struct{}
	var again <-chan time.Time
	anew := retry.Backoff{First: time.Second, Last: time.Minute}
	connect := func() {
		disconnect()
		disconnect, lapsed = s.connect(ctx, inUse.config)
		again = nil
	}
	for files := []string(nil); ctx.Err() == nil; {
		watched, unwatch, err := watchFiles(ctx, s.cfg.Log, files)
		if err != nil {
			return err
		}
		// The watch stands before the files are read: what changes in between is seen.
		for ctx.Err() == nil {
			now, err := load(s.cfg.Kubeconfig)
			switch {
			case err == nil && !now.equal(inUse):
				inUse, said = now, ""
				if why := now.unchecked(); why != "" {
					s.cfg.Log.Warn("anybody on the path can be the API server", "err", why)
				}
				connect()
			case err != nil && err.Error() != said:
				said = err.Error()
				msg := "waits for a credential for the API server"
				if inUse.config != nil {
					msg = "goes on with the credential that it has"
				}
				s.cfg.Log.Warn(msg, "err", err)
				s.fails(err)
			}
			if !slices.Equal(now.files, files) {
				files = now.files
				break
			}
			select {
			case <-ctx.Done():
			case <-watched:
			case <-lapsed:
				disconnect() // what one of its watches still hears belongs to what another does not any more

				// One that lasts for less has no watch that works, and lists everything each time.
				if s.lasted() > 10*time.Second {
					anew.Reset()
				}
				lapsed, again = nil, time.After(anew.Next())
			case <-again:
				connect()
			}
		}
		unwatch()
	}
	return nil
}

func watchFiles(ctx context.Context, log *slog.Logger, files []string) (<-chan struct{}, context.CancelFunc, error) {
	w, err := watch.New(log, files...)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	go w.Run(ctx)
	return w.C, cancel, nil
}

// connect begins to watch with config. What is shown until then stays until it has seen everything.
// lapsed is closed when it cannot go on with those that it has.
func (s *Source) connect(ctx context.Context, config *rest.Config) (disconnect func(), lapsed <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	conn, err := newConnection(s.cfg, config, s.told, &s.servers, s.signal, s.fails)
	if err != nil {
		err = fmt.Errorf("%s: %w", cmp.Or(s.cfg.Kubeconfig, "in-cluster credential"), err)
		s.cfg.Log.Error("the credential for the API server is of no use", "err", err)
		s.fails(err)
		return cancel, nil
	}
	s.mu.Lock()
	s.conn, s.trouble = conn, nil
	if !s.synced {
		s.view = conn // better some Nodes than none, for whoever does not mind
	}
	shown := s.view
	s.mu.Unlock()
	for _, o := range s.others {
		o.begin(ctx, conn, shown)
	}
	go func() {
		s.servers.resolve(ctx, conn.host)
		s.signal()
	}()
	go conn.run(ctx, func() {
		s.mu.Lock()
		if conn.complete.IsZero() {
			conn.complete = time.Now()
		}
		s.mu.Unlock()
		s.advance(conn)
	})
	return cancel, conn.lapsed
}

// lasted is how long the connection in use has had every Node.
func (s *Source) lasted() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil || s.conn.complete.IsZero() {
		return 0
	}
	return time.Since(s.conn.complete)
}

// advance shows c, if it is in use and has every Node, and of all that is watched beside them what there is to see.
func (s *Source) advance(c *connection) {
	s.mu.Lock()
	unsettled := func(o other) bool { return !o.settled(c) }
	if s.conn == c && !c.complete.IsZero() && (s.view == c || !slices.ContainsFunc(s.others, unsettled)) {
		s.view, s.synced, s.trouble = c, true, nil
	}
	s.mu.Unlock()
	s.signal()
}
