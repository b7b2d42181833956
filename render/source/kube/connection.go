package kube

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	eventsv1 "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"

	"wg-kube/render/overlay"
)

// connection is what is watched with one credential.
type connection struct {
	cfg     Config
	host    string // of the API server, without the port
	http    *http.Client
	client  corev1.NodeInterface
	events  eventsv1.EventsGetter
	others  dynamic.Interface // for what is no Node
	trouble *trouble
	changed func()      // its Nodes are others than before
	fails   func(error) // it cannot list Nodes
	lapsed  chan struct{}
	lapse   func() // closes lapsed: a query cannot go on, so everything has to begin anew

	complete time.Time // when it first had every Node; zero: not yet; guarded by Source.mu

	ownChanged chan struct{}
	own, hubs  *query[overlay.Node]
	owned      atomic.Pointer[owned] // of the own Node as it was last read; not nil where there is one

	mu    sync.Mutex
	peers *query[overlay.Node] // nil: not seen yet, or a spoke without a site
}

func newConnection(cfg Config, config *rest.Config, t *trouble, at *addresses, changed func(), fails func(error)) (*connection, error) {
	config = rest.CopyConfig(config)
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return transport{rt, at} })
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	core, err := corev1.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	events, err := eventsv1.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	others, err := dynamic.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	c := &connection{
		cfg:        cfg,
		host:       server.Hostname(),
		http:       client,
		client:     core.Nodes(),
		events:     events,
		others:     others,
		trouble:    t,
		changed:    changed,
		fails:      fails,
		lapsed:     make(chan struct{}),
		ownChanged: make(chan struct{}, 1),
	}
	c.lapse = sync.OnceFunc(func() { close(c.lapsed) })
	own := selector{fields: fields.OneTermEqualSelector("metadata.name", cfg.Node).String()}
	c.own = c.nodes("own node", own, func() {
		select {
		case c.ownChanged <- struct{}{}:
		default:
		}
		changed()
	})
	read := c.own.read
	c.own.read = func(o runtime.Object) overlay.Node {
		c.owned.Store(ownedOf(o.(*v1.Node), cfg.fieldManager()))
		return read(o)
	}
	c.hubs = c.nodes("hubs", selector{labels: cfg.Prefix + overlay.LabelHub + "=true"}, changed)
	return c, nil
}

// run watches until ctx is done. It calls synced whenever every Node there is has been seen once, which is anew
// after the site became another.
func (c *connection) run(ctx context.Context, synced func()) {
	defer utilnet.CloseIdleConnectionsFor(c.http.Transport)
	c.own.start(ctx)
	c.hubs.start(ctx)
	if !c.own.wait(ctx) || !c.hubs.wait(ctx) {
		return
	}
	var next *query[overlay.Node] // the peers that are watched: shown as soon as it has them all
	var complete <-chan struct{}
	for {
		if want := c.wantedPeers(next); next == nil || next.selector != want {
			if next != nil {
				next.stop()
			}
			next = c.nodes("peers", want, c.changed)
			complete = next.synced
			next.start(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.ownChanged:
		case <-complete:
			complete = nil
			c.mu.Lock()
			c.peers = next
			c.mu.Unlock()
			synced()
		}
	}
}

// wantedPeers is, for a hub and in a mesh, every peer; for a spoke the peers of its site, if it has one.
func (c *connection) wantedPeers(now *query[overlay.Node]) selector {
	peer := c.cfg.Prefix + overlay.LabelPeer + "=true"
	if c.cfg.Role != overlay.Spoke {
		return selector{labels: peer}
	}
	site := c.cfg.Site
	if site == "" {
		own, ok := c.ownNode()
		if !ok && now != nil {
			return now.selector // a Node that is gone does not say that it moved
		}
		site = own.Labels[c.cfg.Prefix+overlay.LabelSite]
	}
	if site == "" {
		return selector{none: true}
	}
	return selector{labels: peer + "," + c.cfg.Prefix + overlay.LabelSite + "=" + site}
}

// ownNode is the own Node, if it is there.
func (c *connection) ownNode() (overlay.Node, bool) {
	for _, n := range c.own.objects() {
		return n.value, true
	}
	return overlay.Node{}, false
}

// queries are those whose Nodes are shown.
func (c *connection) queries() []*query[overlay.Node] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peers == nil {
		return []*query[overlay.Node]{c.own, c.hubs}
	}
	return []*query[overlay.Node]{c.own, c.hubs, c.peers}
}

// all merges what the queries have, by name. Two watches are never equally far: the newer state of a Node counts.
func (c *connection) all() []overlay.Node {
	var all []*kept[overlay.Node]
	for _, q := range c.queries() {
		all = append(all, q.objects()...)
	}
	slices.SortFunc(all, func(a, b *kept[overlay.Node]) int {
		if n := strings.Compare(a.Name, b.Name); n != 0 {
			return n
		}
		return strings.Compare(a.ResourceVersion, b.ResourceVersion)
	})
	nodes := make([]overlay.Node, 0, len(all))
	for i := 0; i < len(all); {
		newest := all[i]
		for i++; i < len(all) && all[i].Name == newest.Name; i++ {
			if all[i].newerThan(newest) {
				newest = all[i]
			}
		}
		nodes = append(nodes, newest.value)
	}
	return nodes
}

// lastHeard is the oldest of what the queries say.
func (c *connection) lastHeard() time.Time {
	var oldest time.Time
	for i, q := range c.queries() {
		if t := q.lastHeard(); i == 0 || t.Before(oldest) {
			oldest = t
		}
	}
	return oldest
}
