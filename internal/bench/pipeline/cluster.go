package pipeline

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"wg-kube/internal/lab/apiserver"
)

// What is measured in a cluster.
const (
	toWatch    = "a bare watch sees it"
	toDevice   = "the hub's device has it"
	moreThan   = "the device, after the bare watch"
	burstTook  = "burst: device complete, after the last event at a bare watch"
	burstFiles = "burst: proposals written"
	burstMade  = "burst: files in force written"

	renderOfHub    = "hub: wg-render in memory"
	applyOfHub     = "hub: wg-apply in memory"
	renderOfSpoke  = "spoke: wg-render in memory"
	applyOfSpoke   = "spoke: wg-apply in memory"
	restHubRender  = "hub: wg-render at rest"
	restHubApply   = "hub: wg-apply at rest"
	clusterWrites  = "files written at rest, hub and spoke"
	clusterRequest = "API requests about Nodes at rest"
)

// cluster is an API server with many Nodes of spokes that are nothing but Nodes.
type cluster struct {
	*apiserver.Server
	nodes typedcorev1.NodeInterface
	admin *rest.Config
}

// member is a machine of the cluster.
type member struct {
	machine
	apply, render *daemon
}

func (m *measuring) cluster(ctx context.Context, n int) error {
	m.say("%d nodes: created on an API server", n)
	// The server ends with the thread that started it, and threads end here: see in.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	api, err := apiserver.New()
	if errors.Is(err, apiserver.ErrNoBinaries) {
		m.note("There are no figures of a cluster: " + err.Error() + ".")
		return nil
	}
	if err != nil {
		return err
	}
	defer api.Close()
	admin := api.Admin()
	admin.QPS = -1 // it is the server that is to be the limit
	client, err := typedcorev1.NewForConfig(admin)
	if err != nil {
		return err
	}
	c := &cluster{api, client.Nodes(), admin}
	burst := 0
	if n == slices.Max(m.Nodes) {
		burst = min(m.Burst, n/2)
	}
	if err := c.populate(ctx, n, burst); err != nil {
		return err
	}
	hub, err := m.join(c, "hub", "hub")
	if err != nil {
		return err
	}
	defer hub.Close()
	spoke, err := m.join(c, "spoke", "spoke")
	if err != nil {
		return err
	}
	defer spoke.Close()
	for _, w := range []struct {
		*member
		peers int
	}{{hub, n - burst + 1}, {spoke, 1}} { // the machine that is a spoke is one of the hub's
		if err := until(ctx, w.Name+" has its peers", func() bool { return w.has(w.peers) == nil }); err != nil {
			return fmt.Errorf("%w; %s; %s", err, w.apply.said(), w.render.said())
		}
	}
	if burst > 0 {
		m.say("%d nodes: %d of them annotated at once", n, burst)
		if err := m.annotateMany(ctx, c, hub, n, burst); err != nil {
			return err
		}
	}
	m.say("%d nodes: one after the other annotated", n)
	if err := m.annotateOne(ctx, c, hub, n); err != nil {
		return err
	}
	m.say("%d nodes: at rest, for %s", n, m.Rest)
	return m.clusterAtRest(ctx, c, hub, spoke, n)
}

// populate creates n spokes, the last of which do not say their key yet, and the Nodes of the machines.
func (c *cluster) populate(ctx context.Context, n, silent int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	create := func(node *corev1.Node) {
		g.Go(func() error {
			_, err := c.nodes.Create(ctx, node, metav1.CreateOptions{})
			return err
		})
	}
	create(hubNode("hub"))
	create(largeNode("spoke"))
	for i := range n {
		create(spokeNode(i, i < n-silent))
	}
	return g.Wait()
}

// join starts both daemons on a machine of its own. wg-render has the machine's files and the network of the API server.
func (m *measuring) join(c *cluster, name, role string) (w *member, err error) {
	w = &member{}
	if w.machine, err = m.boot(name); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	const kubeconfig = "/run/kubelet/kubeconfig"
	if err := w.WriteFile(kubeconfig, string(apiserver.Kubeconfig(c.admin)), 0o600); err != nil {
		return nil, err
	}
	if w.apply, err = w.start("wg-apply", "run", "--proposed", iface, "--proposals", proposals); err != nil {
		return nil, err
	}
	args := []string{"--mount", "--target", strconv.Itoa(w.PID()), filepath.Join(m.Bin, "wg-render"), "run", "--role", role,
		"--node-name", name, "--kubeconfig", kubeconfig, "--out", proposals, "--metrics-addr", "off"}
	if role == "hub" {
		args = append(args, "--address", hubAddress.String(), "--endpoint", "192.0.2.1:51820")
	}
	w.render, err = w.startAs("wg-render", exec.Command("nsenter", args...))
	return w, err
}

// annotate puts annotations on the Node of spoke i and returns its version.
func (c *cluster) annotate(ctx context.Context, i int, annotations map[string]string) (version string, err error) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return "", err
	}
	n, err := c.nodes.Patch(ctx, spokeNode(i, false).Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return "", err
	}
	return n.ResourceVersion, nil
}

// seen is when a bare watch saw a version of a Node.
type seen struct {
	version string
	at      time.Time
}

// watch is a bare watch of the spokes, from now on.
func (c *cluster) watch(ctx context.Context) (<-chan seen, error) {
	now, err := c.nodes.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, err
	}
	from := func(version string) (watch.Interface, error) {
		return c.nodes.Watch(ctx, metav1.ListOptions{LabelSelector: prefix + "peer=true", ResourceVersion: version})
	}
	version := now.ResourceVersion
	w, err := from(version)
	if err != nil {
		return nil, err
	}
	out := make(chan seen, 100_000) // it never waits
	go func() {
		defer close(out)
		for ; err == nil; w, err = from(version) { // a server may end a watch at any time
			for e := range w.ResultChan() {
				n, ok := e.Object.(*corev1.Node)
				if !ok {
					return // an error
				}
				version = n.ResourceVersion
				if e.Type == watch.Modified {
					out <- seen{version, time.Now()}
				}
			}
		}
	}()
	return out, nil
}

// annotateOne gives one spoke after the other one more prefix.
func (m *measuring) annotateOne(ctx context.Context, c *cluster, hub *member, n int) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	events, err := c.watch(ctx)
	if err != nil {
		return err
	}
	warmUp := min(warmUp, m.Rounds)
	for round := range warmUp + m.Rounds {
		for _, d := range []*daemon{hub.render, hub.apply} {
			if err := d.untilQuiet(ctx); err != nil {
				return err
			}
		}
		a, err := hub.routes(unix.RTM_NEWROUTE, 1)
		if err != nil {
			return err
		}
		i := round % n
		began := time.Now()
		version, err := c.annotate(ctx, i, map[string]string{
			prefix + "allowed-ips": fmt.Sprintf("%s,172.16.%d.%d/32", peerRoute(i), round>>8, round&0xff)})
		if err != nil {
			return err
		}
		at, err := a.wait(ctx)
		if err != nil {
			return fmt.Errorf("%w; %s; %s", err, hub.render.said(), hub.apply.said())
		}
		event, err := find(ctx, events, version)
		if err != nil {
			return err
		}
		if round >= warmUp {
			m.times(toWatch, n, event.Sub(began))
			m.times(toDevice, n, at.Sub(began))
			m.times(moreThan, n, at.Sub(event))
		}
	}
	return nil
}

// find waits for the event of a version.
func find(ctx context.Context, events <-chan seen, version string) (time.Time, error) {
	end := time.After(hang)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return time.Time{}, errors.New("the bare watch ended")
			}
			if e.version == version {
				return e.at, nil
			}
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		case <-end:
			return time.Time{}, fmt.Errorf("the bare watch saw nothing within %s", hang)
		}
	}
}

// annotateMany lets those spokes say their keys that did not yet, all at once.
func (m *measuring) annotateMany(ctx context.Context, c *cluster, hub *member, n, burst int) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	events, err := c.watch(ctx)
	if err != nil {
		return err
	}
	for _, d := range []*daemon{hub.render, hub.apply} {
		if err := d.untilQuiet(ctx); err != nil {
			return err
		}
	}
	w, err := watchWrites(hub.Path(proposals), hub.Path(filepath.Dir(inForce)))
	if err != nil {
		return err
	}
	a, err := hub.routes(unix.RTM_NEWROUTE, burst)
	if err != nil {
		return err
	}
	g, patching := errgroup.WithContext(ctx)
	g.SetLimit(64)
	for i := n - burst; i < n; i++ {
		g.Go(func() error {
			_, err := c.annotate(patching, i, map[string]string{prefix + "public-key": peerKey(i).String()})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	at, err := a.wait(ctx)
	if err != nil {
		return fmt.Errorf("%w; %s; %s", err, hub.render.said(), hub.apply.said())
	}
	var last time.Time
	for range burst {
		select {
		case e, ok := <-events:
			if !ok {
				return errors.New("the bare watch ended")
			}
			last = e.at
		case <-time.After(hang):
			return errors.New("the bare watch has not seen them all")
		}
	}
	if err := hub.has(n + 1); err != nil {
		return err
	}
	written := w.stop()
	m.times(burstTook, n, max(0, at.Sub(last)))
	m.Add(burstFiles, "files", n, float64(written[hub.Path(proposal)]))
	m.Add(burstMade, "files", n, float64(written[hub.Path(inForce)]))
	return nil
}

// clusterAtRest measures what the daemons take when nothing happens.
func (m *measuring) clusterAtRest(ctx context.Context, c *cluster, hub, spoke *member, n int) error {
	folders := []string{}
	for _, w := range []*member{hub, spoke} {
		for _, dir := range []string{filepath.Dir(inForce), proposals} {
			folders = append(folders, w.Path(dir))
		}
	}
	before, err := c.requests()
	if err != nil {
		return err
	}
	percent, written, err := m.atRest(ctx, folders, hub.render, hub.apply)
	if err != nil {
		return err
	}
	after, err := c.requests()
	if err != nil {
		return err
	}
	m.Add(restHubRender, "% of a core", n, percent[0])
	m.Add(restHubApply, "% of a core", n, percent[1])
	m.Add(clusterWrites, "files", n, float64(len(written)))
	m.Add(clusterRequest, "requests", n, after-before)
	for _, d := range []struct {
		name string
		*daemon
	}{{renderOfHub, hub.render}, {applyOfHub, hub.apply}, {renderOfSpoke, spoke.render}, {applyOfSpoke, spoke.apply}} {
		if err := m.memory(d.name, n, d.daemon); err != nil {
			return err
		}
	}
	return nil
}

// requests is how many requests about Nodes the API server has answered. A watch that is still open is none yet.
func (c *cluster) requests() (sum float64, err error) {
	client, err := rest.HTTPClientFor(c.admin)
	if err != nil {
		return 0, err
	}
	r, err := client.Get(c.admin.Host + "/metrics")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("metrics of the API server: %s", r.Status)
	}
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, "apiserver_request_total{") || !strings.Contains(line, `resource="nodes"`) {
			continue
		}
		v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum += v
	}
	return sum, lines.Err()
}
