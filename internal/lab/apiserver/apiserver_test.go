package apiserver_test

import (
	"context"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"

	"wg-kube/internal/lab/apiserver"
)

func TestServerHasTheRulesOfACluster(t *testing.T) {
	api := apiserver.Start(t)
	ctx := context.Background()
	fromFile, err := clientcmd.RESTConfigFromKubeConfig(apiserver.Kubeconfig(api.Admin()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := corev1.NewForConfigOrDie(fromFile).Nodes().List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("admin, by way of a kubeconfig: %v", err)
	}
	kubelet := corev1.NewForConfigOrDie(api.User("system:node:a", "system:nodes"))
	if _, err := kubelet.Nodes().List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a kubelet lists all Nodes: %v; want: forbidden", err)
	}
	own := metav1.ListOptions{FieldSelector: "metadata.name=a"}
	if _, err := kubelet.Nodes().List(ctx, own); err != nil {
		t.Errorf("a kubelet lists its own Node: %v", err)
	}
}
