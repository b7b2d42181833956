// Package source is what the sources of Nodes share: a Node of the Kubernetes API becomes a Node of the overlay
// here. It judges nothing: labels and annotations pass as they came.
package source

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"wg-kube/render/overlay"
)

// Node takes from n what the overlay needs. Addresses and podCIDRs that do not parse are left out: the API server
// checks them, and no claim is made with them.
func Node(n *corev1.Node) overlay.Node {
	o := overlay.Node{
		Name:        n.Name,
		UID:         string(n.UID),
		Created:     n.CreationTimestamp.UTC(),
		Labels:      n.Labels,
		Annotations: n.Annotations,
	}
	cidrs := n.Spec.PodCIDRs
	if len(cidrs) == 0 {
		cidrs = []string{n.Spec.PodCIDR} // as a person may write it; the API server fills in both
	}
	for _, cidr := range cidrs {
		if p, err := netip.ParsePrefix(cidr); err == nil {
			o.PodCIDRs = append(o.PodCIDRs, p.Masked())
		}
	}
	for _, a := range n.Status.Addresses {
		addr, err := netip.ParseAddr(a.Address)
		if err != nil {
			continue
		}
		switch a.Type {
		case corev1.NodeInternalIP:
			o.InternalIPs = append(o.InternalIPs, addr.Unmap())
		case corev1.NodeExternalIP:
			o.ExternalIPs = append(o.ExternalIPs, addr.Unmap())
		}
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			o.Ready = c.Status == corev1.ConditionTrue
		}
	}
	return o
}
