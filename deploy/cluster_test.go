package deploy

import (
	"fmt"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

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

// apply does what "kubectl apply --server-side -k" does, and takes no field that the server does not know. It returns
// the version of each object.
func (c cluster) apply(t *testing.T, dir string) (versions map[string]string) {
	t.Helper()
	groups, err := restmapper.GetAPIGroupResources(discovery.NewDiscoveryClientForConfigOrDie(c.Admin()))
	must(t, err)
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	client := dynamic.NewForConfigOrDie(c.Admin())
	versions = map[string]string{}
	for _, doc := range documents(rendered(t, dir)) {
		var object unstructured.Unstructured
		must(t, yaml.Unmarshal(doc, &object.Object))
		kind := object.GroupVersionKind()
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		must(t, err)
		json, err := object.MarshalJSON()
		must(t, err)
		force := true
		applied, err := client.Resource(mapping.Resource).Namespace(object.GetNamespace()).Patch(t.Context(), object.GetName(),
			types.ApplyPatchType, json, metav1.PatchOptions{FieldManager: "kubectl", FieldValidation: metav1.FieldValidationStrict, Force: &force})
		if err != nil {
			t.Fatalf("%s %s: %v", kind.Kind, object.GetName(), err)
		}
		version := applied.GetResourceVersion()
		if generation := applied.GetGeneration(); generation > 0 { // a controller writes the status
			version = fmt.Sprint(generation)
		}
		versions[kind.Kind+" "+object.GetNamespace()+"/"+object.GetName()] = version
	}
	return versions
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

// TestApply applies each overlay, and once more, which changes nothing.
func TestApply(t *testing.T) {
	c := newCluster(t)
	for _, overlay := range overlays {
		t.Run(overlay, func(t *testing.T) {
			first := c.apply(t, "overlays/"+overlay)
			for object, version := range c.apply(t, "overlays/"+overlay) {
				if first[object] != version {
					t.Errorf("%s: applied again, it changes", object)
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
}
