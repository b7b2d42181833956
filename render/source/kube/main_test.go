package kube_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	typedrbacv1 "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/apiserver"
	"wg-kube/render"
	"wg-kube/render/overlay"
	"wg-kube/render/source/kube"
)

const prefix = "wireguard.kube/"

var (
	_ render.Source    = (*kube.Source)(nil)
	_ render.Publisher = (*kube.Source)(nil)
	_ render.Remote    = (*kube.Source)(nil)
)

// shared is one API server for all tests, made by the first that needs it. Each test begins without Nodes.
var shared struct {
	once   sync.Once
	server *apiserver.Server
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		shared.server.Close()
	}
	os.Exit(code)
}

// cluster is the shared server, as a test works on it.
type cluster struct {
	*apiserver.Server
	t     *testing.T
	nodes typedcorev1.NodeInterface
}

func newCluster(t *testing.T) cluster {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = apiserver.New() })
	if errors.Is(shared.err, apiserver.ErrNoBinaries) {
		lab.Skip(t, shared.err.Error())
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	c := cluster{shared.server, t, typedcorev1.NewForConfigOrDie(shared.server.Admin()).Nodes()}
	if err := c.nodes.DeleteCollection(context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c cluster) create(nodes ...corev1.Node) {
	c.t.Helper()
	for _, n := range nodes {
		n.ResourceVersion, n.UID = "", ""
		if _, err := c.nodes.Create(context.Background(), &n, metav1.CreateOptions{}); err != nil {
			c.t.Fatal(err)
		}
	}
}

// patch merges doc into a Node; a null removes.
func (c cluster) patch(name, doc string, subresources ...string) {
	c.t.Helper()
	_, err := c.nodes.Patch(context.Background(), name, types.MergePatchType, []byte(doc), metav1.PatchOptions{}, subresources...)
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c cluster) delete(name string) {
	c.t.Helper()
	if err := c.nodes.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c cluster) get(name string) *corev1.Node {
	c.t.Helper()
	n, err := c.nodes.Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// kubelet is the credential of a Node's kubelet.
func (c cluster) kubelet(node string) *rest.Config {
	return c.User("system:node:"+node, "system:nodes")
}

// letKubelets is what spokes need that use their kubelets' credentials: to list and watch Nodes.
func (c cluster) letKubelets(verbs ...string) {
	c.t.Helper()
	c.letSeeNodes(rbacv1.GroupKind, "system:nodes", verbs...)
}

// letSeeNodes binds a ClusterRole with these verbs on Nodes to a user or a group.
func (c cluster) letSeeNodes(kind, who string, verbs ...string) {
	c.t.Helper()
	ctx, rbac := context.Background(), typedrbacv1.NewForConfigOrDie(c.Admin())
	meta := metav1.ObjectMeta{Name: "wg-kube-nodes"}
	_, err := rbac.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: verbs},
	}}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: kind, Name: who}},
	}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		_ = rbac.ClusterRoleBindings().Delete(ctx, meta.Name, metav1.DeleteOptions{})
		_ = rbac.ClusterRoles().Delete(ctx, meta.Name, metav1.DeleteOptions{})
	})
}

// fixture is the cluster of testdata, as kubectl printed it.
func fixture(t *testing.T) []corev1.Node {
	t.Helper()
	b, err := os.ReadFile("../../../testdata/nodes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var list corev1.NodeList
	if err := yaml.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// node is a Node with labels and annotations, given without their prefix as key=value.
func node(name string, labels, annotations []string) corev1.Node {
	with := func(pairs []string) map[string]string {
		m := map[string]string{}
		for _, p := range pairs {
			k, v, _ := strings.Cut(p, "=")
			m[prefix+k] = v
		}
		return m
	}
	return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: with(labels), Annotations: with(annotations)}}
}

// running is a source at work.
type running struct {
	*kube.Source
	others render.Peers // nil: none
	t      *testing.T
	log    *logLines
	stop   func()
}

// run starts a source with the credential, and with what watches by way of it, until the test ends.
func run(t *testing.T, credential *rest.Config, c kube.Config, others ...func(*kube.Source) render.Peers) running {
	t.Helper()
	if c.Kubeconfig == "" {
		c.Kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	}
	if credential != nil {
		writeFile(t, c.Kubeconfig, apiserver.Kubeconfig(credential))
	}
	if c.Prefix == "" {
		c.Prefix = prefix
	}
	lines := new(logLines)
	c.Log = slog.New(slog.NewJSONHandler(lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := kube.New(c)
	if err != nil {
		t.Fatal(err)
	}
	r := running{Source: s, t: t, log: lines}
	ctx, cancel := context.WithCancel(context.Background())
	for _, other := range others {
		r.others = other(s)
		go func() { _ = r.others.Run(ctx) }()
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("Run did not return when it was asked to")
		}
	})
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("log:\n%s", lines)
		}
	})
	return r
}

// eventually waits until ok, and says how long that took.
func (r running) eventually(what string, ok func() bool) time.Duration {
	r.t.Helper()
	const limit = 45 * time.Second // client-go waits for up to 30 s between its tries
	began := time.Now()
	for !ok() {
		if time.Since(began) > limit {
			nodes, synced := r.Snapshot()
			r.t.Fatalf("not within %v: %s; have %v, synced %v", limit, what, names(nodes), synced)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

// has waits until the snapshot is synced and has exactly these Nodes.
func (r running) has(want ...string) []overlay.Node {
	r.t.Helper()
	var nodes []overlay.Node
	r.eventually("synced, with "+strings.Join(want, " "), func() bool {
		var synced bool
		nodes, synced = r.Snapshot()
		return synced && slices.Equal(names(nodes), want)
	})
	return nodes
}

// hasPeers waits until what is no Node is synced and has exactly these, without their namespace.
func (r running) hasPeers(want ...string) (peers []overlay.Peer) {
	r.t.Helper()
	r.eventually("synced, with the peers "+strings.Join(want, " "), func() bool {
		var synced bool
		peers, synced = r.others.Snapshot()
		var names []string
		for _, p := range peers {
			_, name, _ := strings.Cut(p.Name, "/")
			names = append(names, name)
		}
		return synced && slices.Equal(names, want)
	})
	return peers
}

// settle takes the signals of what the test has done so far.
func (r running) settle() {
	for {
		select {
		case <-r.Changed():
		case <-time.After(300 * time.Millisecond):
			return
		}
	}
}

// annotation of a Node in the snapshot.
func (r running) annotation(node, key string) string {
	nodes, _ := r.Snapshot()
	for _, n := range nodes {
		if n.Name == node {
			return n.Annotations[prefix+key]
		}
	}
	return ""
}

func names(nodes []overlay.Node) (names []string) {
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return names
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// logLines is a log of JSON.
type logLines struct{ lab.Log }

// errors are the err attributes of the lines with this message.
func (l *logLines) errors(msg string) (errs []string) {
	for line := range strings.Lines(l.String()) {
		var entry struct{ Msg, Err string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == msg {
			errs = append(errs, entry.Err)
		}
	}
	return errs
}
