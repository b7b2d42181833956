package kube_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"wg-kube/internal/lab/apiserver"
	"wg-kube/render"
	"wg-kube/render/overlay"
	"wg-kube/render/source/fragments"
	"wg-kube/render/source/kube"
	"wg-kube/render/source/peers"
	"wg-kube/render/source/secrets"
	"wg-kube/templates/wgquick"
)

// saying is what one object says, field by field, and what its author is to be told. An answer of "" is that nothing is
// wrong.
type saying struct {
	fields map[string]string
	answer string
}

// with is what the i-th may say, and one thing that is not so.
func with(i int, field, value string) map[string]string {
	say := map[string]string{"public-key": keyOf(fmt.Sprint("hostile-", i)), "allowed-ips": fmt.Sprintf("10.60.%d.0/24", i)}
	say[field] = value
	return say
}

func keyOf(name string) string {
	var k wgquick.SecretKey
	copy(k[:], name)
	return k.Public().String()
}

// hostile is every field of a Node and of a Secret, wrong in every way that comes to mind. The keys are the fields'.
var hostile = []struct{ field, value, answer string }{
	{"public-key", "x", "not a key"},
	{"public-key", keyOf("good-node"), "held by Node/good-node"},
	{"public-key", keyOf("us"), "held by the node that says this"},
	{"public-key", strings.Repeat("A", 43) + "=", "the zero key belongs to nobody"},
	{"public-key", keyOf("x") + "\n[Peer]\nPublicKey = " + keyOf("y"), "not a key"},
	{"public-key", strings.Repeat("a", 200_000), "not a key"},
	{"public-key", "ключ", "not a key"},
	{"endpoint", "203.0.113.9:1\nAllowedIPs = 0.0.0.0/0", "not IP:port"},
	{"endpoint", "203.0.113.9:-1", "not IP:port"},
	{"endpoint", "203.0.113.9:65536", "not IP:port"},
	{"endpoint", "example.com:51820", "not IP:port"},
	{"endpoint", "127.0.0.1:51820", "loopback"},
	{"endpoint", "10.99.0.7:51820", "lies inside 10.99.0.0/24, held by Node/good-node"},
	{"allowed-ips", "0.0.0.0/0", "a default route is not granted"},
	{"allowed-ips", "0.0.0.0/1,128.0.0.0/1", "a split of a default route is not granted"},
	{"allowed-ips", "::/0", "a default route is not granted"},
	{"allowed-ips", "10.96.0.0/16", "covers the API server 10.96.0.1"},
	{"allowed-ips", "100.96.0.1/32", "held by Node/"},
	{"allowed-ips", "10.99.0.128/25", "held by Node/good-node"},
	{"allowed-ips", "10.98.0.0/15", "held by"},
	{"allowed-ips", "169.254.169.254", "link-local"},
	{"allowed-ips", "::ffff:10.1.2.3/128", "IPv4-mapped"},
	{"allowed-ips", "10.55.0.0/33", "not a CIDR"},
	{"allowed-ips", "10.55.0.0/24\nEndpoint = 203.0.113.9:1", "not a CIDR"},
	{"allowed-ips", "１０.55.0.0/24", "not a CIDR"},
	{"allowed-ips", strings.Repeat("10.55.0.0/33,", 4_000), "not a CIDR"},
	{"allowed-ips", strings.Repeat(",", 60_000), "more than the 4096 that are looked at"},
	{"allowed-ips", many(1000), "is granted: 256 prefixes"},
	{"allowed-ips", `["10.55.0.0/24"`, "not a CIDR"},
	{"public-key", keyOf("x")[:43], "not a key"},
	{"public-key", keyOf("x")[:20] + " " + keyOf("x")[20:], "not a key"},
	{"public-key", strings.Repeat("-_", 21) + "A=", "not a key"},
	{"public-key", keyOf("x")[:42] + "B=", "not a key"},
	{"public-key", keyOf("x") + "\x00", `\x00": not a key`},
	{"endpoint", "0.0.0.0:51820", "this network"},
	{"endpoint", "[::]:51820", "unspecified"},
	{"endpoint", "[ff02::1]:51820", "multicast"},
	{"endpoint", "[fe80::1%eth0]:51820", "not IP:port"},
	{"endpoint", "100.96.0.1:51820", "held by Node/"},
	{"endpoint", "203.0.113.9:51820, 203.0.113.10:51820", "not IP:port"},
	{"endpoint", strings.Repeat("9", 100_000), "not IP:port"},
	{"allowed-ips", "010.55.0.0/24", "not a CIDR"},
	{"allowed-ips", "fe80::%eth0/64", "not a CIDR"},
	{"allowed-ips", "\u202e10.55.0.0/24", `"\u202e10.55.0.0/24": not a CIDR`},
	{"allowed-ips", "\ufeff10.55.0.0/24", `"\ufeff10.55.0.0/24": not a CIDR`},
	{"allowed-ips", "10.55.0.0/24#,0.0.0.0/0", "a default route is not granted"},
	{"allowed-ips", "${PATH},$(id),`id`", `"$(id)": not a CIDR`},
	{"allowed-ips", "100.96.0.0/12", "held by Node/"},
	{"allowed-ips", "255.255.255.255", "broadcast"},
}

// many are prefixes that are free.
func many(n int) string {
	var cidrs []string
	for i := range n {
		cidrs = append(cidrs, fmt.Sprintf("10.%d.%d.0/30", 200+i/256, i%256))
	}
	return strings.Join(cidrs, ",")
}

// TestHostile: bad input is refused where its author looks for it and counted, and costs nobody else anything. A hub,
// whole but for its files.
func TestHostile(t *testing.T) {
	api := newCluster(t)
	ns := api.namespace()
	ctx := context.Background()

	// Stored before the definition asked for any form.
	old := map[string]saying{}
	api.undefine()
	api.define(formless)
	for i, tc := range []struct{ spec, answer string }{
		{`{"allowedIPs":["10.56.0.0/24"]}`, "publicKey: not set"},
		{`{"publicKey":5,"allowedIPs":["10.56.1.0/24"]}`, "not of the form of a WireGuardPeer"},
		{`{"publicKey":"` + keyOf("o2") + `","allowedIPs":"10.56.2.0/24"}`, "not of the form of a WireGuardPeer"},
		{`{"publicKey":"` + keyOf("o3") + `"}`, "allowedIPs: not set"},
		{`{"publicKey":"` + keyOf("o4") + `","allowedIPs":["10.56.4.0/24"],"persistentKeepalive":-1}`, "not a number of seconds"},
		{`{"publicKey":"` + keyOf("o5") + `","allowedIPs":["10.56.5.0/24"],"endpoint":"x"}`, "not IP:port"},
		{`{"publicKey":"` + keyOf("o6") + `","allowedIPs":["10.56.6.0/24","x"]}`, "not a CIDR"},
		{`{}`, "publicKey: not set"},
		{`null`, "publicKey: not set"},
		{`[]`, "not of the form of a WireGuardPeer"},
		{`{"publicKey":null,"allowedIPs":[null]}`, "not of the form of a WireGuardPeer: allowedIPs: null"},
		{`{"publicKey":"` + keyOf("o11") + `","allowedIPs":["10.56.11.0/24"],"persistentKeepalive":1e99}`, "not a number of seconds"},
		{`{"publicKey":"` + keyOf("o12") + `","allowedIPs":["10.56.12.0/24"],"presharedKeySecretRef":{}}`, "there is no Secret"},
		{`{"publicKey":"` + keyOf("o13") + `","allowedIPs":["10.56.13.0/24"],"presharedKeySecretRef":"psk"}`, "not of the form of a WireGuardPeer"},
	} {
		name := fmt.Sprintf("old-%d", i)
		api.createPeer(ns, name, tc.spec)
		old[name] = saying{answer: tc.answer}
	}
	api.define()

	// Those who behave, and were there first.
	api.create(
		node("us", []string{"hub=true"}, nil),
		node("good-node", []string{"peer=true"}, []string{"public-key=" + keyOf("good-node"), "allowed-ips=10.99.0.0/24"}),
	)
	api.createPeer(ns, "good-peer", `{"publicKey":"`+keyOf("good-peer")+`","allowedIPs":["10.99.1.0/24"]}`)
	api.createSecret(ns, "good-secret", map[string]string{"public-key": keyOf("good-secret"), "allowed-ips": "10.99.2.0/24", "preshared-key": psk})
	hub := runHub(t, api.Admin(), ns)
	hub.eventually("the good are peers", func() bool { return len(hub.good()) == 3 })
	good := hub.good()

	nodes, secrets := map[string]saying{}, map[string]saying{}
	for i, h := range hostile {
		nodes[fmt.Sprint("node-", i)] = saying{with(i, h.field, h.value), h.answer}
		secrets[fmt.Sprint("secret-", i)] = saying{with(100+i, h.field, h.value), h.answer}
	}
	nodes["node-limit"] = saying{with(90, "allowed-ips", strings.Repeat("x", 255<<10)), "not a CIDR"}
	secrets["secret-limit"] = saying{with(190, "allowed-ips", strings.Repeat("x", 1000<<10)), "not a CIDR"}
	secrets["secret-half"] = saying{map[string]string{"preshared-key": psk}, "public-key: not set"}
	secrets["secret-psk"] = saying{with(191, "preshared-key", "x"), "preshared-key: not a key"}
	secrets["secret-swap"] = saying{with(192, "endpoint", psk), "not IP:port"}
	secrets["secret-zero"] = saying{with(193, "preshared-key", strings.Repeat("A", 43)+"="), "preshared-key: the zero key is none"}
	secrets["secret-raw"] = saying{with(194, "preshared-key", strings.Repeat("\x01", 32)), "preshared-key: not a key"}
	secrets["secret-numbers"] = saying{with(195, "allowed-ips", `[10, 55]`), "not a CIDR"}
	secrets["secret-nested"] = saying{with(196, "allowed-ips", strings.Repeat("[", 50_000)), "not a CIDR"}
	secrets["secret-null"] = saying{with(197, "allowed-ips", `["10.55.0.0/33", null]`), `"null": not a CIDR`}
	long := strings.Repeat("x", 63)
	long = strings.Repeat(long+".", 3) + long[:61] // 253 bytes, the most
	nodes[long] = saying{with(91, "public-key", "x"), "not a key"}
	secrets[long] = saying{with(198, "public-key", "x"), "not a key"}
	for i, h := range []struct{ value, answer string }{
		{"x", "not an IP address"},
		{"172.31.0.1/24", "not an IP address"},
		{"fe80::1%eth0", "not an IP address"},
		{"172.31.0.1\nAllowedIPs = 0.0.0.0/0", "not an IP address"},
		{strings.Repeat("1", 200_000), "not an IP address"},
		{"127.0.0.1", "loopback"},
		{"ff02::1", "multicast"},
	} {
		nodes[fmt.Sprint("node-vpc-", i)] = saying{with(92+i, "vpc-ip", h.value), h.answer}
	}
	for i, h := range []struct{ field, value, answer string }{ // those before this hub by name would speak first
		{"public-key", "x", "not a key"},
		{"public-key", keyOf("us"), "held by the node that says this"},
		{"endpoint", "hub.example.com:51820", "not IP:port"},
		{"endpoint", "169.254.169.254:80", "link-local"},
		{"allowed-ips", "0.0.0.0/0", "a default route is not granted"},
		{"allowed-ips", "10.0.0.0/8;10.1.0.0/16", "not a CIDR"},
	} {
		nodes[fmt.Sprint("us-too-", i)] = saying{with(200+i, h.field, h.value), h.answer}
	}
	secrets["secret-empty"] = saying{map[string]string{}, "public-key: not set"}
	specs := map[string]struct{ spec, answer string }{
		"peer-key":    {`{"publicKey":"` + keyOf("good-secret") + `","allowedIPs":["10.57.0.0/24"]}`, "held by Secret/"},
		"peer-api":    {`{"publicKey":"` + keyOf("peer-api") + `","allowedIPs":["10.96.0.0/12"]}`, "covers the API server"},
		"peer-route":  {`{"publicKey":"` + keyOf("peer-route") + `","allowedIPs":["0.0.0.0/0","::/0"]}`, "a default route is not granted to a WireGuardPeer"},
		"peer-thief":  {`{"publicKey":"` + keyOf("peer-thief") + `","allowedIPs":["10.99.2.0/25"]}`, "held by Secret/"},
		"peer-secret": {`{"publicKey":"` + keyOf("peer-secret") + `","allowedIPs":["10.57.1.0/24"],"presharedKeySecretRef":{"name":"nowhere"}}`, "there is no Secret nowhere"},
		"peer-name":   {`{"publicKey":"` + keyOf("peer-name") + `","allowedIPs":["10.57.3.0/24"],"presharedKeySecretRef":{"name":"пароль\nx"}}`, `there is no Secret \u043f\u0430\u0440\u043e\u043b\u044c x of type Opaque yet`},
		"peer-data":   {`{"publicKey":"` + keyOf("peer-data") + `","allowedIPs":["10.57.4.0/24"],"presharedKeySecretRef":{"name":"secret-half","key":"ключ"}}`, `there is no \u043a\u043b\u044e\u0447 in Secret secret-half yet`},
		"peer-two":    {`{"publicKey":"` + keyOf("good-node") + `","allowedIPs":["127.0.0.1/32"],"endpoint":"127.0.0.1:1"}`, "endpoint"},
		long:          {`{"publicKey":"` + keyOf("us") + `","allowedIPs":["10.57.5.0/24"]}`, "held by the node that says this"},
		"peer-other":  {`{"publicKey":"` + keyOf("peer-other") + `","allowedIPs":["10.57.2.0/24"],"presharedKeySecretRef":{"name":"secret-half","key":"public-key"}}`, "there is no public-key in Secret secret-half yet"},
	}
	for name, s := range nodes {
		label := "peer=true"
		if strings.HasPrefix(name, "us-too-") {
			label = "hub=true"
		}
		n := node(name, []string{label}, nil)
		for field, value := range s.fields {
			n.Annotations[prefix+field] = value
		}
		api.create(n)
	}
	for name, s := range secrets {
		api.createSecret(ns, name, s.fields)
	}
	for name, s := range specs {
		api.createPeer(ns, name, s.spec)
		old[name] = saying{answer: s.answer}
	}

	hub.eventually("everybody is judged", func() bool {
		c := hub.proposal()
		return c != nil && len(c.Refused) > 100
	})
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		hub.told(name, nodes[name].answer, func() []string { return notes(api.events("default", string(api.get(name).UID))) })
	}
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		s, err := api.secrets(ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		hub.told(name, secrets[name].answer, func() []string { return notes(api.events(ns, string(s.UID))) })
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		hub.told(name, old[name].answer, func() []string {
			cond, _ := api.condition(ns, name)
			u, err := api.peers(ns).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return append(notes(api.events(ns, string(u.GetUID()))), fmt.Sprint(cond["message"]))
		})
	}
	for kind, all := range map[string]int{overlay.KindNode: len(nodes), overlay.KindSecret: len(secrets), overlay.KindWireGuardPeer: len(old)} {
		if n := hub.counted(kind); n < all {
			t.Errorf("%d are a wrong %s, %d are counted", all, kind, n)
		}
	}

	// A site is a label, whose form the API server itself knows.
	for _, site := range []string{"lab\n[Peer]", strings.Repeat("x", 64), "лаб", "a lab", "../lab"} {
		n := node("site", []string{"peer=true", "site=" + site}, nil)
		if _, err := api.nodes.Create(ctx, &n, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
			t.Errorf("site %q: %v", site, err)
		}
	}

	// The hub's own Node: what it publishes itself it also puts right.
	time.Sleep(2 * time.Second) // it has nothing left to tell
	api.patch("us", `{"metadata":{"annotations":{"wireguard.kube/public-key":"x","wireguard.kube/endpoint":"y","wireguard.kube/allowed-ips":"z"}}}`)
	for _, answer := range []string{`public-key "x": not a key`, `endpoint "y": not IP:port`, `allowed-ips "z": not a CIDR`} {
		hub.told("us", answer, func() []string { return notes(api.events("default", string(api.get("us").UID))) })
	}
	hub.eventually("its Node is right again", func() bool {
		a := api.get("us").Annotations
		return a[prefix+"public-key"] == keyOf("us") && a[prefix+"allowed-ips"] == "100.96.0.1/32"
	})
	if now := hub.good(); !slices.Equal(now, good) {
		t.Errorf("it has cost the good: %q, and before %q", now, good)
	}
	if strings.Contains(hub.log.String(), psk) || strings.Contains(strings.Join(hub.proposal().Refused, "\n"), psk) {
		t.Error("a preshared key is printed")
	}

	// What was good stays good for as long as its object is there.
	if _, err := api.secrets(ns).Patch(ctx, "good-secret", types.MergePatchType, []byte(`{"data":{"public-key":null,"preshared-key":"eA==","allowed-ips":"eA=="}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := api.secrets(ns).Get(ctx, "good-secret", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	hub.told("good-secret", "public-key: not set", func() []string { return notes(api.events(ns, string(s.UID))) })
	if now := hub.good(); !slices.Equal(now, good) {
		t.Errorf("it has not kept what it had: %q, and before %q", now, good)
	}
}

func notes(events []eventsv1.Event) (notes []string) {
	for _, e := range events {
		notes = append(notes, e.Note)
	}
	return notes
}

// wholeHub is a hub's wg-render with every source.
type wholeHub struct {
	running
	loop     *render.Loop
	path     string
	registry *prometheus.Registry
}

func runHub(t *testing.T, credential *rest.Config, ns string) wholeHub {
	t.Helper()
	dir := t.TempDir()
	h := wholeHub{path: filepath.Join(dir, "wg0.conf"), registry: prometheus.NewRegistry()}
	h.t, h.log = t, new(logLines)
	log := slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	kubeconfig := filepath.Join(dir, "kubeconfig")
	writeFile(t, kubeconfig, apiserver.Kubeconfig(credential))
	server, err := kube.New(kube.Config{Kubeconfig: kubeconfig, Node: "us", Role: overlay.Hub, Prefix: prefix, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	static, err := fragments.New(filepath.Join(dir, "none"), log)
	if err != nil {
		t.Fatal(err)
	}
	var us wgquick.SecretKey
	copy(us[:], "us")
	loop, err := render.New(render.Config{
		Self: overlay.Self{
			Node: "us", Role: overlay.Hub, Interface: "wg0", ListenPort: 51820, PublicKey: us.Public(),
			Address: []netip.Prefix{netip.MustParsePrefix("100.96.0.1/32")},
		},
		Policy:    overlay.Policy{Prefix: prefix, APIServer: []netip.Addr{netip.MustParseAddr("10.96.0.1")}},
		Nodes:     server,
		Peers:     []render.Peers{peers.New(server, ns), secrets.New(server, ns)},
		Fragments: static,
		Out:       dir,
		RunDir:    filepath.Join(dir, "run"),
		Settle:    50 * time.Millisecond,
		Log:       log,
		Metrics:   render.NewMetrics(h.registry),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- loop.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			b, _ := os.ReadFile(h.path)
			_, _ = io.Copy(os.Stderr, strings.NewReader(string(b)))
		}
	})
	h.Source, h.loop = server, loop
	return h
}

// proposal is nil as long as there is none.
func (h wholeHub) proposal() *wgquick.Config {
	b, err := os.ReadFile(h.path)
	if err != nil {
		return nil
	}
	c, err := wgquick.Parse("wg0.conf", b)
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// good is what those have who behave.
func (h wholeHub) good() (peers []string) {
	c := h.proposal()
	if c == nil {
		return nil
	}
	for _, p := range c.Peers {
		if strings.Contains(p.Origin.Name, "good-") {
			peers = append(peers, fmt.Sprint(p.Origin, p.PublicKey, p.AllowedIPs, p.Endpoint, p.PresharedKey.Reveal()))
		}
	}
	return peers
}

// told waits until the author of an object finds the answer.
func (h wholeHub) told(name, want string, found func() []string) {
	h.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		all := found()
		if strings.Contains(strings.Join(all, "\n"), psk) {
			h.t.Errorf("%s: a preshared key is told: %q", name, all)
			return
		}
		if slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, want) }) {
			return
		}
		if time.Now().After(end) {
			h.t.Errorf("%s: is told %q, and never %q", name, all, want)
			return
		}
	}
}

// counted is how many claims of a kind are refused, or wait for something.
func (h wholeHub) counted(kind string) (sum int) {
	families, err := h.registry.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				counts := f.GetName() == "wg_render_rejections" || f.GetName() == "wg_render_waiting"
				if counts && l.GetName() == "kind" && l.GetValue() == kind {
					sum += int(m.GetGauge().GetValue())
				}
			}
		}
	}
	return sum
}

func (c cluster) createSecret(namespace, name string, data map[string]string) {
	c.t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "wireguard-peer"}}, StringData: data}
	if _, err := c.secrets(namespace).Create(context.Background(), s, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c cluster) createPeer(namespace, name, spec string) *unstructured.Unstructured {
	c.t.Helper()
	made, err := c.peers(namespace).Create(context.Background(), peer(name, spec), metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return made
}
