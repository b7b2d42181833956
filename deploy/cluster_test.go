package deploy

import (
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/apiserver"
)

// cluster is an API server to which something was applied. There is no controller and no kubelet: what they would do
// with it is up to the test.
type cluster struct {
	*apiserver.Server
	*kubernetes.Clientset // of an administrator
}

func newCluster(t *testing.T) cluster {
	t.Helper()
	server := apiserver.Start(t)
	return cluster{server, kubernetes.NewForConfigOrDie(server.Admin())}
}

// apply is what an administrator does to install a folder of deploy/. It returns what kubectl says of each object.
func (c cluster) apply(t *testing.T, dir string) string {
	t.Helper()
	return c.Shell(t, ".", "kubectl apply -k "+dir)
}

// pod runs, as far as the API server knows, a pod of that account on that node.
func (c cluster) pod(t *testing.T, namespace, account, node string) *corev1.Pod {
	t.Helper()
	pod, err := c.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: account + "-"},
		Spec: corev1.PodSpec{
			ServiceAccountName: account,
			NodeName:           node,
			Containers:         []corev1.Container{{Name: "it", Image: "it"}},
		},
	}, metav1.CreateOptions{})
	must(t, err)
	return pod
}

// token is a credential of an account: bound to a pod, as the kubelet makes it for that pod; bound to a Node, as
// "kubectl create token --bound-object-kind=Node" makes it; or bound to nothing.
func (c cluster) token(t *testing.T, namespace, account string, to metav1.Object) *rest.Config {
	t.Helper()
	var request authenticationv1.TokenRequest
	switch to := to.(type) {
	case *corev1.Pod:
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: to.Name, UID: to.UID}
	case *corev1.Node:
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: to.Name, UID: to.UID}
	}
	made, err := c.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, &request, metav1.CreateOptions{})
	must(t, err)
	config := rest.AnonymousClientConfig(c.Admin())
	config.BearerToken = made.Status.Token
	return config
}

// TestApply applies each overlay: the second changes nothing of what the first has made, and each, once more, nothing
// at all.
func TestApply(t *testing.T) {
	c := newCluster(t)
	for _, overlay := range overlays {
		t.Run(overlay, func(t *testing.T) {
			for line := range strings.Lines(c.apply(t, "overlays/"+overlay)) {
				if !strings.HasSuffix(line, " created\n") && (overlay == overlays[0] || !strings.HasSuffix(line, " unchanged\n")) {
					t.Errorf("applied for the first time: %s", line)
				}
			}
			for line := range strings.Lines(c.apply(t, "overlays/"+overlay)) {
				if !strings.HasSuffix(line, " unchanged\n") {
					t.Errorf("applied again: %s", line)
				}
			}
			set, err := c.AppsV1().DaemonSets("wg-kube").Get(t.Context(), "wg-"+overlay, metav1.GetOptions{})
			must(t, err)
			// The pod that the DaemonSet's controller would make is let in, by the level of the namespace as well.
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: overlay}, Spec: set.Spec.Template.Spec}
			pod.Spec.NodeName = "a"
			_, err = c.CoreV1().Pods("wg-kube").Create(t.Context(), pod, metav1.CreateOptions{})
			must(t, err)
			// A misspelt name would be found by the kubelet only.
			for _, container := range pod.Spec.Containers {
				for _, from := range container.EnvFrom {
					if _, err := c.CoreV1().ConfigMaps("wg-kube").Get(t.Context(), from.ConfigMapRef.Name, metav1.GetOptions{}); err != nil {
						t.Errorf("%s: %v", container.Name, err)
					}
				}
			}
		})
	}
	t.Run("what kubectl knows of WireGuardPeers", func(t *testing.T) { testWireGuardPeers(t, c) })
}

// testWireGuardPeers: what the README sends a person to, and the columns that say what became of a peer.
func testWireGuardPeers(t *testing.T, c cluster) {
	var explained string
	lab.Eventually(t, hang, "kubectl explains", func() bool { // a moment later
		explained = c.Shell(t, ".", "kubectl explain wireguardpeer.spec || true")
		return explained != ""
	})
	for _, field := range []string{"publicKey", "endpoint", "allowedIPs", "persistentKeepalive", "presharedKeySecretRef"} {
		if !strings.Contains(explained, "  "+field+"\t<") {
			t.Errorf("%s is not explained:\n%s", field, explained)
		}
	}
	c.wireGuardPeer(t, "office", public(1), "10.7.0.0/24")
	c.Shell(t, ".", `kubectl -n wg-kube patch wgp office --subresource=status --type=merge --patch='{"status":{"conditions":[
		{"type":"Accepted","status":"True","reason":"PartlyRefused","message":"it says why","lastTransitionTime":"2026-11-22T00:00:00Z"}]}}'`)
	// It has no endpoint, and some age.
	got := strings.Fields(c.Shell(t, ".", "kubectl -n wg-kube get wireguardpeers -o wide --no-headers"))
	want := []string{"office", `["10.7.0.0/24"]`, "True", "PartlyRefused", "AGE", public(1), "it", "says", "why"}
	if len(got) == len(want) {
		want[4] = got[4]
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
