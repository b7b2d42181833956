package apiserver_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"

	"wg-kube/internal/lab/apiserver"
)

func TestServerForgetsAndRemembers(t *testing.T) {
	api := apiserver.Start(t)
	nodes := typedcorev1.NewForConfigOrDie(api.Admin()).Nodes()
	named := func(name string) bool {
		_, err := nodes.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		return err == nil
	}
	for _, name := range []string{"before", "after"} {
		if _, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if name == "before" {
			if err := api.Backup(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := api.Wipe(); err != nil || named("before") {
		t.Errorf("wiped: %v; a Node is left: %v", err, named("before"))
	}
	if err := api.Restore(); err != nil || !named("before") || named("after") {
		t.Errorf("restored: %v; before: %v, after: %v", err, named("before"), named("after"))
	}
}

func TestServerHasTheRulesOfACluster(t *testing.T) {
	api := apiserver.Start(t)
	ctx := context.Background()
	fromFile, err := clientcmd.RESTConfigFromKubeConfig(apiserver.Kubeconfig(api.Admin()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := typedcorev1.NewForConfigOrDie(fromFile).Nodes().List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("admin, by way of a kubeconfig: %v", err)
	}
	kubelet := typedcorev1.NewForConfigOrDie(api.User("system:node:a", "system:nodes"))
	if _, err := kubelet.Nodes().List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a kubelet lists all Nodes: %v; want: forbidden", err)
	}
	own := metav1.ListOptions{FieldSelector: "metadata.name=a"}
	if _, err := kubelet.Nodes().List(ctx, own); err != nil {
		t.Errorf("a kubelet lists its own Node: %v", err)
	}
}
