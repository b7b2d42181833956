package kube_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// passage notes what is asked for on the way to the API server.
type passage struct {
	mu    sync.Mutex
	asked []string
}

// passage stands before c. The credential reaches c by way of it.
func (c cluster) passage() (*passage, *rest.Config) {
	c.t.Helper()
	transport, err := rest.TransportFor(c.Admin())
	if err != nil {
		c.t.Fatal(err)
	}
	server, err := url.Parse(c.Admin().Host)
	if err != nil {
		c.t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(server)
	pass.Transport, pass.FlushInterval = transport, -1
	p := &passage{}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		verb := r.Method
		if r.URL.Query().Get("watch") == "true" {
			verb = "WATCH"
		}
		about := r.URL.Query().Get("labelSelector") + r.URL.Query().Get("fieldSelector")
		p.mu.Lock()
		p.asked = append(p.asked, strings.TrimSpace(verb+" "+r.URL.Path+" "+about))
		p.mu.Unlock()
		pass.ServeHTTP(w, r)
	}))
	c.t.Cleanup(func() { proxy.CloseClientConnections(); proxy.Close() })
	return p, &rest.Config{Host: proxy.URL}
}

// since returns what was asked for since the last call, in the order of the alphabet.
func (p *passage) since() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked
	p.asked = nil
	slices.Sort(asked)
	return asked
}

// TestWhatIsAskedForOfTheAPI: one watch for each kind, by selector and in its namespace, one write for each thing that
// is to be told; then nothing.
func TestWhatIsAskedForOfTheAPI(t *testing.T) {
	api := newCluster(t)
	api.define()
	ns := api.namespace()
	api.create(
		node("us", []string{"hub=true"}, nil),
		node("greedy", []string{"peer=true"}, []string{"public-key=" + keyOf("greedy"), "allowed-ips=0.0.0.0/0"}),
		node("bystander", nil, nil),
	)
	api.createPeer(ns, "office", `{"publicKey":"`+keyOf("office")+`","allowedIPs":["10.99.1.0/24"]}`)
	api.createSecret(ns, "laptop", map[string]string{"public-key": keyOf("laptop"), "allowed-ips": "10.99.2.0/24"})
	passage, credential := api.passage()
	hub := runHub(t, credential, ns)
	uid := string(api.get("greedy").UID)
	hub.eventually("all is told", func() bool {
		cond, _ := api.condition(ns, "office")
		return cond["status"] == "True" && len(api.events("default", uid)) == 1 && api.get("us").Annotations[prefix+"public-key"] != ""
	})
	time.Sleep(2 * time.Second)
	peers := "/apis/wireguard.kube/v1alpha1/namespaces/" + ns + "/wireguardpeers"
	want := []string{
		"PATCH " + peers + "/office/status",
		"PATCH /api/v1/nodes/us",
		"POST /apis/events.k8s.io/v1/namespaces/default/events",
		"WATCH " + peers,
		"WATCH /api/v1/namespaces/" + ns + "/secrets app=wireguard-peer",
		"WATCH /api/v1/nodes metadata.name=us",
		"WATCH /api/v1/nodes wireguard.kube/hub=true",
		"WATCH /api/v1/nodes wireguard.kube/peer=true",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, passage.since()); diff != "" {
		t.Errorf("to begin with (-want +got):\n%s", diff)
	}

	api.patch("bystander", `{"metadata":{"labels":{"a":"b"}}}`)
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, StringData: map[string]string{"a": "b"}}
	if _, err := api.secrets(ns).Create(t.Context(), theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	api.patch("greedy", `{"metadata":{"annotations":{"a":"b"}}}`)
	api.patch("greedy", `{"metadata":{"annotations":{"wireguard.kube/endpoint":"192.0.2.9:51820"}}}`)
	time.Sleep(3 * time.Second)
	if asked := passage.since(); len(asked) > 0 {
		t.Errorf("with nothing new to tell: %q", asked)
	}

	api.createPeer(ns, "shop", `{"publicKey":"`+keyOf("shop")+`","allowedIPs":["10.99.3.0/24"]}`)
	hub.eventually("the newcomer is told", func() bool { cond, _ := api.condition(ns, "shop"); return cond["status"] == "True" })
	time.Sleep(2 * time.Second)
	if diff := cmp.Diff([]string{"PATCH " + peers + "/shop/status"}, passage.since()); diff != "" {
		t.Errorf("for a newcomer (-want +got):\n%s", diff)
	}
}
