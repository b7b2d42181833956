package kube_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"wg-kube/internal/lab/apiserver"
	"wg-kube/render/overlay"
	"wg-kube/render/source/kube"
	"wg-kube/render/source/manifests"
)

const hub = "aks-system-12345-vmss000000"

func TestAHubSeesWhatTheManifestsSay(t *testing.T) {
	api := newCluster(t)
	api.create(fixture(t)...)

	files, err := manifests.New("../../../testdata/nodes.yaml", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = files.Run(ctx) }()
	var want []overlay.Node
	for synced := false; !synced; {
		<-files.Changed()
		want, synced = files.Snapshot()
	}
	// The manifests have every Node, the watch those that take part.
	want = slices.DeleteFunc(want, func(n overlay.Node) bool {
		return n.Labels[prefix+overlay.LabelHub] != "true" && n.Labels[prefix+overlay.LabelPeer] != "true"
	})
	slices.SortFunc(want, func(a, b overlay.Node) int { return strings.Compare(a.Name, b.Name) })

	src := run(t, api.Admin(), kube.Config{Node: hub, Role: overlay.Hub})
	got := src.has(names(want)...)
	for i, n := range got {
		if live := api.get(n.Name); n.UID != string(live.UID) || !n.Created.Equal(live.CreationTimestamp.Time) {
			t.Errorf("%s: uid %s, created %v; the server has %s, %v", n.Name, n.UID, n.Created, live.UID, live.CreationTimestamp)
		}
		want[i].Labels, want[i].Annotations = ours(want[i].Labels), ours(want[i].Annotations)
	}
	theServerSetsAnew := cmpopts.IgnoreFields(overlay.Node{}, "UID", "Created")
	if diff := cmp.Diff(want, got, theServerSetsAnew, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("manifests (-) and API server (+) differ:\n%s", diff)
	}
	if age := time.Since(src.LastSync()); age > time.Minute {
		t.Errorf("last heard of the server %v ago", age)
	}
	if got := src.APIServerAddrs(); !slices.Contains(got, netip.MustParseAddr("127.0.0.1")) {
		t.Errorf("APIServerAddrs() = %v; want 127.0.0.1 in it", got)
	}
}

func ours(all map[string]string) map[string]string {
	m := map[string]string{}
	for k, v := range all {
		if strings.HasPrefix(k, prefix) {
			m[k] = v
		}
	}
	return m
}

func TestASpokeSeesTheHubsAndItsSite(t *testing.T) {
	api := newCluster(t)
	api.create(fixture(t)...)
	for _, c := range []struct {
		name, node, site string
		want             []string
	}{
		{"no site", "spoke-berlin-1", "", []string{hub, "spoke-berlin-1"}},
		{"the site of its label", "spoke-lab-a", "", []string{hub, "spoke-lab-a", "spoke-lab-b"}},
		{"the site of its flag", "spoke-berlin-1", "lab", []string{hub, "spoke-berlin-1", "spoke-lab-a", "spoke-lab-b"}},
		{"a Node that is not there", "spoke-nowhere", "", []string{hub}},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, api.Admin(), kube.Config{Node: c.node, Role: overlay.Spoke, Site: c.site}).has(c.want...)
		})
	}
}

func TestAMeshNodeSeesPeersAndHubs(t *testing.T) {
	api := newCluster(t)
	api.create(node("me", nil, nil), node("hub", []string{"hub=true"}, nil), node("peer", []string{"peer=true"}, nil), node("nobody", nil, nil))
	run(t, api.Admin(), kube.Config{Node: "me", Role: overlay.Mesh}).has("hub", "me", "peer")
}

func TestASpokeFollowsItsSite(t *testing.T) {
	api := newCluster(t)
	api.create(
		node("me", []string{"peer=true"}, nil),
		node("oslo", []string{"peer=true", "site=oslo"}, nil),
		node("riga", []string{"peer=true", "site=riga"}, nil),
	)
	src := run(t, api.Admin(), kube.Config{Node: "me", Role: overlay.Spoke})
	src.has("me")
	api.patch("me", `{"metadata":{"labels":{"wireguard.kube/site":"oslo"}}}`)
	src.has("me", "oslo")
	api.patch("me", `{"metadata":{"labels":{"wireguard.kube/site":"riga"}}}`)
	src.has("me", "riga")
	api.delete("me")
	src.has("riga")
	api.create(node("me", []string{"peer=true"}, nil))
	src.has("me")
}

// What happens in a server that was emptied, and counts from lower resource versions than before, is seen, and not
// before all of it is known.
func TestAServerWithAnotherPast(t *testing.T) {
	api := cluster{Server: apiserver.Start(t), t: t}
	admin := api.Admin()
	admin.QPS = -1
	api.nodes = typedcorev1.NewForConfigOrDie(admin).Nodes()
	me := node("me", []string{"hub=true"}, nil)
	api.create(me)
	for i := range 500 {
		api.patch("me", fmt.Sprintf(`{"metadata":{"annotations":{"n":"%d"}}}`, i))
	}
	api.create(node("old", []string{"peer=true"}, nil))
	proxy := api.Proxy(t, api.Admin())
	src := run(t, proxy.Config(), kube.Config{Node: "me", Role: overlay.Hub})
	src.has("me", "old")

	time.Sleep(2 * time.Second) // client-go itself begins anew after a watch that ends within a second
	ready, own := make(chan struct{}), make(chan struct{})
	proxy.Use(func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		<-ready
		if r.URL.Query().Get("fieldSelector") != "" {
			<-own
		}
		server.ServeHTTP(w, r)
	})
	err := api.Wipe()
	close(ready)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second) // long enough for a change that should not come
	if nodes, synced := src.Snapshot(); !synced || !slices.Equal(names(nodes), []string{"me", "old"}) {
		t.Errorf("before its own Node could be read: %v, synced %v", names(nodes), synced)
	}
	api.create(me, node("new", []string{"peer=true"}, nil))
	close(own)
	src.has("me", "new")
}

func TestAServerThatIsNotChecked(t *testing.T) {
	api := newCluster(t)
	api.create(node("b", []string{"hub=true"}, nil))
	insecure := api.Admin()
	insecure.CAData, insecure.Insecure = nil, true
	r := run(t, insecure, kube.Config{Node: "a", Role: overlay.Hub})
	r.has("b")
	if why := r.log.errors("anybody on the path can be the API server"); !slices.Equal(why, []string{"insecure-skip-tls-verify"}) {
		t.Errorf("warns of %q", why)
	}
}

// A server that was restored from a backup, and has gone on from there beyond what we have seen of it, is taken at its
// word: its resource versions alone say nothing of another past.
func TestAServerRestoredAndFurtherOn(t *testing.T) {
	api := cluster{Server: apiserver.Start(t), t: t}
	api.nodes = typedcorev1.NewForConfigOrDie(api.Admin()).Nodes()
	all := []string{"hub=true", "peer=true", "site=oslo"} // what anybody watches
	api.create(node("us", all, nil), node("kept", all, []string{"public-key=backup"}))
	if err := api.Backup(); err != nil {
		t.Fatal(err)
	}
	api.patch("kept", `{"metadata":{"annotations":{"wireguard.kube/public-key":"lost"}}}`)
	api.create(node("gone", all, nil))
	proxy := api.Proxy(t, api.Admin())
	hub := run(t, proxy.Config(), kube.Config{Node: "us", Role: overlay.Hub})
	spoke := run(t, proxy.Config(), kube.Config{Node: "us", Role: overlay.Spoke, Site: "oslo"})
	hub.has("gone", "kept", "us")
	spoke.has("gone", "kept", "us")

	time.Sleep(2 * time.Second) // client-go itself begins anew after a watch that ends within a second
	seen := api.get("gone").ResourceVersion
	ready := make(chan struct{})
	proxy.Use(func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		<-ready
		server.ServeHTTP(w, r)
	})
	err := api.Restore()
	if err == nil {
		api.create(node("new", all, nil))
		for i, order := 0, 1; order >= 0 && err == nil; i++ {
			api.patch("us", fmt.Sprintf(`{"metadata":{"annotations":{"n":"%d"}}}`, i))
			order, err = resourceversion.CompareResourceVersion(seen, api.get("us").ResourceVersion)
		}
	}
	close(ready)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []running{hub, spoke} {
		r.has("kept", "new", "us")
		if key := r.annotation("kept", "public-key"); key != "backup" {
			t.Errorf("kept has the key %q", key)
		}
	}
}

func TestAPrefixWithoutASlashAtItsEnd(t *testing.T) {
	api := newCluster(t)
	const prefix = "stretch.azure.com/wireguard-"
	api.create(
		corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "h", Labels: map[string]string{prefix + "hub": "true"}}},
		corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{prefix + "peer": "true"},
			Annotations: map[string]string{prefix + "public-key": "k", "wireguard.kube/public-key": "another's"}}},
		node("other", []string{"peer=true"}, nil),
	)
	nodes := run(t, api.Admin(), kube.Config{Node: "h", Role: overlay.Hub, Prefix: prefix}).has("h", "p")
	if want := map[string]string{prefix + "public-key": "k"}; !cmp.Equal(nodes[1].Annotations, want) {
		t.Errorf("annotations %v; want %v", nodes[1].Annotations, want)
	}
}

func TestWhatChangesArrivesAndWhatDoesNotIsSilent(t *testing.T) {
	api := newCluster(t)
	api.create(
		node("hub", []string{"hub=true"}, nil),
		node("spoke", []string{"peer=true"}, []string{"public-key=old"}),
	)
	src := run(t, api.Admin(), kube.Config{Node: "hub", Role: overlay.Hub})
	src.has("hub", "spoke")
	src.settle()

	api.patch("spoke", `{"metadata":{"annotations":{"wireguard.kube/public-key":"new"}}}`)
	took := src.eventually("the new key", func() bool { return src.annotation("spoke", "public-key") == "new" })
	t.Logf("an annotation took %v from the answer of the server to the snapshot", took)
	src.settle()

	api.patch("spoke", `{"metadata":{"annotations":{"example.com/other":"x"}}}`)
	heartbeat := `{"status":{"conditions":[{"type":"Ready","status":"False","lastHeartbeatTime":"` +
		time.Now().UTC().Format(time.RFC3339) + `","message":"still not"}],"images":[{"names":["a"]}]}}`
	api.patch("spoke", heartbeat, "status")
	select {
	case <-src.Changed():
		t.Error("a heartbeat, or an annotation of somebody else, is a change")
	case <-time.After(time.Second):
	}

	api.patch("spoke", `{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`, "status")
	select {
	case <-src.Changed():
	case <-time.After(5 * time.Second):
		t.Error("a Node that becomes ready is no change")
	}

	api.patch("spoke", `{"metadata":{"labels":{"wireguard.kube/peer":null}}}`)
	src.has("hub")
	api.patch("spoke", `{"metadata":{"labels":{"wireguard.kube/peer":"true"}}}`)
	src.has("hub", "spoke")
	api.delete("spoke")
	src.has("hub")
}

func TestAKubeletsCredential(t *testing.T) {
	api := newCluster(t)
	api.create(
		node("hub", []string{"hub=true"}, nil),
		node("spoke", nil, nil),
	)
	src := run(t, api.kubelet("spoke"), kube.Config{Node: "spoke", Role: overlay.Spoke})
	const msg = "cannot read Nodes"
	src.eventually("a word about the missing ClusterRole", func() bool { return len(src.log.errors(msg)) > 0 })
	src.eventually("its own Node", func() bool { nodes, _ := src.Snapshot(); return slices.Equal(names(nodes), []string{"spoke"}) })
	time.Sleep(3 * time.Second) // client-go has tried a few more times by then
	errs := src.log.errors(msg)
	if len(errs) != 1 {
		t.Errorf("told %d times: %q", len(errs), errs)
	}
	t.Logf("told: %s", errs[0])
	if !strings.Contains(errs[0], "bind a ClusterRole that may list and watch nodes to the group system:nodes") {
		t.Errorf("does not say what to do: %s", errs[0])
	}
	if _, synced := src.Snapshot(); synced {
		t.Error("synced without having seen the hubs")
	}
	if err := src.Trouble(); err == nil || !strings.Contains(err.Error(), "bind a ClusterRole") {
		t.Errorf("its trouble is %v", err)
	}
	if _, err := src.Publish(context.Background(), map[string]string{prefix + "peer": "true"}, nil); err != nil {
		t.Errorf("a kubelet may register all the same: %v", err)
	}

	api.letKubelets("list", "watch")
	src.has("hub", "spoke")
	if err := src.Trouble(); err != nil {
		t.Errorf("its trouble is still %v", err)
	}
	if len(src.log.errors("reads Nodes again")) != 1 {
		t.Error("does not say that it reads again")
	}
}

func TestACredentialThatMayListAndNotWatch(t *testing.T) {
	api := newCluster(t)
	api.letKubelets("list")
	api.create(node("hub", []string{"hub=true"}, nil))
	src := run(t, api.kubelet("spoke"), kube.Config{Node: "spoke", Role: overlay.Spoke})
	src.eventually("synced, and without trouble before", func() bool {
		_, synced := src.Snapshot()
		if err := src.Trouble(); err != nil {
			t.Fatalf("a list is on its way, and its trouble is %v", err)
		}
		return synced
	})
	src.has("hub")
	time.Sleep(2 * time.Second) // client-go has tried a few more times by then
	if errs := src.log.errors("cannot read Nodes"); len(errs) != 1 || !strings.Contains(errs[0], "cannot watch") {
		t.Errorf("told %d times: %q", len(errs), errs)
	}
	if back := src.log.errors("reads Nodes again"); len(back) > 0 {
		t.Error("says that all is well")
	}
}

func TestPublishSetsItsOwnKeysAndNoOthers(t *testing.T) {
	api := newCluster(t)
	api.letKubelets("list", "watch")
	theirs := node("spoke", []string{"site=oslo"}, []string{"allowed-ips=10.0.0.0/24"})
	theirs.Annotations["example.com/theirs"] = "stays"
	api.create(theirs)
	src := run(t, api.kubelet("spoke"), kube.Config{Node: "spoke", Role: overlay.Spoke})
	src.has("spoke")
	ctx := context.Background()
	publish := func(labels, annotations map[string]string) {
		t.Helper()
		if _, err := src.Publish(ctx, labels, annotations); err != nil {
			t.Fatal(err)
		}
	}
	labels := map[string]string{prefix + "peer": "true"}
	want := api.get("spoke")
	publish(labels, map[string]string{prefix + "public-key": "k", prefix + "endpoint": "192.0.2.1:51820"})
	first := api.get("spoke")
	want.Labels[prefix+"peer"] = "true"
	want.Annotations[prefix+"public-key"], want.Annotations[prefix+"endpoint"] = "k", "192.0.2.1:51820"
	if diff := cmp.Diff([]any{want.Labels, want.Annotations, want.Spec}, []any{first.Labels, first.Annotations, first.Spec}); diff != "" {
		t.Errorf("wanted (-), published (+):\n%s", diff)
	}

	publish(labels, map[string]string{prefix + "public-key": "k", prefix + "endpoint": "192.0.2.1:51820"})
	if again := api.get("spoke"); again.ResourceVersion != first.ResourceVersion {
		t.Errorf("publishing the same again changed the Node: %s, then %s", first.ResourceVersion, again.ResourceVersion)
	}

	publish(labels, map[string]string{prefix + "public-key": "k"})
	delete(want.Annotations, prefix+"endpoint")
	if diff := cmp.Diff(want.Annotations, api.get("spoke").Annotations); diff != "" {
		t.Errorf("an annotation that is left out goes, no other:\n%s", diff)
	}

	// Somebody else's hand in ours is put right.
	src.eventually("no endpoint", func() bool { return src.annotation("spoke", "endpoint") == "" })
	api.patch("spoke", `{"metadata":{"annotations":{"wireguard.kube/public-key":"meddled"}}}`)
	src.eventually("the meddling", func() bool { return src.annotation("spoke", "public-key") == "meddled" })
	src.eventually("it is put right", func() bool { // of its several watches the one that counts may be the last to know
		publish(labels, map[string]string{prefix + "public-key": "k"})
		return api.get("spoke").Annotations[prefix+"public-key"] == "k"
	})

	if _, err := src.Publish(ctx, nil, map[string]string{"example.com/theirs": "x"}); err == nil {
		t.Error("sets an annotation without the prefix")
	}
}

func TestAnotherStartFindsNothingToPublish(t *testing.T) {
	api := newCluster(t)
	api.letKubelets("list", "watch")
	api.create(node("spoke", nil, nil))
	labels := map[string]string{prefix + "peer": "true"}
	var versions []string
	for start := range 2 {
		src := run(t, api.kubelet("spoke"), kube.Config{Node: "spoke", Role: overlay.Spoke})
		src.has("spoke")
		if written, err := src.Publish(context.Background(), labels, nil); err != nil || written != (start == 0) {
			t.Fatalf("start %d: written %v, %v", start, written, err)
		}
		src.stop()
		versions = append(versions, api.get("spoke").ResourceVersion)
	}
	if versions[0] != versions[1] {
		t.Errorf("the second start changed the Node: %v", versions)
	}
}

// TestTwoInterfacesOfANode: each has a prefix, and leaves alone what the other has published.
func TestTwoInterfacesOfANode(t *testing.T) {
	api := newCluster(t)
	api.create(node("spoke", nil, nil))
	const other = "stretch.azure.com/wireguard-"
	for _, p := range []string{prefix, other, prefix} {
		src := run(t, api.Admin(), kube.Config{Node: "spoke", Role: overlay.Spoke, Prefix: p})
		src.has("spoke")
		if _, err := src.Publish(t.Context(), map[string]string{p + "peer": "true"}, map[string]string{p + "public-key": "k"}); err != nil {
			t.Fatal(err)
		}
	}
	n := api.get("spoke")
	for _, p := range []string{prefix, other} {
		if n.Labels[p+"peer"] != "true" || n.Annotations[p+"public-key"] != "k" {
			t.Errorf("%s: labels %v, annotations %v", p, n.Labels, n.Annotations)
		}
	}
}

func TestPublishNeverMakesANode(t *testing.T) {
	api := newCluster(t)
	api.letKubelets("list", "watch")
	src := run(t, api.kubelet("spoke"), kube.Config{Node: "spoke", Role: overlay.Spoke})
	src.has()
	labels := map[string]string{prefix + "peer": "true"}
	_, err := src.Publish(context.Background(), labels, nil)
	if err == nil || !strings.Contains(err.Error(), "node spoke: publish: the Node is not there yet") {
		t.Errorf("Publish: %v", err)
	}
	// Gone since it was last seen: the watch cannot be trusted to be first.
	api.create(node("spoke", nil, nil))
	src.has("spoke")
	api.delete("spoke")
	if _, err := src.Publish(context.Background(), labels, nil); err == nil {
		t.Error("published on a Node that is gone")
	}
	if _, err := api.nodes.Get(context.Background(), "spoke", metav1.GetOptions{}); err == nil {
		t.Error("a Node has been made")
	}
}

func TestACredentialThatAppearsLaterAndBecomesAnother(t *testing.T) {
	api := newCluster(t)
	api.create(node("hub", []string{"hub=true"}, nil), node("spoke", []string{"peer=true"}, nil))
	path := filepath.Join(t.TempDir(), "not", "there", "yet", "kubelet.conf")
	src := run(t, nil, kube.Config{Kubeconfig: path, Node: "hub", Role: overlay.Hub})
	const waits = "waits for a credential for the API server"
	src.eventually("a word that it waits", func() bool { return len(src.log.errors(waits)) == 1 })
	if nodes, synced := src.Snapshot(); len(nodes) > 0 || synced || !src.LastSync().IsZero() {
		t.Errorf("Nodes %v, synced %v, heard of the server at %v, without a credential", names(nodes), synced, src.LastSync())
	}
	if _, err := src.Publish(context.Background(), nil, nil); err == nil {
		t.Error("published without a credential")
	}

	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, []byte("apiVersion: v1\nclusters: 7\n"))
	src.eventually("a word that it is malformed", func() bool { return len(src.log.errors(waits)) >= 2 })
	// One that has no rights, in a file of its own that is rotated, as a kubelet's is.
	key := filepath.Join(filepath.Dir(path), "client.pem")
	rotate := func(c *rest.Config) { writeFile(t, key, slices.Concat(c.CertData, c.KeyData)) }
	nobody := api.User("nobody")
	rotate(nobody)
	writeFile(t, filepath.Join(filepath.Dir(path), "ca.crt"), nobody.CAData)
	writeFile(t, path, []byte(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "`+nobody.Host+`", certificate-authority: ca.crt}}]
users: [{name: u, user: {client-certificate: client.pem, client-key: client.pem}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`))
	const cannot = "cannot read Nodes"
	src.eventually("a word that nobody may not read", func() bool { return len(src.log.errors(cannot)) > 0 })
	rotate(api.Admin())
	took := src.eventually("Nodes", func() bool { _, synced := src.Snapshot(); return synced })
	t.Logf("synced %v after the rotation", took)
	src.has("hub", "spoke")

	// A credential that becomes worse takes nothing away.
	was := len(src.log.errors(cannot))
	rotate(api.User("nobody"))
	src.eventually("a word that nobody may not read", func() bool { return len(src.log.errors(cannot)) > was })
	src.has("hub", "spoke")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	src.has("hub", "spoke")
}

func TestAServerThatIsAwayForAWhile(t *testing.T) {
	api := newCluster(t)
	api.create(node("hub", []string{"hub=true"}, nil), node("a", []string{"peer=true"}, nil), node("b", []string{"peer=true"}, nil))
	src := run(t, api.Admin(), kube.Config{Node: "hub", Role: overlay.Hub})
	src.has("a", "b", "hub")
	before := src.LastSync()

	api.StopAPI()
	src.eventually("a word that it is away", func() bool { return len(src.log.errors("cannot read Nodes")) > 0 })
	src.has("a", "b", "hub")
	src.settle()
	if err := api.StartAPI(); err != nil {
		t.Fatal(err)
	}
	api.delete("a")
	api.create(node("c", []string{"peer=true"}, nil))
	began := time.Now()
	src.has("b", "c", "hub")
	t.Logf("recovered %v after the server", time.Since(began))
	src.eventually("every watch is heard again", func() bool { return src.LastSync().After(before) })
	src.eventually("all watches", func() bool {
		return len(src.log.errors("reads Nodes again")) == len(src.log.errors("cannot read Nodes"))
	})
}

// A server, or a proxy before it, that takes the request for a streamed list and then says nothing.
func TestAStreamWithoutAnEnd(t *testing.T) {
	api := newCluster(t)
	api.create(node("hub", []string{"hub=true"}, nil), node("a", []string{"peer=true"}, nil))
	admin := api.Admin()
	transport, err := rest.TransportFor(admin)
	if err != nil {
		t.Fatal(err)
	}
	server, err := url.Parse(admin.Host)
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(server)
	pass.Transport = transport
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("sendInitialEvents") == "true" {
			w.Header().Set("Content-Type", r.Header.Get("Accept"))
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		pass.ServeHTTP(w, r)
	}))
	src := run(t, &rest.Config{Host: proxy.URL}, kube.Config{Node: "hub", Role: overlay.Hub, FirstSync: time.Second})
	t.Cleanup(func() { src.stop(); proxy.CloseClientConnections(); proxy.Close() })
	src.has("a", "hub")
	if n := len(src.log.errors("the API server does not end its first list: asks for it in one piece")); n == 0 {
		t.Error("does not say why it took so long")
	}
	api.delete("a")
	src.has("hub")
}

func TestNewRefuses(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for _, c := range []struct {
		name, want string
		config     kube.Config
	}{
		{"no kubeconfig outside of a cluster", "--kubeconfig: none is named", kube.Config{Prefix: prefix}},
		{"a prefix that makes no label", "annotation prefix", kube.Config{Kubeconfig: "x", Prefix: "a b/"}},
		{"a site that is no label", "site", kube.Config{Kubeconfig: "x", Prefix: prefix, Site: "a,b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := kube.New(c.config); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; want one about %q", err, c.want)
			}
		})
	}
}
