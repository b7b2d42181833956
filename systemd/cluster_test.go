package systemd

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/apiserver"
)

// cluster is an API server that is reached through the hub, with the hub and the spoke as its Nodes.
type cluster struct {
	*apiserver.Server
	*kubernetes.Clientset // of an administrator
}

func newCluster(t *testing.T, hub *lab.Host) *cluster {
	t.Helper()
	server := apiserver.Start(t)
	c := &cluster{server, kubernetes.NewForConfigOrDie(server.Admin())}
	forward(t, hub, server.Admin().Host)
	for doc := range strings.SplitSeq(hubNode, "---\n") {
		var n corev1.Node
		must(t, yaml.Unmarshal([]byte(doc), &n))
		n.UID = ""
		_, err := c.CoreV1().Nodes().Create(t.Context(), &n, metav1.CreateOptions{})
		must(t, err)
	}
	return c
}

// forward lets the hub be called on the port of the API server, which listens where no machine sees it.
func forward(t *testing.T, hub *lab.Host, server string) {
	t.Helper()
	at, err := url.Parse(server)
	must(t, err)
	var l net.Listener
	must(t, hub.Do(func() (err error) {
		l, err = net.Listen("tcp", ":6443")
		return err
	}))
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer from.Close()
				to, err := net.Dial("tcp", at.Host)
				if err != nil {
					return
				}
				defer to.Close()
				go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
				_, _ = io.Copy(from, to)
			}()
		}
	}()
}

// apply creates what the manifests hold that a spoke's credential needs.
func (c *cluster) apply(t *testing.T, files ...string) {
	t.Helper()
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(t, err)
		for doc := range strings.SplitSeq(string(b), "\n---\n") {
			object, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(doc), nil, nil)
			must(t, err)
			must(t, c.create(t, object))
		}
	}
}

func (c *cluster) create(t *testing.T, object runtime.Object) (err error) {
	ctx, options := t.Context(), metav1.CreateOptions{}
	switch o := object.(type) {
	case *corev1.Namespace:
		_, err = c.CoreV1().Namespaces().Create(ctx, o, options)
	case *corev1.ServiceAccount:
		_, err = c.CoreV1().ServiceAccounts(o.Namespace).Create(ctx, o, options)
	case *rbacv1.ClusterRole:
		_, err = c.RbacV1().ClusterRoles().Create(ctx, o, options)
	case *rbacv1.ClusterRoleBinding:
		_, err = c.RbacV1().ClusterRoleBindings().Create(ctx, o, options)
	default:
		err = fmt.Errorf("%T: not looked for here", o)
	}
	return err
}

// token is what "kubectl create token wg-spoke --bound-object-kind=Node" prints.
func (c *cluster) token(t *testing.T, node string) string {
	t.Helper()
	n, err := c.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	must(t, err)
	made, err := c.CoreV1().ServiceAccounts("wg-kube").CreateToken(t.Context(), "wg-spoke", &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{
			BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID},
		}}, metav1.CreateOptions{})
	must(t, err)
	return made.Status.Token
}

// kubeconfig reaches the server through the hub, as the user.
func (c *cluster) kubeconfig(t *testing.T, user map[string]string) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "it",
		"clusters": []any{map[string]any{"name": "it", "cluster": map[string]any{
			"server":                     "https://" + hubUnderlay + ":6443",
			"tls-server-name":            "127.0.0.1",
			"certificate-authority-data": c.Admin().CAData,
		}}},
		"users":    []any{map[string]any{"name": "it", "user": user}},
		"contexts": []any{map[string]any{"name": "it", "context": map[string]string{"cluster": "it", "user": "it"}}},
	})
	must(t, err)
	return string(b)
}

// pem is a certificate and its key in one file, as a kubelet keeps them.
func pem(c *rest.Config) string { return string(c.CertData) + string(c.KeyData) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
