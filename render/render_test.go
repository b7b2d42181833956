package render

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"wg-kube/internal/lab"
	"wg-kube/render/overlay"
	"wg-kube/render/source/fragments"
	"wg-kube/templates/status"
	"wg-kube/templates/wgquick"
)

const (
	prefix   = "wireguard.kube/"
	aliceKey = "xqoZxRAgHsmSB+qssFKzTNIs5t8Ms+EneXSQP4zcjmw="
	bobKey   = "/mmJFqJ75KoYswcguo02NN25UpkjjejJNBaIcdVyjl0="
	hubKey   = "IKTy2zSYiUnTJUNFrGFCOattmGH0uLtnzgDu2o5eEzM="
	static   = "[Peer]\nPublicKey = lS9du/F/qNtZzF25qACf8zCpwY9Cbe9NynIDeWXlKWA=\nAllowedIPs = 10.9.0.0/24\n"
)

// cluster is a Source and a Publisher of which the test says what it knows.
type cluster struct {
	changed chan struct{}

	mu        sync.Mutex
	nodes     map[string]overlay.Node
	synced    bool
	refuse    error
	published []string
}

func newCluster(nodes ...overlay.Node) *cluster {
	c := &cluster{changed: make(chan struct{}, 1), nodes: map[string]overlay.Node{}}
	c.set(nodes...)
	return c
}

func (c *cluster) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (c *cluster) Changed() <-chan struct{}      { return c.changed }

func (c *cluster) Snapshot() (nodes []overlay.Node, synced bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		nodes = append(nodes, n)
	}
	return nodes, c.synced
}

func (c *cluster) writes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.published)
}

func (c *cluster) Publish(_ context.Context, labels, annotations map[string]string) (written bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.published = append(c.published, fmt.Sprint(labels, annotations))
	if c.refuse != nil {
		return false, c.refuse
	}
	own := c.nodes["hub-1"]
	own.Labels, own.Annotations = maps.Clone(labels), maps.Clone(annotations)
	c.nodes["hub-1"] = own
	c.signal()
	return true, nil
}

func (c *cluster) set(nodes ...overlay.Node) {
	c.change(func() {
		for _, n := range nodes {
			c.nodes[n.Name] = n
		}
	})
}

func (c *cluster) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	c.signal()
}

func (c *cluster) signal() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func spoke(name, key, claim string) overlay.Node {
	return overlay.Node{
		Name:        name,
		UID:         "uid-" + name,
		Labels:      map[string]string{prefix + "peer": "true"},
		Annotations: map[string]string{prefix + "public-key": key, prefix + "allowed-ips": claim},
	}
}

// onlySource hides that a cluster is a Publisher.
type onlySource struct{ Source }

// bench is a hub with folders of its own.
type bench struct {
	t                     *testing.T
	out, runDir, peersDir string
	others                Peers // nil: none
	role                  overlay.Role
	log                   *lab.Log
	registry              *prometheus.Registry
	loop                  *Loop
	stop                  func()
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, role: overlay.Hub, out: t.TempDir(), runDir: t.TempDir() + "/later", peersDir: t.TempDir(), log: &lab.Log{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", b.log)
		}
	})
	return b
}

func (b *bench) open(nodes Source) *Loop {
	b.t.Helper()
	b.registry = prometheus.NewRegistry()
	log := slog.New(slog.NewTextHandler(b.log, nil))
	static, err := fragments.New(b.peersDir, log)
	if err != nil {
		b.t.Fatal(err)
	}
	var peers []Peers
	if b.others != nil {
		peers = append(peers, b.others)
	}
	loop, err := New(Config{
		Self: overlay.Self{
			Node: "hub-1", Role: b.role, Interface: "wg0", ListenPort: 51820,
			Address: []netip.Prefix{netip.MustParsePrefix("100.96.0.1/32")},
		},
		Policy:    overlay.Policy{Prefix: prefix, From: "a test"},
		Nodes:     nodes,
		Peers:     peers,
		Fragments: static,
		Out:       b.out,
		RunDir:    b.runDir,
		Settle:    20 * time.Millisecond,
		Log:       log,
		Metrics:   NewMetrics(b.registry),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.loop = loop
	return loop
}

// run starts the loop; b.stop ends it, as a restart would.
func (b *bench) run(nodes Source) {
	b.t.Helper()
	b.start(b.open(nodes))
}

func (b *bench) start(loop *Loop) {
	ctx, stop := context.WithCancel(b.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := loop.Run(ctx); err != nil {
			b.t.Errorf("Run: %v", err)
		}
	})
	b.stop = func() { stop(); running.Wait() }
	b.t.Cleanup(b.stop)
}

func (b *bench) path() string { return b.out + "/wg0.conf" }

func (b *bench) file() string {
	if fi, err := os.Lstat(b.path()); err != nil || !fi.Mode().IsRegular() {
		return "" // to read a fifo is to wait
	}
	f, err := os.ReadFile(b.path())
	if err != nil {
		return ""
	}
	return string(f)
}

// peers waits until the proposal holds exactly these, by the name of their origin.
func (b *bench) peers(want ...string) {
	b.t.Helper()
	b.eventually("peers "+strings.Join(want, " "), func() bool {
		c, err := wgquick.Parse("wg0.conf", []byte(b.file()))
		if err != nil {
			return false
		}
		var got []string
		for _, p := range c.Peers {
			got = append(got, p.Origin.Name)
		}
		return strings.Join(got, " ") == strings.Join(want, " ") && b.file() != ""
	})
}

func (b *bench) eventually(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("never: %s; the proposal is\n%s", what, b.file())
		}
	}
}

// still fails if the proposal is written in the next moment, with whatever content.
func (b *bench) still() {
	b.t.Helper()
	before, err := os.Stat(b.path())
	if err != nil {
		b.t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	after, err := os.Stat(b.path())
	if err != nil {
		b.t.Fatal(err)
	}
	if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		b.t.Errorf("it was written, and nothing had changed:\n%s", b.file())
	}
}

func (b *bench) logged(want string, times int) {
	b.t.Helper()
	if got := strings.Count(b.log.String(), want); got != times {
		b.t.Errorf("%d log lines with %q, want %d", got, want, times)
	}
}

// gauge is the sum over a gauge's labels.
func (b *bench) gauge(name string) (sum float64) {
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func (b *bench) write(path, content string) {
	b.t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func TestFirstStart(t *testing.T) {
	b := newBench(t)
	c := newCluster()
	b.run(onlySource{c})
	b.peers() // the interface alone, with no cluster
	b.write(b.peersDir+"/static.conf", "[Peer")
	b.eventually("it is refused", func() bool { return strings.Contains(b.file(), "refused: fragment/static.conf") })
	b.write(b.peersDir+"/static.conf", static)
	b.peers("static.conf") // which may be the way to the cluster
	c.change(func() { c.synced = true })
	c.set(spoke("alice", aliceKey, "10.1.0.0/24"))
	b.eventually("waits for its own Node", func() bool { return strings.Contains(b.log.String(), "waiting for Node hub-1") })
	b.peers("static.conf")
	c.set(overlay.Node{Name: "hub-1"})
	b.peers("alice", "static.conf")
	c.set(spoke("bob", bobKey, "10.2.0.0/24"))
	b.peers("alice", "bob", "static.conf")
	b.still()
	if fi, _ := os.Stat(b.path()); fi.Mode() != 0o640 {
		t.Errorf("mode %v, want 0640", fi.Mode())
	}
	if got := b.gauge("wg_render_peers"); got != 3 {
		t.Errorf("wg_render_peers %v, want 3", got)
	}
}

func TestProposalStaysUntilEverythingIsThere(t *testing.T) {
	b := newBench(t)
	b.write(b.peersDir+"/static.conf", static)
	c := newCluster(overlay.Node{Name: "hub-1"}, spoke("alice", aliceKey, "10.1.0.0/24"))
	c.synced = true
	b.run(onlySource{c})
	b.peers("alice", "static.conf")
	b.stop()

	empty := newCluster()
	b.run(onlySource{empty})
	b.still() // not synced
	empty.change(func() { empty.synced = true })
	b.still() // no Node of its own
	b.peers("alice", "static.conf")
	empty.set(overlay.Node{Name: "hub-1"})
	b.peers("static.conf")
	b.logged("waiting for the Nodes", 1)
	b.logged("waiting for Node hub-1", 1)
}

// Of many changes that come together, a second's are collected, and no more.
func TestManyChangesAreAFewProposals(t *testing.T) {
	b := newBench(t)
	c := newCluster(overlay.Node{Name: "hub-1"})
	c.synced = true
	b.run(onlySource{c})
	b.peers()
	for n := range 400 {
		key := wgquick.PublicKey{byte(n), byte(n >> 8), 1}
		c.set(spoke(fmt.Sprintf("spoke-%d", n), key.String(), fmt.Sprintf("10.1.%d.%d/32", n/256, n%256)))
		time.Sleep(5 * time.Millisecond)
	}
	c.set(spoke("alice", aliceKey, "10.2.0.0/24"))
	b.eventually("the last change is proposed", func() bool { return strings.Contains(b.file(), "10.2.0.0/24") })
	if n := strings.Count(b.log.String(), "msg=proposed"); n > 10 {
		t.Errorf("%d proposals in about two seconds", n)
	}
}

func TestRestartWritesNothing(t *testing.T) {
	b := newBench(t)
	b.write(b.peersDir+"/static.conf", static)
	c := newCluster(overlay.Node{Name: "hub-1"}, spoke("alice", aliceKey, "10.1.0.0/24"), spoke("greedy", bobKey, "0.0.0.0/0"))
	c.synced = true
	b.run(onlySource{c})
	b.peers("alice", "static.conf")
	b.stop()
	b.run(onlySource{c})
	b.still()
}

func TestBrokenFragmentKeepsItsPeers(t *testing.T) {
	b := newBench(t)
	b.write(b.peersDir+"/static.conf", static)
	c := newCluster(overlay.Node{Name: "hub-1"})
	c.synced = true
	b.run(onlySource{c})
	b.peers("static.conf")
	b.write(b.peersDir+"/static.conf", static+"Colour = red\n")
	b.eventually("it is refused", func() bool { return strings.Contains(b.file(), "Colour") })
	b.peers("static.conf")
	b.stop()

	b.run(onlySource{c})
	b.still()
	b.peers("static.conf")
	b.write(b.peersDir+"/static.conf", static)
	b.eventually("it is mended", func() bool { return !strings.Contains(b.file(), "Colour") })
	b.peers("static.conf")
	if err := os.Remove(b.peersDir + "/static.conf"); err != nil {
		t.Fatal(err)
	}
	b.peers()
}

func TestRefusalsAreLoggedOnce(t *testing.T) {
	b := newBench(t)
	c := newCluster(overlay.Node{Name: "hub-1"}, spoke("greedy", aliceKey, "0.0.0.0/0"))
	c.synced = true
	b.run(onlySource{c})
	b.eventually("it is refused", func() bool { return b.gauge("wg_render_rejections") == 1 })
	c.set(spoke("bob", bobKey, "10.2.0.0/24"))
	b.eventually("bob is in", func() bool { return strings.Contains(b.file(), "Node/bob") })
	c.set(spoke("greedy", aliceKey, "10.1.0.0/24"))
	b.peers("bob", "greedy")
	b.eventually("it is said", func() bool { return strings.Contains(b.log.String(), "no longer so") })
	b.logged("claim refused", 1)
	b.logged("no longer so", 1)
	if b.gauge("wg_render_rejections") != 0 {
		t.Error("it is still counted")
	}
}

// TestOneThatChangesAllTheTime fills the comments of the proposal, and no log.
func TestOneThatChangesAllTheTime(t *testing.T) {
	b := newBench(t)
	c := newCluster(overlay.Node{Name: "hub-1"})
	c.synced = true
	b.run(onlySource{c})
	b.peers()
	for i := range 3 * changesAtOnce {
		c.set(spoke("junk", aliceKey, fmt.Sprint("junk-", i)))
		b.eventually("it is refused", func() bool { return strings.Contains(b.file(), fmt.Sprintf(`"junk-%d"`, i)) })
	}
	c.set(spoke("greedy", bobKey, "0.0.0.0/0"))
	b.eventually("another is told", func() bool { return strings.Contains(b.log.String(), "peer=Node/greedy") })
	b.logged("peer=Node/junk", 2*changesAtOnce-1)
	b.logged("msg=proposed", 1)
}

func TestProposalOnDiskThatIsOfNoUse(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"cut off": func(p string) error { return os.WriteFile(p, []byte("[Peer]\nPublicKey = xqo"), 0o640) },
		"fifo":    func(p string) error { return syscall.Mkfifo(p, 0o640) },
		"link":    func(p string) error { return os.Symlink("/etc/hostname", p) },
		"empty":   func(p string) error { return os.WriteFile(p, nil, 0o640) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			if err := put(b.path()); err != nil {
				t.Fatal(err)
			}
			c := newCluster(overlay.Node{Name: "hub-1"}, spoke("alice", aliceKey, "10.1.0.0/24"))
			c.synced = true
			b.run(onlySource{c})
			b.peers("alice")
			b.still()
		})
	}
}

// TestWhoHoldsWhatIsNotForgotten, when somebody takes the proposal away or spoils it: an older Node with the same claim
// does not get it by that.
func TestWhoHoldsWhatIsNotForgotten(t *testing.T) {
	alice, older := spoke("alice", aliceKey, "10.1.0.0/24"), spoke("older", bobKey, "10.1.0.0/24")
	alice.Created = time.Now()
	for name, hurt := range map[string]func(path string) error{
		"taken away": os.Remove,
		"spoilt":     func(p string) error { return os.WriteFile(p, []byte("[Peer]\nPublicKey = xqo"), 0o640) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			c := newCluster(overlay.Node{Name: "hub-1"}, alice)
			c.synced = true
			b.run(onlySource{c})
			b.peers("alice")
			c.set(older)
			b.eventually("it is refused", func() bool { return strings.Contains(b.file(), "held by Node/alice") })
			was := b.file()
			if err := hurt(b.path()); err != nil {
				t.Fatal(err)
			}
			b.eventually("it is there again", func() bool { return b.file() == was })
		})
	}
}

func TestFolderOfProposalsThatIsNotThere(t *testing.T) {
	b := newBench(t)
	b.out += "/later"
	c := newCluster(overlay.Node{Name: "hub-1"})
	c.synced = true
	b.run(onlySource{c})
	b.eventually("it is said", func() bool { return strings.Contains(b.log.String(), "not proposed") })
	if b.loop.Ready() == nil {
		t.Error("it says that it is ready")
	}
	if err := os.Mkdir(b.out, 0o755); err != nil {
		t.Fatal(err)
	}
	b.peers() // after a while, by itself
	b.logged("not proposed", 1)
}

// TestWhoIsTakenOutStaysOut: whoever takes the label off a Node is heard, until it is put back.
func TestWhoIsTakenOutStaysOut(t *testing.T) {
	log := &lab.Log{}
	p := newPublisher(nil, Config{Policy: overlay.Policy{Prefix: prefix}, Log: slog.New(slog.NewTextHandler(log, nil))})
	key, _ := wgquick.ParsePublicKey(aliceKey)
	self := overlay.Self{Node: "s", Role: overlay.Spoke, PublicKey: key}
	for _, tc := range []struct {
		labels map[string]string
		want   string
	}{
		{map[string]string{prefix + "peer": "true"}, "true"},
		{nil, ""},
		{map[string]string{"other": "true"}, ""},
		{map[string]string{prefix + "peer": "true"}, "true"},
	} {
		p.offer(self, overlay.Node{Name: "s", Labels: tc.labels, Annotations: map[string]string{prefix + "public-key": aliceKey}})
		if m := <-p.want; m.labels[prefix+"peer"] != tc.want {
			t.Errorf("%v: it is to have %v", tc.labels, m.labels)
		}
	}
	if n := strings.Count(log.String(), "took it out"); n != 1 {
		t.Errorf("that is said %d times:\n%s", n, log)
	}
}

// A hub that is started with the flags of a spoke, such as a unit's own without an environment file, is lost to all.
func TestAHubThatBecomesASpokeIsTold(t *testing.T) {
	for role, want := range map[overlay.Role]int{overlay.Spoke: 1, overlay.Mesh: 0, overlay.Hub: 0} {
		log := &lab.Log{}
		p := newPublisher(nil, Config{Policy: overlay.Policy{Prefix: prefix}, Log: slog.New(slog.NewTextHandler(log, nil))})
		key, _ := wgquick.ParsePublicKey(aliceKey)
		for range 2 {
			p.offer(overlay.Self{Node: "h", Role: role, PublicKey: key}, overlay.Node{Name: "h", Labels: map[string]string{prefix + "hub": "true"}})
		}
		if n := strings.Count(log.String(), "level=WARN"); n != want {
			t.Errorf("%s: it is said %d times:\n%s", role, n, log)
		}
	}
}

// TestTwoMachinesOfOneName: each puts right what the other writes, but not for ever as often, and it is told.
func TestTwoMachinesOfOneName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer stop()
		log, c := &lab.Log{}, newCluster()
		p := newPublisher(c, Config{Policy: overlay.Policy{Prefix: prefix}, Log: slog.New(slog.NewTextHandler(log, nil)), Metrics: NewMetrics(prometheus.NewRegistry())})
		go func() { _ = p.run(ctx) }()
		ours, _ := wgquick.ParsePublicKey(aliceKey)
		offer := func(annotated string) {
			p.offer(overlay.Self{Node: "s", Role: overlay.Spoke, PublicKey: ours},
				overlay.Node{Labels: map[string]string{prefix + "peer": "true"}, Annotations: map[string]string{prefix + "public-key": annotated}})
			time.Sleep(100 * time.Millisecond)
		}
		writes := func(times int, annotated string) int {
			before := c.writes()
			for range times {
				offer(annotated)
			}
			synctest.Wait()
			return c.writes() - before
		}
		if n := writes(6000, bobKey); n < 20 || n > 60 {
			t.Errorf("in 10 minutes it is written %d times", n)
		}
		if n := strings.Count(log.String(), "another machine of this name"); n != 1 {
			t.Errorf("that is said %d times", n)
		}
		writes(1000, aliceKey)
		if n := writes(30, bobKey); n < 2 {
			t.Errorf("after it has stood for a while it is written %d times in 3 s", n)
		}
	})
}

func TestPublish(t *testing.T) {
	b := newBench(t)
	c := newCluster(overlay.Node{Name: "hub-1", ExternalIPs: []netip.Addr{netip.MustParseAddr("203.0.113.7")}})
	c.synced = true
	c.refuse = errors.New("forbidden")
	loop := b.open(c)
	b.start(loop)
	b.peers()
	time.Sleep(50 * time.Millisecond)
	b.logged("own Node not written", 0) // there is no key yet, so nothing is published

	key, _ := wgquick.ParsePublicKey(hubKey)
	s, err := status.Status{Interface: "wg0", PublicKey: key}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(b.runDir, 0o755); err != nil {
		t.Fatal(err)
	}
	b.write(b.runDir+"/wg0.json", string(s))
	b.eventually("it is tried", func() bool { return strings.Contains(b.log.String(), "own Node not written") })
	if err := loop.standing.unwritten(); err == nil || err.Error() != "own Node not written: forbidden" {
		t.Errorf("the status line has %v", err)
	}
	c.change(func() { c.refuse = nil })
	annotations := func() map[string]string {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.nodes["hub-1"].Annotations
	}
	want := map[string]string{
		prefix + "public-key":  hubKey,
		prefix + "allowed-ips": "100.96.0.1/32",
		prefix + "endpoint":    "203.0.113.7:51820",
	}
	b.eventually("it is published", func() bool { return cmp.Equal(want, annotations()) })
	time.Sleep(100 * time.Millisecond)
	b.logged("msg=published", 1)
	b.logged("own Node not written", 1)
	if err := loop.standing.unwritten(); err != nil {
		t.Errorf("the status line still has %v", err)
	}

	c.set(overlay.Node{Name: "hub-1", ExternalIPs: c.nodes["hub-1"].ExternalIPs})
	b.eventually("somebody took it away, and it is published again", func() bool { return cmp.Equal(want, annotations()) })
	own := c.nodes["hub-1"]
	own.ExternalIPs = nil
	c.set(own)
	delete(want, prefix+"endpoint")
	b.eventually("it has no address any more, so no endpoint", func() bool { return cmp.Equal(want, annotations()) })
	b.write(b.runDir+"/wg0.json", "{")
	b.eventually("it is said", func() bool { return strings.Contains(b.log.String(), "the status of the interface cannot be read") })
	b.still()
}

// TestNoClaimCoversFromWherePeersCall: what the device has seen, wg-render is told by the status. Who holds the address
// already keeps it.
func TestNoClaimCoversFromWherePeersCall(t *testing.T) {
	for _, role := range []overlay.Role{overlay.Hub, overlay.Mesh} {
		t.Run(string(role), func(t *testing.T) { testFromWherePeersCall(t, role) })
	}
}

func testFromWherePeersCall(t *testing.T, role overlay.Role) {
	b := newBench(t)
	b.role = role
	caller, thief := spoke("caller", aliceKey, "10.1.0.0/24"), spoke("thief", bobKey, "10.2.0.0/24,198.51.100.7/32")
	c := newCluster(overlay.Node{Name: "hub-1"}, caller)
	c.synced = true
	b.run(onlySource{c})
	b.peers("caller")
	key, _ := wgquick.ParsePublicKey(aliceKey)
	said, err := status.Status{Interface: "wg0", Peers: []status.Peer{{PublicKey: key, Roamed: netip.MustParseAddrPort("198.51.100.7:4711")}}}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(b.runDir, 0o755); err != nil {
		t.Fatal(err)
	}
	b.write(b.runDir+"/wg0.json", string(said))
	b.eventually("the status is read", func() bool { _, met := b.loop.seeDevice(); return len(met) == 1 })
	c.set(thief)
	b.eventually("it is refused", func() bool {
		return strings.Contains(b.file(), `Node/thief: allowed-ips "198.51.100.7/32": covers 198.51.100.7, from where Node/caller calls`)
	})
	b.peers("caller", "thief")
	if strings.Contains(b.file(), "AllowedIPs = 10.2.0.0/24, 198.51.100.7/32") {
		t.Error("it is granted")
	}
	rekeyed := spoke("caller", hubKey, "10.1.0.0/24")
	c.set(rekeyed)
	b.eventually("it has another key", func() bool { return strings.Contains(b.file(), hubKey) })
	b.write(b.runDir+"/wg0.json", "{}")
	b.eventually("nobody has called with that", func() bool { _, met := b.loop.seeDevice(); return len(met) == 0 })
	b.still()
	if strings.Contains(b.file(), "198.51.100.7/32\n") {
		t.Error("it is granted while who calls from there changes its key")
	}
	c.set(caller)
	b.eventually("it has its key again", func() bool { return strings.Contains(b.file(), aliceKey) })
	b.write(b.runDir+"/wg0.json", string(said))
	b.eventually("the status is read", func() bool { _, met := b.loop.seeDevice(); return len(met) == 1 })
	b.still()
	if err := os.Remove(b.runDir + "/wg0.json"); err != nil {
		t.Fatal(err)
	}
	holds := "AllowedIPs = 10.2.0.0/24, 198.51.100.7/32"
	b.eventually("nobody calls from there any more", func() bool { return strings.Contains(b.file(), holds) })
	b.write(b.runDir+"/wg0.json", string(said))
	b.eventually("the status is read", func() bool { _, met := b.loop.seeDevice(); return len(met) == 1 })
	b.still()
	if !strings.Contains(b.file(), holds) {
		t.Error("who holds it has lost it")
	}
}

// partial is a cluster some of which cannot be read: the Nodes of these names, or none knows which.
type partial struct {
	onlySource
	names []string
	blind bool
}

func (p partial) Unread() ([]string, bool) { return p.names, p.blind }

func TestWhatCannotBeReadAfterARestart(t *testing.T) {
	hub, alice, bob := overlay.Node{Name: "hub-1"}, spoke("alice", aliceKey, "10.1.0.0/24"), spoke("bob", bobKey, "10.2.0.0/24")
	carol := spoke("carol", hubKey, "10.3.0.0/24")
	for name, tc := range map[string]struct {
		names []string
		blind bool
		now   []overlay.Node
		want  string
	}{
		"any may be there": {nil, true, []overlay.Node{hub, carol}, "alice bob carol"},
		"one is there":     {[]string{"bob"}, false, []overlay.Node{hub, carol}, "bob carol"},
		"it is a new one":  {[]string{"dave"}, false, []overlay.Node{hub, carol}, "carol"},
		"it can be read":   {[]string{"bob"}, false, []overlay.Node{hub, carol, bob}, "bob carol"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			before := newCluster(hub, alice, bob)
			before.synced = true
			b.run(onlySource{before})
			b.peers("alice", "bob")
			b.stop()
			now := newCluster(tc.now...)
			now.synced = true
			b.run(partial{onlySource{now}, tc.names, tc.blind})
			b.peers(strings.Fields(tc.want)...)
			b.still()
			// A Node that was seen and is gone is none that cannot be read.
			now.change(func() { delete(now.nodes, "carol") })
			b.peers(strings.Fields(strings.ReplaceAll(tc.want, "carol", ""))...)
		})
	}
}

func TestProposalThatSomebodyElseTouches(t *testing.T) {
	b := newBench(t)
	c := newCluster(overlay.Node{Name: "hub-1"}, spoke("alice", aliceKey, "10.1.0.0/24"))
	c.synced = true
	b.run(onlySource{c})
	b.peers("alice")
	b.write(b.path(), "# mine\n")
	b.peers("alice")
	if err := os.Remove(b.path()); err != nil {
		t.Fatal(err)
	}
	b.peers("alice")
	if err := os.Chmod(b.path(), 0o600); err != nil {
		t.Fatal(err)
	}
	b.eventually("its mode is as it was", func() bool {
		fi, err := os.Stat(b.path())
		return err == nil && fi.Mode() == mode
	})
	b.still()
}

// TestProposalThatIsAnotherOneWithoutAWord: something was mounted over its folder for a while, say.
func TestProposalThatIsAnotherOneWithoutAWord(t *testing.T) {
	b := newBench(t)
	c := newCluster(overlay.Node{Name: "hub-1"}, spoke("alice", aliceKey, "10.1.0.0/24"))
	c.synced = true
	loop := b.open(onlySource{c})
	loop.rescan = 100 * time.Millisecond
	b.start(loop)
	b.peers("alice")
	elsewhere := t.TempDir() + "/link" // whoever writes there is not heard here
	if err := os.Link(b.path(), elsewhere); err != nil {
		t.Fatal(err)
	}
	b.still() // that there is another link was heard
	b.write(elsewhere, "# mine\n")
	b.peers("alice")
	b.still()
}

func TestTwoThatWriteOneProposal(t *testing.T) {
	b := newBench(t)
	c := newCluster(overlay.Node{Name: "hub-1"}, spoke("alice", aliceKey, "10.1.0.0/24"))
	c.synced = true
	b.run(onlySource{c})
	b.peers("alice")
	stopFirst := b.stop

	other := newCluster(overlay.Node{Name: "hub-1"}, spoke("bob", bobKey, "10.2.0.0/24"))
	other.synced = true
	const says = "wg0.conf: another wg-render writes it"
	if err := b.open(onlySource{other}).Once(t.Context(), nil); err == nil || !strings.HasSuffix(err.Error(), says) {
		t.Errorf("once: %v", err)
	}
	b.run(onlySource{other})
	b.eventually("it waits", func() bool { return strings.Contains(b.log.String(), says) })
	other.set(spoke("carol", hubKey, "10.3.0.0/24"))
	b.still()
	b.peers("alice")
	stopFirst()
	b.peers("bob", "carol") // after a while, by itself
	b.logged(says, 1)
}

func TestProposalThatIsTooLarge(t *testing.T) {
	fragment := func(name, key string, n int) overlay.Fragment {
		k, _ := wgquick.ParsePublicKey(key)
		p := wgquick.Peer{PublicKey: k}
		for i := range n {
			a := netip.AddrFrom16([16]byte{0x20, 0x01, 0xd, 0xb8, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, k[0], 0x44, 0x10, byte(i >> 16), byte(i >> 8), byte(i)})
			p.AllowedIPs = append(p.AllowedIPs, netip.PrefixFrom(a, 128))
		}
		return overlay.Fragment{Name: name, Peers: []wgquick.Peer{p}}
	}
	var in inputs
	in.self = overlay.Self{Node: "hub-1", Role: overlay.Hub, Interface: "wg0", ListenPort: 51820}
	in.now.Fragments = []overlay.Fragment{fragment("small.conf", bobKey, 190_000), fragment("large.conf", aliceKey, 200_000)}
	l := Loop{Config: Config{Self: in.self}}
	r := l.build(in, proposal{})
	if r.err == nil || r.file != nil {
		t.Fatalf("%d bytes are no error", len(r.file))
	}
	const want = "wg0.conf: 16.3 MiB, more than the 16 MiB that wg-apply reads; 8.4 MiB of it are from fragment/large.conf"
	if r.err.Error() != want {
		t.Errorf("got %v\nwant %s", r.err, want)
	}
}

func TestOnceThatIsInterrupted(t *testing.T) {
	b := newBench(t)
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	err := b.open(onlySource{newCluster()}).Once(ctx, nil)
	if err == nil || !strings.HasSuffix(err.Error(), "wg0.conf: interrupted while it waited for the Nodes") {
		t.Errorf("got %v", err)
	}
}

// lost is a cluster that knows that it cannot be reached.
type lost struct{ onlySource }

func (lost) Trouble() error { return errors.New("192.0.2.1:6443: connect: no route to host") }

func TestOnceWithoutTheCluster(t *testing.T) {
	b := newBench(t)
	began := time.Now()
	err := b.open(lost{onlySource{newCluster()}}).Once(t.Context(), nil)
	const want = "without a peer that is a Node, for want of the Nodes: 192.0.2.1:6443: connect: no route to host"
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("that took %v", took)
	}
	b.peers() // the interface has its address all the same
}

func TestOnce(t *testing.T) {
	alice := spoke("alice", aliceKey, "10.1.0.0/24")
	for name, tc := range map[string]struct {
		before, now []overlay.Node // before: nil, there is no proposal
		want        string         // the peers proposed
		err         string         // a part of it
	}{
		"first":                          {nil, []overlay.Node{{Name: "hub-1"}, alice}, "alice", ""},
		"no own Node, no proposal":       {nil, []overlay.Node{alice}, "", ""},
		"no own Node, a proposal":        {[]overlay.Node{{Name: "hub-1"}, alice}, []overlay.Node{alice}, "alice", "kept as it is"},
		"no own Node, an empty proposal": {[]overlay.Node{{Name: "hub-1"}}, []overlay.Node{alice}, "", ""},
		"a peer gone":                    {[]overlay.Node{{Name: "hub-1"}, alice}, []overlay.Node{{Name: "hub-1"}}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			if tc.before != nil {
				c := newCluster(tc.before...)
				c.synced = true
				if err := b.open(c).Once(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
			}
			c := newCluster(tc.now...)
			c.synced = true
			before := b.file()
			var stdout bytes.Buffer
			err := b.open(c).Once(t.Context(), &stdout)
			if b.file() != before {
				t.Error("with stdout, a file was written")
			}
			if again := b.open(c).Once(t.Context(), nil); fmt.Sprint(again) != fmt.Sprint(err) {
				t.Errorf("to stdout: %v, to disk: %v", err, again)
			}
			if fmt.Sprint(err) != "<nil>" && (tc.err == "" || !strings.Contains(err.Error(), tc.err)) || err == nil && tc.err != "" {
				t.Errorf("want an error with %q, got %v", tc.err, err)
			}
			if err == nil && stdout.String() != b.file() {
				t.Errorf("to stdout and to disk (-stdout +disk):\n%s", cmp.Diff(stdout.String(), b.file()))
			}
			b.peers(strings.Fields(tc.want)...)
			if len(c.published) > 0 {
				t.Error("once published")
			}
		})
	}
}
