package pipeline

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/apiserver"
)

// TestLightOnTheAPI counts what a spoke asks of the API server: nothing while nothing changes, and what happens to
// the Nodes that are not its own concern does not reach it.
func TestLightOnTheAPI(t *testing.T) {
	c := newCluster(t)
	quick := c.Admin()
	quick.QPS = -1
	others := typedcorev1.NewForConfigOrDie(quick).Nodes()
	const crowd = 200
	for i := range crowd {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("other-%d", i)}}
		if i%2 == 0 { // other spokes, of another site: a hub's concern, and no spoke's
			n.Labels = map[string]string{"wireguard.kube/peer": "true", "wireguard.kube/site": "elsewhere"}
		}
		_, err := others.Create(t.Context(), n, metav1.CreateOptions{})
		must(t, err)
	}
	c.otherHub(t, "10.77.0.0/24")
	s1 := c.spoke(t, "spoke-1", "192.0.2.11", "100.96.1.1", "--site", "lab", "--vpc-ip", "172.31.0.1")
	proxy := c.Proxy(t, c.User("system:node:spoke-1", "system:nodes"))
	c.join(t, s1)
	s1.use(t, proxy.Config())
	s1.waitForPeers(t, 1)
	lab.Eventually(t, hang, "spoke-1 publishes", func() bool {
		n, err := c.nodes.Get(t.Context(), "spoke-1", metav1.GetOptions{})
		must(t, err)
		return n.Annotations["wireguard.kube/public-key"] != ""
	})
	time.Sleep(2 * time.Second) // what the start has left to do

	t.Run("a start is three watches and one write", func(t *testing.T) {
		requests, bytes := proxy.Traffic()
		rest := besidesOneWatchOfEach(t, requests)
		if len(rest) != 1 || rest[0].Method != http.MethodPatch || rest[0].Path != "/api/v1/nodes/spoke-1" {
			t.Errorf("beside them: %v", rest)
		}
		lab.Figure(t, "a spoke's start beside %d other Nodes: %d requests, %d bytes", crowd, len(requests), bytes)
	})
	t.Run("at rest, while all others change", func(t *testing.T) {
		for i := range crowd {
			patch := fmt.Sprintf(`{"metadata":{"annotations":{"example.org/beat":"%d","wireguard.kube/allowed-ips":"10.1.%[1]d.0/24"}}}`, i)
			_, err := others.Patch(context.Background(), fmt.Sprintf("other-%d", i), types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			must(t, err)
		}
		time.Sleep(2 * time.Second)
		requests, bytes := proxy.Traffic()
		// A bookmark may come in between, of some hundred bytes; the changes have some hundred each.
		if len(requests) > 0 || bytes > 10*crowd {
			t.Errorf("%d bytes, and %v", bytes, requests)
		}
		lab.Figure(t, "%d other Nodes change: %d requests, %d bytes", crowd, len(requests), bytes)
	})
	t.Run("its own Node and its hub change", func(t *testing.T) {
		ino, changed := s1.identity(t, proposals+"/wg0.conf")
		c.annotate(t, "spoke-1", "example.org/beat", "1")
		c.annotate(t, "other-hub", "example.org/beat", "1")
		time.Sleep(2 * time.Second)
		if i, c := s1.identity(t, proposals+"/wg0.conf"); i != ino || c != changed {
			t.Error("the proposal was written")
		}
		if requests, bytes := proxy.Traffic(); len(requests) > 0 || bytes == 0 {
			t.Errorf("%d bytes, and %v", bytes, requests)
		}
	})
	t.Run("a connection that breaks is three watches once more", func(t *testing.T) {
		ino, changed := s1.identity(t, proposals+"/wg0.conf")
		proxy.Cut()
		time.Sleep(5 * time.Second)
		requests, bytes := proxy.Traffic()
		if rest := besidesOneWatchOfEach(t, requests); len(rest) > 0 {
			t.Errorf("beside them: %v", rest)
		}
		if i, c := s1.identity(t, proposals+"/wg0.conf"); i != ino || c != changed {
			t.Error("the proposal was written")
		}
		lab.Figure(t, "a connection that breaks: %d requests, %d bytes", len(requests), bytes)
	})
	t.Run("a restart is three watches, and writes nothing", func(t *testing.T) {
		s1.restartRender(s1.flags...)
		var all []apiserver.Request
		lab.Eventually(t, hang, "it has started", func() bool {
			requests, _ := proxy.Traffic()
			all = append(all, requests...)
			return len(all) >= 3
		})
		time.Sleep(2 * time.Second) // what the start has left to do
		requests, _ := proxy.Traffic()
		for _, r := range append(all, requests...) {
			if r.Method != http.MethodGet {
				t.Errorf("%s %s", r.Method, r.Path)
			}
		}
		if strings.Contains(s1.render.said(), "msg=published") {
			t.Errorf("it says that it has published:\n%s", s1.render.said())
		}
	})
}

// besidesOneWatchOfEach returns what else was asked than one watch of each thing that spoke-1 watches.
func besidesOneWatchOfEach(t *testing.T, requests []apiserver.Request) (rest []apiserver.Request) {
	t.Helper()
	watches := map[string]int{"metadata.name=spoke-1": 0, "wireguard.kube/hub=true": 0, "wireguard.kube/peer=true,wireguard.kube/site=lab": 0}
	for _, r := range requests {
		selector := r.Query.Get("labelSelector") + r.Query.Get("fieldSelector")
		if _, ok := watches[selector]; ok && r.Method == http.MethodGet && r.Query.Get("watch") == "true" {
			watches[selector]++
		} else {
			rest = append(rest, r)
		}
	}
	for selector, n := range watches {
		if n != 1 {
			t.Errorf("%d watches of %s", n, selector)
		}
	}
	return rest
}
