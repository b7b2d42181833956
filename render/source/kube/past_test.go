package kube_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	typedrbacv1 "k8s.io/client-go/kubernetes/typed/rbac/v1"

	"wg-kube/internal/lab/apiserver"
)

// TestIncumbentsOutliveTheirServer: a server that does not show what it showed, because its definition or the right to
// read it is gone, or because it is empty or what it was before, costs nobody what they have, and wins nobody who was
// refused anything.
func TestIncumbentsOutliveTheirServer(t *testing.T) {
	api := cluster{Server: apiserver.Start(t), t: t}
	api.nodes = typedcorev1.NewForConfigOrDie(api.Admin()).Nodes()
	good := node("good-node", []string{"peer=true"}, []string{"public-key=" + keyOf("good-node"), "allowed-ips=10.99.0.0/24"})
	all := []string{"good-node 10.99.0.0/24", "ns/good-peer 10.99.1.0/24", "ns/good-secret 10.99.2.0/24"}
	others := all[1:]
	createPeers := func() {
		t.Helper()
		api.define()
		api.createPeer("ns", "good-peer", `{"publicKey":"`+keyOf("good-peer")+`","allowedIPs":["10.99.1.0/24"]}`)
		api.createPeer("ns", "rival", `{"publicKey":"`+keyOf("rival")+`","allowedIPs":["10.99.0.0/24"]}`)
	}
	createSecrets := func() {
		t.Helper()
		api.createSecret("ns", "good-secret", map[string]string{"public-key": keyOf("good-secret"), "allowed-ips": "10.99.2.0/24"})
		api.createSecret("ns", "thief", map[string]string{"public-key": keyOf("good-node"), "allowed-ips": "10.99.3.0/24"})
	}
	createNamespace := func() {
		t.Helper()
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}}
		if _, err := typedcorev1.NewForConfigOrDie(api.Admin()).Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	api.letSeeNodes(rbacv1.UserKind, "reader", "list", "watch")
	api.create(node("us", []string{"hub=true"}, nil), good)
	if err := api.Backup(); err != nil { // of a time when there were Nodes and nothing else
		t.Fatal(err)
	}
	createNamespace()
	createPeers()
	createSecrets()
	api.allow("ns", "wireguardpeers")
	api.allow("ns", "secrets")
	proxy := api.Proxy(t, api.User("reader"))
	hub := runHub(t, proxy.Config(), "ns")
	has := func(when string, want []string) {
		t.Helper()
		hub.eventually(when, func() bool { return slices.Equal(hub.peers(), want) })
	}
	stays := func(when string, want []string) {
		t.Helper()
		time.Sleep(2 * time.Second) // long enough for a change that should not come
		if got := hub.peers(); !slices.Equal(got, want) {
			t.Errorf("%s: %q; want %q", when, got, want)
		}
	}
	cannotRead := func(kind string, do func()) {
		t.Helper()
		before := len(hub.log.errors("cannot read " + kind))
		do()
		hub.eventually("it cannot read "+kind, func() bool { return len(hub.log.errors("cannot read "+kind)) > before })
	}
	again := func(kind string, do func()) {
		t.Helper()
		before := len(hub.log.errors("reads " + kind + " again"))
		do()
		hub.eventually("it reads "+kind+" again", func() bool { return len(hub.log.errors("reads "+kind+" again")) > before })
	}
	// A Node that goes meanwhile leaves its place, and finds it when it comes back.
	comesBack := func(when string) {
		t.Helper()
		api.delete("good-node")
		has(when+": the Node is gone", others)
		stays(when, others)
		api.create(good)
		has(when+": the Node is back", all)
	}
	has("at first", all)

	proxy.Cut()
	stays("a watch that is cut", all)
	if lines := hub.log.errors("waiting for the Secrets"); len(lines) != 0 {
		t.Errorf("a watch that is cut is waited for: %d times", len(lines))
	}

	cannotRead("Secrets", func() {
		api.forbid("ns", "secrets")
		cannotRead("WireGuardPeers", func() {
			api.forbid("ns", "wireguardpeers")
			proxy.Cut()
		})
	})
	comesBack("without RoleBindings")
	again("WireGuardPeers", func() { api.allow("ns", "wireguardpeers") })
	stays("with one RoleBinding again", all)

	cannotRead("WireGuardPeers", func() {
		release := holdUp(proxy, "/wireguardpeers") // so that it does not see them deleted one by one
		api.undefine()
		release()
	})
	comesBack("without a definition")
	again("WireGuardPeers", createPeers)
	again("Secrets", func() { api.allow("ns", "secrets") })
	has("with a definition and both RoleBindings again", all)
	stays("with a definition and both RoleBindings again", all)

	// As long as nothing is known of one of them, nothing that is known of another is believed.
	release := holdUp(proxy, "/secrets")
	if err := api.Restore(); err != nil {
		t.Fatal(err)
	}
	api.delete("good-node")
	stays("nobody knows of the Secrets in the backup", all)
	cannotRead("Secrets", release)
	has("the backup has no such Node", others)
	stays("the backup has no such Node", others)
	api.create(good)
	has("the Node of the backup is back", all)
	createNamespace()
	createPeers()
	createSecrets()
	again("WireGuardPeers", func() { api.allow("ns", "wireguardpeers") })
	again("Secrets", func() { api.allow("ns", "secrets") })
	has("everything is there once more", all)
	stays("everything is there once more", all)

	release = holdUp(proxy, "/nodes")
	cannotRead("Secrets", func() {
		if err := api.Wipe(); err != nil {
			t.Fatal(err)
		}
	})
	createNamespace()
	again("Secrets", func() { api.allow("ns", "secrets") })
	stays("nobody knows of the Nodes in the emptied server", all)
	release()
	api.letSeeNodes(rbacv1.UserKind, "reader", "list", "watch")
	api.create(node("us", []string{"hub=true"}, nil))
	has("there are no Secrets, and nobody knows of the WireGuardPeers", others[:1])
	api.create(good)
	has("the Node is there before others that claim the same", []string{all[0], others[0]})
	createPeers()
	createSecrets()
	api.allow("ns", "wireguardpeers")
	has("in the new server", all)
	stays("in the new server", all)
}

// holdUp keeps back all requests for a path with this end, and ends those that are under way.
func holdUp(p *apiserver.Proxy, end string) (release func()) {
	ready := make(chan struct{})
	p.Use(func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		if strings.HasSuffix(r.URL.Path, end) {
			select {
			case <-ready:
			case <-r.Context().Done():
			}
		}
		server.ServeHTTP(w, r)
	})
	return func() { close(ready) }
}

// forbid takes back what allow gave.
func (c cluster) forbid(namespace, resource string) {
	c.t.Helper()
	rbac := typedrbacv1.NewForConfigOrDie(c.Admin())
	err := errors.Join(
		rbac.RoleBindings(namespace).Delete(c.t.Context(), "reader-of-"+resource, metav1.DeleteOptions{}),
		rbac.Roles(namespace).Delete(c.t.Context(), "reader-of-"+resource, metav1.DeleteOptions{}))
	if err != nil {
		c.t.Fatal(err)
	}
}

// peers are those of the proposal, each with its prefixes.
func (h wholeHub) peers() (peers []string) {
	c := h.proposal()
	if c == nil {
		return nil
	}
	for _, p := range c.Peers {
		peers = append(peers, fmt.Sprintf("%s %s", p.Origin.Name, p.AllowedIPs[0]))
	}
	return peers
}
