package systemd

import (
	"encoding/json"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
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

// ownCredential is the kubeconfig that the two commands of docs/spoke.md make for the Node spoke.
func (c *cluster) ownCredential(t *testing.T) (kubeconfig string) {
	t.Helper()
	const first = "\n    kubectl config view "
	page, err := os.ReadFile("../docs/spoke.md")
	must(t, err)
	_, commands, ok := strings.Cut(string(page), first)
	commands, _, _ = strings.Cut(first+commands, "\n\n")
	if !ok || !strings.Contains(commands, " edge-7 ") {
		t.Fatalf("docs/spoke.md has no commands that make a kubeconfig for the Node edge-7: %s", commands)
	}
	dir := t.TempDir()
	c.Shell(t, dir, strings.ReplaceAll(commands, "edge-7", "spoke"))
	b, err := os.ReadFile(filepath.Join(dir, "wg0.kubeconfig"))
	must(t, err)
	return string(b)
}

// throughTheHub is a kubeconfig that reaches the server through the hub.
func (c *cluster) throughTheHub(kubeconfig string) string {
	return strings.Replace(kubeconfig, "server: "+c.Admin().Host, "server: https://"+hubUnderlay+":6443\n    tls-server-name: 127.0.0.1", 1)
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
