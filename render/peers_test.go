package render

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"wg-kube/render/overlay"
)

// others are Peers of which the test says what they know.
type others struct {
	changed chan struct{}

	mu     sync.Mutex
	peers  []overlay.Peer
	synced bool
	denied error
}

func newOthers() *others { return &others{changed: make(chan struct{}, 1)} }

func (o *others) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (o *others) Changed() <-chan struct{}      { return o.changed }
func (o *others) Kind() string                  { return overlay.KindSecret }

func (o *others) Snapshot() ([]overlay.Peer, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.peers, o.synced
}

func (o *others) Denied() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.denied
}

func (o *others) know(denied error, peers ...overlay.Peer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.peers, o.denied, o.synced = peers, denied, denied == nil
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

func laptop() overlay.Peer {
	return overlay.Peer{Kind: overlay.KindSecret, Name: "ns/laptop", UID: "1", PublicKey: hubKey, AllowedIPs: []string{"10.9.0.0/24"}}
}

func TestPeersAreWaitedFor(t *testing.T) {
	b := newBench(t)
	c := newCluster(overlay.Node{Name: "hub-1"}, spoke("alice", aliceKey, "10.1.0.0/24"))
	c.synced = true
	o := newOthers()
	b.others = o
	b.run(onlySource{c})
	b.peers()
	b.eventually("it says for what", func() bool { return strings.Contains(b.log.String(), "waiting for the Secrets") })
	o.know(nil, laptop())
	b.peers("alice", "ns/laptop")
	b.stop()

	o = newOthers()
	b.others = o
	c.set(spoke("bob", bobKey, "10.2.0.0/24"))
	b.run(onlySource{c})
	b.still()
	o.know(nil)
	b.peers("alice", "bob")
}

// TestPeersThatAreNotShown: who cannot have them has the Nodes all the same, and keeps those that there were.
func TestPeersThatAreNotShown(t *testing.T) {
	b := newBench(t)
	c := newCluster(overlay.Node{Name: "hub-1"}, spoke("alice", aliceKey, "10.1.0.0/24"))
	c.synced = true
	o := newOthers()
	o.know(nil, laptop())
	b.others = o
	b.run(onlySource{c})
	b.peers("alice", "ns/laptop")
	b.stop()

	o = newOthers()
	b.others = o
	o.know(errors.New("forbidden"))
	b.run(onlySource{c})
	c.set(spoke("bob", bobKey, "10.2.0.0/24"))
	b.peers("alice", "bob", "ns/laptop")
	b.still()
	o.know(nil)
	b.peers("alice", "bob")
}
