package kube_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	typedrbacv1 "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"wg-kube/render"
	"wg-kube/render/overlay"
	"wg-kube/render/source/kube"
	"wg-kube/render/source/peers"
	"wg-kube/render/source/secrets"
)

var (
	_ render.Peers = (*peers.Source)(nil)
	_ render.Peers = secrets.Source{}
)

const (
	aliceKey = "xqoZxRAgHsmSB+qssFKzTNIs5t8Ms+EneXSQP4zcjmw="
	bobKey   = "/mmJFqJ75KoYswcguo02NN25UpkjjejJNBaIcdVyjl0="
	psk      = "lS9du/F/qNtZzF25qACf8zCpwY9Cbe9NynIDeWXlKWA="
)

// namespace makes one of its own for a test.
func (c cluster) namespace() string {
	c.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "peers-"}}
	ns, err := typedcorev1.NewForConfigOrDie(c.Admin()).Namespaces().Create(context.Background(), ns, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return ns.Name
}

func (c cluster) secrets(namespace string) typedcorev1.SecretInterface {
	return typedcorev1.NewForConfigOrDie(c.Admin()).Secrets(namespace)
}

func (c cluster) peers(namespace string) dynamic.ResourceInterface {
	return dynamic.NewForConfigOrDie(c.Admin()).Resource(peers.Resource).Namespace(namespace)
}

// formless is for define.
const formless = true

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// define applies the definition of WireGuardPeers, or one that is not for any form, and waits until the server knows it.
func (c cluster) define(formless ...bool) {
	c.t.Helper()
	b, err := os.ReadFile("../../../deploy/base/crd.yaml")
	if err != nil {
		c.t.Fatal(err)
	}
	var crd unstructured.Unstructured
	if err := yaml.UnmarshalStrict(b, &crd.Object); err != nil {
		c.t.Fatal(err)
	}
	if len(formless) > 0 {
		version := crd.Object["spec"].(map[string]any)["versions"].([]any)[0].(map[string]any)
		version["schema"] = map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}}
	}
	ctx, client := context.Background(), dynamic.NewForConfigOrDie(c.Admin())
	_, err = client.Resource(definitions).Apply(ctx, crd.GetName(), &crd, metav1.ApplyOptions{FieldManager: "test", Force: true})
	if err != nil {
		c.t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err = c.peers("default").List(ctx, metav1.ListOptions{}); err == nil {
			return
		}
		if time.Now().After(end) {
			c.t.Fatal(err)
		}
	}
}

func (c cluster) undefine() {
	ctx, client := context.Background(), dynamic.NewForConfigOrDie(c.Admin()).Resource(definitions)
	_ = client.Delete(ctx, "wireguardpeers.wireguard.kube", metav1.DeleteOptions{})
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := client.Get(ctx, "wireguardpeers.wireguard.kube", metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return
		}
	}
	c.t.Fatal("the definition does not go")
}

// reader is the credential of somebody who may read some of what is in a namespace, and no Node.
func (c cluster) reader(namespace string, resources ...string) *rest.Config {
	c.t.Helper()
	for _, r := range resources {
		c.allow(namespace, r)
	}
	return c.User("reader", "readers")
}

// allow lets the reader list and watch a resource of a namespace.
func (c cluster) allow(namespace, resource string) {
	c.t.Helper()
	ctx, rbac := context.Background(), typedrbacv1.NewForConfigOrDie(c.Admin())
	meta := metav1.ObjectMeta{Name: "reader-of-" + resource}
	role := &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"", peers.Resource.Group}, Resources: []string{resource}, Verbs: []string{"list", "watch"}},
	}}
	if _, err := rbac.Roles(namespace).Create(ctx, role, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "reader"}},
	}
	if _, err := rbac.RoleBindings(namespace).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// peer is a WireGuardPeer with a spec as JSON.
func peer(name, spec string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	doc := fmt.Sprintf(`{"apiVersion":"wireguard.kube/v1alpha1","kind":"WireGuardPeer","metadata":{"name":%q},"spec":%s}`, name, spec)
	if err := u.UnmarshalJSON([]byte(doc)); err != nil {
		panic(err)
	}
	return u
}

// TestDefinition: what the API server itself refuses of a WireGuardPeer.
func TestDefinition(t *testing.T) {
	api := newCluster(t)
	api.define()
	client := api.peers(api.namespace())
	key := `"publicKey":"` + aliceKey + `"`
	ips := `"allowedIPs":["10.0.0.0/24"]`
	many := func(n int) string {
		var cidrs []string
		for i := range n {
			cidrs = append(cidrs, fmt.Sprintf(`"10.%d.%d.0/24"`, i/256, i%256))
		}
		return strings.Join(cidrs, ",")
	}
	i := 0
	for name, tc := range map[string]struct{ spec, refused string }{
		"the least":              {`{` + key + `,` + ips + `}`, ""},
		"everything":             {`{` + key + `,"allowedIPs":["10.0.0.0/24","fd00::/64","10.1.2.3/16"],"endpoint":"192.0.2.1:51820","persistentKeepalive":0,"presharedKeySecretRef":{"name":"s"}}`, ""},
		"an IPv6 endpoint":       {`{` + key + `,` + ips + `,"endpoint":"[2001:db8::1]:65535"}`, ""},
		"as many as there may":   {`{` + key + `,"allowedIPs":[` + many(256) + `]}`, ""},
		"no key":                 {`{` + ips + `}`, "spec.publicKey: Required"},
		"an empty key":           {`{"publicKey":"",` + ips + `}`, "not a key"},
		"a short key":            {`{"publicKey":"` + aliceKey[1:] + `",` + ips + `}`, "not a key"},
		"a long key":             {`{"publicKey":"A` + aliceKey + `",` + ips + `}`, "spec.publicKey: Too long"},
		"a key with loose bits":  {`{"publicKey":"` + strings.Replace(aliceKey, "w=", "x=", 1) + `",` + ips + `}`, "not a key"},
		"a key and a line":       {`{"publicKey":"` + aliceKey[:43] + `\n",` + ips + `}`, "not a key"},
		"the zero key":           {`{"publicKey":"` + strings.Repeat("A", 43) + `=",` + ips + `}`, "the zero key belongs to nobody"},
		"no prefixes":            {`{` + key + `}`, "spec.allowedIPs: Required"},
		"an empty list":          {`{` + key + `,"allowedIPs":[]}`, "spec.allowedIPs"},
		"no CIDR":                {`{` + key + `,"allowedIPs":["10.0.0.0/33"]}`, "not a CIDR"},
		"an address":             {`{` + key + `,"allowedIPs":["10.0.0.1"]}`, "not a CIDR"},
		"a mapped CIDR":          {`{` + key + `,"allowedIPs":["::ffff:10.0.0.0/120"]}`, "not a CIDR"},
		"one twice":              {`{` + key + `,"allowedIPs":["10.0.0.0/24","10.0.0.0/24"]}`, "Duplicate"},
		"too many":               {`{` + key + `,"allowedIPs":[` + many(257) + `]}`, "Too many"},
		"a name as an endpoint":  {`{` + key + `,` + ips + `,"endpoint":"example.com:1"}`, "not IP:port"},
		"no port":                {`{` + key + `,` + ips + `,"endpoint":"192.0.2.1"}`, "not IP:port"},
		"port 0":                 {`{` + key + `,` + ips + `,"endpoint":"192.0.2.1:0"}`, "not IP:port"},
		"port 65536":             {`{` + key + `,` + ips + `,"endpoint":"192.0.2.1:65536"}`, "not IP:port"},
		"IPv6 without brackets":  {`{` + key + `,` + ips + `,"endpoint":"::1:51820"}`, "not IP:port"},
		"IPv4 in brackets":       {`{` + key + `,` + ips + `,"endpoint":"[192.0.2.1]:51820"}`, "not IP:port"},
		"a zone":                 {`{` + key + `,` + ips + `,"endpoint":"[fe80::1%eth0]:51820"}`, "not IP:port"},
		"an endpoint and a line": {`{` + key + `,` + ips + `,"endpoint":"192.0.2.1:1\nx"}`, "not IP:port"},
		"a negative keepalive":   {`{` + key + `,` + ips + `,"persistentKeepalive":-1}`, "spec.persistentKeepalive"},
		"a long keepalive":       {`{` + key + `,` + ips + `,"persistentKeepalive":65536}`, "spec.persistentKeepalive"},
		"a Secret without name":  {`{` + key + `,` + ips + `,"presharedKeySecretRef":{}}`, "spec.presharedKeySecretRef.name: Required"},
	} {
		i++
		object := peer(fmt.Sprintf("p%d", i), tc.spec)
		t.Run(name, func(t *testing.T) {
			made, err := client.Create(context.Background(), object, metav1.CreateOptions{FieldValidation: "Strict"})
			switch {
			case tc.refused == "" && err != nil:
				t.Error(err)
			case tc.refused != "" && (err == nil || !strings.Contains(err.Error(), tc.refused)):
				t.Errorf("want %q, got %v", tc.refused, err)
			case name == "everything":
				if key, _, _ := unstructured.NestedString(made.Object, "spec", "presharedKeySecretRef", "key"); key != "preshared-key" {
					t.Errorf("key %q", key)
				}
			}
		})
	}
}

// TestSecrets: those with the label are there, whatever is in them, and nothing else of them.
func TestSecrets(t *testing.T) {
	api := newCluster(t)
	ns := api.namespace()
	ctx, client := context.Background(), api.secrets(ns)
	create := func(name string, data map[string]string) { t.Helper(); api.createSecret(ns, name, data) }
	create("laptop", map[string]string{
		"public-key": aliceKey + "\n", "endpoint": "192.0.2.1:51820", "allowed-ips": `["10.0.0.0/24", "fd00::/64"]`, "preshared-key": psk + "\n", "other": "x"})
	create("list", map[string]string{"public-key": bobKey, "allowed-ips": "10.0.1.0/24, 10.0.2.0/24"})
	create("half", map[string]string{"preshared-key": "x"})
	create("large", map[string]string{"allowed-ips": strings.Repeat("10.0.0.0/24,", 80_000)})
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "theirs", Labels: map[string]string{"app": "another"}}}
	if _, err := client.Create(ctx, theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	src := run(t, api.Admin(), kube.Config{Node: "hub", Role: overlay.Hub}, func(server *kube.Source) render.Peers { return secrets.New(server, ns) })
	got := src.hasPeers("half", "laptop", "large", "list")
	if p := got[1]; p.PublicKey != aliceKey+"\n" || p.Endpoint != "192.0.2.1:51820" || p.PresharedKey.Key.Reveal() != psk ||
		!cmp.Equal(p.AllowedIPs, []string{"10.0.0.0/24", "fd00::/64"}) || p.Kind != "Secret" || p.UID == "" || p.Created.IsZero() {
		t.Errorf("laptop: %+v", p)
	}
	if p := got[3]; !cmp.Equal(p.AllowedIPs, []string{"10.0.1.0/24", " 10.0.2.0/24"}) || p.PresharedKey.Err != nil {
		t.Errorf("list: %+v", p)
	}
	if p := got[0]; p.PublicKey != "" || p.PresharedKey.Err == nil {
		t.Errorf("half: %+v", p)
	}
	if n := len(strings.Join(got[2].AllowedIPs, ",")); n > 1<<16 {
		t.Errorf("%d bytes of the large one are kept", n)
	}
	if _, err := client.Patch(ctx, "laptop", types.MergePatchType, []byte(`{"metadata":{"labels":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	src.hasPeers("half", "large", "list")
}

// TestWireGuardPeers: what they say, with the preshared keys that they refer to; and no Secret is asked for before.
func TestWireGuardPeers(t *testing.T) {
	api := newCluster(t)
	api.define()
	ns := api.namespace()
	ctx := context.Background()
	create := func(name, spec string) { t.Helper(); api.createPeer(ns, name, spec) }
	src := run(t, api.reader(ns, "wireguardpeers"), kube.Config{Node: "hub", Role: overlay.Hub}, func(server *kube.Source) render.Peers { return peers.New(server, ns) })
	create("office", `{"publicKey":"`+aliceKey+`","allowedIPs":["10.0.0.0/24"],"endpoint":"192.0.2.1:51820","persistentKeepalive":0}`)
	got := src.hasPeers("office")[0]
	if got.PublicKey != aliceKey || got.Endpoint != "192.0.2.1:51820" || got.Keepalive != "0" || !cmp.Equal(got.AllowedIPs, []string{"10.0.0.0/24"}) ||
		got.Name != ns+"/office" || got.Generation != 1 || got.UID == "" || got.PresharedKey.Err != nil {
		t.Errorf("office: %+v", got)
	}
	if errs := src.log.errors("cannot read Secrets"); len(errs) > 0 {
		t.Errorf("asks for Secrets: %q", errs)
	}

	create("laptop", `{"publicKey":"`+bobKey+`","allowedIPs":["10.0.1.0/24"],"presharedKeySecretRef":{"name":"psk","key":"k"}}`)
	says := func(want string) {
		t.Helper()
		src.eventually("laptop says "+want, func() bool {
			all, synced := src.others.Snapshot()
			if !synced || len(all) != 2 {
				return false
			}
			p := all[0].PresharedKey
			return p.Err != nil && strings.Contains(p.Err.Error(), want) || p.Err == nil && p.Key.Reveal() == want
		})
	}
	says("bind a Role that may list and watch secrets")
	api.allow(ns, "secrets")
	says("there is no Secret psk of type Opaque yet")
	put := func(data map[string]string, kind corev1.SecretType) {
		t.Helper()
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "psk"}, StringData: data, Type: kind}
		_ = api.secrets(ns).Delete(ctx, "psk", metav1.DeleteOptions{})
		if _, err := api.secrets(ns).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put(map[string]string{"other": aliceKey}, "")
	says("there is no k in Secret psk yet")
	put(map[string]string{"k": "x"}, "")
	says("k in Secret psk: not a key")
	put(map[string]string{"k": psk + "\n"}, "")
	says(psk)
	put(map[string]string{"k": psk}, "example.com/other")
	says("there is no Secret psk of type Opaque yet")
	if strings.Contains(src.log.String(), psk) {
		t.Error("a preshared key is logged")
	}
}

// TestPeersThatAreNotShown: Nodes are there all the same, and it says why.
func TestPeersThatAreNotShown(t *testing.T) {
	api := newCluster(t)
	api.undefine()
	api.create(node("hub", []string{"hub=true"}, nil))
	ns := api.namespace()
	src := run(t, api.Admin(), kube.Config{Node: "hub", Role: overlay.Hub}, func(server *kube.Source) render.Peers { return peers.New(server, ns) })
	src.has("hub")
	src.eventually("says that there is no definition", func() bool {
		err := src.others.Denied()
		return err != nil && strings.Contains(err.Error(), "has their CustomResourceDefinition been applied?")
	})
	if _, synced := src.others.Snapshot(); synced {
		t.Error("synced, without any")
	}
	api.define()
	src.hasPeers()
	if err := src.others.Denied(); err != nil {
		t.Errorf("still denied: %v", err)
	}
}
