package kube_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestOutOfTouch: a part of the server fails, and for as long as that lasts nothing else that it says is believed. That
// is told.
func TestOutOfTouch(t *testing.T) {
	api := newCluster(t)
	api.define()
	ns := api.namespace()
	spoke := func(name, prefix string) corev1.Node {
		return node(name, []string{"peer=true"}, []string{"public-key=" + keyOf(name), "allowed-ips=" + prefix})
	}
	api.create(node("us", []string{"hub=true"}, nil), spoke("early", "10.99.0.0/24"))
	api.createSecret(ns, "laptop", map[string]string{"public-key": keyOf("laptop"), "allowed-ips": "10.99.1.0/24"})
	proxy := api.Proxy(t, api.Admin())
	hub := runHub(t, proxy.Config(), ns)
	ready := func() bool { return hub.loop.Ready() == nil }
	secretsFail := func() bool {
		err := hub.loop.Ready()
		return err != nil && strings.HasPrefix(err.Error(), "cannot read Secrets of ")
	}
	before := []string{"early 10.99.0.0/24", ns + "/laptop 10.99.1.0/24"}
	hub.eventually("all is well", func() bool { return ready() && len(hub.peers()) == 2 })

	failing := func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/secrets") {
			http.Error(w, "unavailable", http.StatusServiceUnavailable)
			return
		}
		server.ServeHTTP(w, r)
	}
	proxy.Use(failing)
	hub.eventually("it is told", secretsFail)
	proxy.Use(nil)
	hub.eventually("all is well again", ready)

	// As if the server had forgotten what it said of the Nodes: everything is asked for anew.
	proxy.Use(func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/nodes") && r.URL.Query().Get("resourceVersion") != "" {
			http.Error(w, "too old", http.StatusGone)
			return
		}
		failing(w, r, server)
	})
	hub.eventually("it is told after a reconnect", secretsFail)
	api.create(spoke("late", "10.99.2.0/24"))
	proxy.Use(failing)
	time.Sleep(2 * time.Second) // long enough for a change that should not come
	if !secretsFail() {
		t.Errorf("it is no longer told: %v", hub.loop.Ready())
	}
	if got := hub.peers(); !slices.Equal(got, before) {
		t.Errorf("meanwhile there are %q", got)
	}
	proxy.Use(nil)
	hub.eventually("all is well in the end", func() bool { return ready() && len(hub.peers()) == 3 })
}
