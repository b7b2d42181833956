package pipeline

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const prefix = "wireguard.kube/"

// spokeNode is the Node of a spoke as it is in a cluster: of its 20 KB nearly all are none of our business. key is
// whether it says its public key, without which it is no peer yet.
func spokeNode(i int, key bool) *corev1.Node {
	n := largeNode(fmt.Sprintf("spoke-%05d", i))
	n.Labels[prefix+"peer"] = "true"
	n.Annotations[prefix+"allowed-ips"] = peerRoute(i).String()
	if key {
		n.Annotations[prefix+"public-key"] = peerKey(i).String()
	}
	return n
}

func hubNode(name string) *corev1.Node {
	n := largeNode(name)
	n.Labels[prefix+"hub"] = "true"
	return n
}

// largeNode has what kubelets and cloud providers write, most of it images.
func largeNode(name string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}, Annotations: map[string]string{}}}
	for _, label := range []string{"kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "topology.kubernetes.io/zone",
		"topology.kubernetes.io/region", "node.kubernetes.io/instance-type", "node-pool", "beta.kubernetes.io/arch"} {
		n.Labels[label] = "some-value-of-" + name
	}
	n.Annotations["csi.volume.kubernetes.io/nodeid"] = `{"disk.csi.example.com":"` + name + `","file.csi.example.com":"` + name + `"}`
	n.Spec.ProviderID = "example:///subscriptions/0d3c8f0e-5f0a-4c55-9d0c/resourceGroups/pool/providers/compute/" + name
	n.Status.Capacity = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	n.Status.Allocatable = n.Status.Capacity
	for _, kind := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{
			Type: kind, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
			Reason: "KubeletHasSufficient" + string(kind), Message: "kubelet has sufficient of all that it needs",
		})
	}
	n.Status.NodeInfo = corev1.NodeSystemInfo{MachineID: strings.Repeat("0d3c8f0e", 4), SystemUUID: strings.Repeat("5f0a4c55", 4),
		BootID: strings.Repeat("9d0c6a1f", 4), KernelVersion: "6.12.0", OSImage: "Debian GNU/Linux 12", ContainerRuntimeVersion: "containerd://2.0.0",
		KubeletVersion: "v1.36.3", OperatingSystem: "linux", Architecture: "amd64"}
	for i := range 50 {
		image := fmt.Sprintf("registry.example.com/platform/team-%02d/a-service-with-a-long-name-%02d", i%7, i)
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{SizeBytes: int64(100_000_000 + i),
			Names: []string{image + "@sha256:" + strings.Repeat(fmt.Sprintf("%08x", i*2654435761&0xffffffff), 8), image + ":v1.2.3-build.4567"}})
	}
	return n
}
