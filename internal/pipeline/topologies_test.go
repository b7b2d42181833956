package pipeline

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wg-kube/internal/lab"
)

// TestMesh: nodes that mesh reach each other's pods, from a pod and from the node itself, by IPv4 and IPv6.
func TestMesh(t *testing.T) {
	c := newCluster(t)
	join := func(i int) *machine {
		m := c.machine(t, machine{name: fmt.Sprintf("node-%d", i), role: "mesh", underlay: fmt.Sprintf("192.0.2.%d", i),
			pods: []string{fmt.Sprintf("10.244.%d.0/24", i), fmt.Sprintf("fd44:0:0:%d::/64", i)}})
		// What a CNI plugin makes: a bridge with the address that the pods have as their gateway.
		m.Run(t, "ip", "link", "add", "cni0", "type", "bridge")
		m.Run(t, "ip", "link", "set", "cni0", "up")
		m.Run(t, "ip", "address", "add", fmt.Sprintf("10.244.%d.1/24", i), "dev", "cni0")
		m.Run(t, "ip", "address", "add", fmt.Sprintf("fd44:0:0:%d::1/64", i), "dev", "cni0", "nodad")
		c.credential(t, m)
		c.join(t, m)
		return m
	}
	pods := func(m *machine, from string) [2]string {
		i := strings.TrimPrefix(m.name, "node-")
		return [2]string{"10.244." + i + from, "fd44:0:0:" + i + "::1"}
	}
	reach := func(t *testing.T, all ...*machine) {
		t.Helper()
		for _, a := range all {
			for _, b := range all {
				for family, to := range pods(b, ".1") {
					from := pods(a, ".1")[family]
					lab.Eventually(t, hang, fmt.Sprintf("a pod at %s, and its node, reach %s", from, to), func() bool {
						_, pod := a.Try("ping", "-c", "1", "-W", "1", "-I", from, to)
						_, node := a.Try("ping", "-c", "1", "-W", "1", to)
						return pod == 0 && node == 0
					})
				}
			}
		}
	}
	n1, n2, n3 := join(1), join(2), join(3)
	reach(t, n1, n2, n3)
	if got := n1.Run(t, "ip", "-o", "-4", "route", "get", "10.244.2.1"); !strings.Contains(got, "dev wg0") || !strings.Contains(got, "src 10.244.1.0") {
		t.Errorf("node-1 sends to a pod of node-2 as %s", got)
	}

	lost := lab.Loss(t, n1.Host, n2.Host, "10.244.2.1", 500)
	n4 := join(4)
	reach(t, n4, n1)
	must(t, c.nodes.Delete(t.Context(), "node-3", metav1.DeleteOptions{}))
	n1.waitForPeers(t, 2)
	n2.waitForPeers(t, 2)
	if l := lost(); l.Lost != 0 || l.Sent < 500 {
		t.Errorf("%v", l)
	}
}

// TestSeveralHubs: each has its own address, and what both advertise goes to the first that is Ready.
func TestSeveralHubs(t *testing.T) {
	c := newCluster(t)
	h1 := c.hub(t, "hub-1", "192.0.2.1", "100.96.0.1", "--allowed-ips", "100.96.0.1/32")
	h2 := c.hub(t, "hub-2", "192.0.2.2", "100.96.0.2", "--allowed-ips", "100.96.0.2/32")
	s1 := c.spoke(t, "spoke-1", "192.0.2.11", "100.96.1.1")
	s2 := c.spoke(t, "spoke-2", "192.0.2.12", "100.96.2.1")
	all := []*machine{h1, h2, s1, s2}
	for _, m := range all {
		c.credential(t, m)
		c.join(t, m)
	}
	by := func(t *testing.T, hub, other *machine) {
		t.Helper()
		for _, s := range []*machine{s1, s2} {
			lab.Eventually(t, hang, s.name+" sends to the others by way of "+hub.name, func() bool {
				return strings.Contains(s.allowedIPs(t, hub.publicKey(t)), "100.96.0.0/16") &&
					!strings.Contains(s.allowedIPs(t, other.publicKey(t)), "100.96.0.0/16") &&
					strings.Contains(s.allowedIPs(t, other.publicKey(t)), other.overlay+"/32")
			})
		}
		s1.reaches(t, s2)
		s1.reaches(t, h1)
		s1.reaches(t, h2)
	}
	ready := func(hub *machine, status corev1.ConditionStatus) {
		c.patch(t, hub.name, map[string]any{"status": map[string]any{
			"conditions": []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}},
		}}, "status")
	}
	by(t, h1, h2)
	ready(h1, corev1.ConditionUnknown) // what the controller manager says of a Node that is not heard of
	by(t, h2, h1)
	ready(h1, corev1.ConditionTrue)
	by(t, h1, h2)
}
