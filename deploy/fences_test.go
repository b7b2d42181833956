package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

const pinned = "node-restriction.kubernetes.io/wireguard-hub"

// change is one request about a Node: what is merged into it, and how.
type change struct {
	how    string // create, update, patch, apply, status
	node   string
	meta   map[string]any // labels, annotations, finalizers
	spec   map[string]any
	status map[string]any
}

// try makes the request, which changes nothing whatever comes of it.
func (c change) try(ctx context.Context, nodes typedcorev1.NodeInterface, before *corev1.Node) error {
	dryRun := []string{metav1.DryRunAll}
	object := map[string]any{}
	if c.meta != nil {
		object["metadata"] = c.meta
	}
	if c.spec != nil {
		object["spec"] = c.spec
	}
	if c.status != nil {
		object["status"] = c.status
	}
	b, err := json.Marshal(object)
	if err != nil {
		return err
	}
	switch c.how {
	case "create":
		n := &corev1.Node{}
		if err := json.Unmarshal(b, n); err != nil {
			return err
		}
		n.Name = c.node
		_, err = nodes.Create(ctx, n, metav1.CreateOptions{DryRun: dryRun})
	case "update":
		n := before.DeepCopy()
		if err := json.Unmarshal(b, n); err != nil { // into what is there: merged
			return err
		}
		_, err = nodes.Update(ctx, n, metav1.UpdateOptions{DryRun: dryRun})
	case "patch":
		_, err = nodes.Patch(ctx, c.node, types.MergePatchType, b, metav1.PatchOptions{DryRun: dryRun})
	case "status":
		_, err = nodes.Patch(ctx, c.node, types.MergePatchType, b, metav1.PatchOptions{DryRun: dryRun}, "status")
	case "apply":
		object["apiVersion"], object["kind"] = "v1", "Node"
		if b, err = json.Marshal(object); err != nil {
			return err
		}
		_, err = nodes.Patch(ctx, c.node, types.ApplyPatchType, b, metav1.PatchOptions{FieldManager: "test", DryRun: dryRun})
	default:
		return fmt.Errorf("no such way: %s", c.how)
	}
	return err
}

func annotation(key, value string) map[string]any {
	return map[string]any{"annotations": map[string]any{key: value}}
}

func label(key, value string) map[string]any {
	return map[string]any{"labels": map[string]any{key: value}}
}

// TestFences tells who may do what to a Node, once the fences stand, with all the rights to Nodes that RBAC can give.
func TestFences(t *testing.T) {
	t.Run("as they are", func(t *testing.T) { testFences(t, "overlays/hub", "wireguard.kube/") })
	t.Run("with another prefix", func(t *testing.T) {
		testFences(t, documented(t), "stretch.azure.com/wireguard-")
	})
}

func testFences(t *testing.T, dir, prefix string) {
	c := newCluster(t)
	c.apply(t, dir)
	nodes := map[string]*corev1.Node{}
	for name, labels := range map[string]map[string]string{
		"a":   {prefix + "peer": "true"},
		"b":   {prefix + "peer": "true"},
		"hub": {prefix + "hub": "true"},
		"pin": {pinned: ""},
		"cdr": nil, // its podCIDR is handed out
	} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: labels, Annotations: map[string]string{prefix + "endpoint": "192.0.2.1:1", "other": "x"},
		}}
		if name == "cdr" {
			n.Spec.PodCIDR, n.Spec.PodCIDRs = "10.244.1.0/24", []string{"10.244.1.0/24"}
		}
		n, err := c.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{})
		must(t, err)
		nodes[name] = n
	}
	// A network plugin is an account with rights to Nodes as well: whoever has a node has the token of its pod there.
	_, err := c.CoreV1().ServiceAccounts("kube-system").Create(t.Context(), &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: "plugin"}}, metav1.CreateOptions{})
	must(t, err)
	allow(t, c.Clientset, "wg-kube", "wg-hub", "wg-spoke")
	allow(t, c.Clientset, "kube-system", "plugin")

	who := map[string]*rest.Config{
		"admin":                   c.Admin(),
		"kubelet of a":            c.User("system:node:a", "system:nodes"),
		"kubelet of pin":          c.User("system:node:pin", "system:nodes"),
		"kubelet of cdr":          c.User("system:node:cdr", "system:nodes"),
		"kubelet of new":          c.User("system:node:new", "system:nodes"),
		"wg-hub on hub":           c.token(t, "wg-kube", "wg-hub", c.pod(t, "wg-kube", "wg-hub", "hub")),
		"wg-hub, bound to no pod": c.token(t, "wg-kube", "wg-hub", nil),
		"wg-spoke of a":           c.token(t, "wg-kube", "wg-spoke", nodes["a"]),
		"plugin on a":             c.token(t, "kube-system", "plugin", c.pod(t, "kube-system", "plugin", "a")),
		"plugin, bound to no pod": c.token(t, "kube-system", "plugin", nil),
	}
	client := func(name string) typedcorev1.NodeInterface {
		return typedcorev1.NewForConfigOrDie(who[name]).Nodes()
	}

	const (
		yes      = ""
		notOwn   = "sets PREFIX* on its own Node alone"
		noHub    = "a node makes itself a hub"
		notAlone = "and nothing else"
		noPin    = "is for an administrator to set"
		noPods   = "podCIDRs are handed out by the cluster, and set by no node"
	)
	pods := map[string]any{"podCIDR": "10.244.7.0/24", "podCIDRs": []any{"10.244.7.0/24"}}
	key, site, hub := annotation(prefix+"public-key", "x"), label(prefix+"site", "x"), label(prefix+"hub", "true")
	wait(t, client("plugin on a"), change{how: "patch", node: "b", meta: key})

	tests := []struct {
		name string
		who  string
		do   change
		want string // a part of the refusal; "" is none
	}{
		{"a kubelet on its own Node", "kubelet of a", change{how: "patch", node: "a", meta: key}, yes},
		{"", "kubelet of a", change{how: "update", node: "a", meta: site}, yes},
		{"", "kubelet of a", change{how: "status", node: "a", meta: key}, yes},
		{"", "kubelet of a", change{how: "apply", node: "a", meta: key}, yes},
		{"takes back a key", "kubelet of a", change{how: "patch", node: "a", meta: map[string]any{"annotations": map[string]any{prefix + "endpoint": nil}}}, yes},
		{"heartbeat", "kubelet of a", change{how: "status", node: "a", status: ready()}, yes},
		{"heartbeat of a hub", "kubelet of pin", change{how: "status", node: "pin", status: ready()}, yes},
		{"a kubelet registers", "kubelet of new", change{how: "create", node: "new", meta: label(prefix+"peer", "true")}, yes},
		{"a kubelet on another's Node", "kubelet of a", change{how: "patch", node: "b", meta: key}, "is not allowed to modify node"},
		{"", "kubelet of a", change{how: "status", node: "b", meta: key}, "is not allowed to modify node"},

		{"a kubelet makes itself a hub", "kubelet of a", change{how: "patch", node: "a", meta: hub}, noHub},
		{"", "kubelet of a", change{how: "update", node: "a", meta: hub}, noHub},
		{"", "kubelet of a", change{how: "status", node: "a", meta: hub}, noHub},
		{"", "kubelet of a", change{how: "apply", node: "a", meta: hub}, noHub},
		{"", "kubelet of new", change{how: "create", node: "new", meta: hub}, noHub},
		{"and pins itself", "kubelet of a", change{how: "patch", node: "a", meta: map[string]any{"labels": map[string]any{pinned: "", prefix + "hub": "true"}}}, "is not allowed to modify labels"},
		{"and registers pinned", "kubelet of new", change{how: "create", node: "new", meta: map[string]any{"labels": map[string]any{pinned: "", prefix + "hub": "true"}}}, "is not allowed"},
		{"the kubelet of a pinned node", "kubelet of pin", change{how: "patch", node: "pin", meta: hub}, yes},
		{"", "kubelet of pin", change{how: "status", node: "pin", meta: hub}, yes},
		{"a label that is none", "kubelet of a", change{how: "patch", node: "a", meta: label(prefix+"hub", "false")}, yes},

		{"a kubelet takes podCIDRs", "kubelet of a", change{how: "patch", node: "a", spec: pods}, noPods},
		{"", "kubelet of a", change{how: "patch", node: "a", spec: map[string]any{"podCIDR": "10.244.7.0/24"}}, noPods},
		{"", "kubelet of a", change{how: "patch", node: "a", spec: map[string]any{"podCIDRs": []any{"10.244.7.0/24"}}}, "podCIDR"},
		{"", "kubelet of a", change{how: "update", node: "a", spec: pods}, noPods},
		{"", "kubelet of a", change{how: "apply", node: "a", spec: pods}, noPods},
		{"", "kubelet of a", change{how: "status", node: "a", spec: pods}, yes}, // which a status leaves out
		{"", "kubelet of new", change{how: "create", node: "new", spec: pods}, noPods},
		{"gives them away", "kubelet of cdr", change{how: "patch", node: "cdr", spec: map[string]any{"podCIDR": nil, "podCIDRs": nil}}, "podCIDR"},
		{"a kubelet that was given some", "kubelet of cdr", change{how: "update", node: "cdr", meta: site}, yes},
		{"", "kubelet of cdr", change{how: "patch", node: "cdr", meta: key}, yes},
		{"", "kubelet of cdr", change{how: "status", node: "cdr", status: ready()}, yes},
		{"", "kubelet of cdr", change{how: "patch", node: "cdr", spec: map[string]any{"unschedulable": true}}, yes},
		{"a controller hands them out", "admin", change{how: "patch", node: "a", spec: pods}, yes},
		{"as a pod that runs on some node", "plugin on a", change{how: "patch", node: "b", spec: pods}, yes},
		{"wg-hub does not", "wg-hub on hub", change{how: "patch", node: "hub", spec: pods}, notAlone},

		{"wg-hub on its own Node", "wg-hub on hub", change{how: "apply", node: "hub", meta: key}, yes},
		{"", "wg-hub on hub", change{how: "patch", node: "hub", meta: key}, yes},
		{"", "wg-hub on hub", change{how: "update", node: "hub", meta: site}, yes},
		{"keeps the label", "wg-hub on hub", change{how: "apply", node: "hub", meta: hub}, yes},
		{"wg-hub on another's Node", "wg-hub on hub", change{how: "patch", node: "a", meta: key}, notOwn},
		{"", "wg-hub on hub", change{how: "update", node: "a", meta: site}, notOwn},
		{"", "wg-hub on hub", change{how: "status", node: "a", meta: key}, notOwn},
		{"", "wg-hub on hub", change{how: "apply", node: "a", meta: key}, notOwn},
		{"takes away a key", "wg-hub on hub", change{how: "patch", node: "a", meta: map[string]any{"annotations": map[string]any{prefix + "endpoint": nil}}}, notOwn},
		{"takes away a label", "wg-hub on hub", change{how: "patch", node: "a", meta: map[string]any{"labels": map[string]any{prefix + "peer": nil}}}, notOwn},
		{"makes another a hub", "wg-hub on hub", change{how: "patch", node: "a", meta: hub}, notOwn},
		{"changes something else", "wg-hub on hub", change{how: "patch", node: "hub", meta: annotation("other", "y")}, notAlone},
		{"", "wg-hub on hub", change{how: "patch", node: "hub", meta: map[string]any{"annotations": map[string]any{"other": nil}}}, notAlone},
		{"", "wg-hub on hub", change{how: "patch", node: "hub", meta: label("node-role.kubernetes.io/control-plane", "")}, notAlone},
		{"", "wg-hub on hub", change{how: "patch", node: "hub", spec: map[string]any{"unschedulable": true}}, notAlone},
		{"", "wg-hub on hub", change{how: "patch", node: "hub", spec: map[string]any{"taints": []any{map[string]any{"key": "x", "effect": "NoExecute"}}}}, notAlone},
		{"", "wg-hub on hub", change{how: "patch", node: "hub", meta: map[string]any{"finalizers": []string{"example.org/x"}}}, notAlone},
		{"", "wg-hub on hub", change{how: "status", node: "hub", status: ready()}, notAlone},
		{"", "wg-hub on hub", change{how: "create", node: "new"}, notAlone},
		{"", "wg-hub on hub", change{how: "create", node: "hub"}, notAlone},
		{"wg-hub without a node", "wg-hub, bound to no pod", change{how: "patch", node: "hub", meta: key}, notOwn},
		{"", "wg-hub, bound to no pod", change{how: "patch", node: "hub", meta: annotation("other", "y")}, notAlone},

		{"wg-spoke on its own Node", "wg-spoke of a", change{how: "apply", node: "a", meta: key}, yes},
		{"on another's", "wg-spoke of a", change{how: "apply", node: "b", meta: key}, notOwn},
		{"makes itself a hub", "wg-spoke of a", change{how: "apply", node: "a", meta: hub}, noHub},
		{"changes something else", "wg-spoke of a", change{how: "patch", node: "a", spec: map[string]any{"unschedulable": true}}, notAlone},

		{"another account on its own Node", "plugin on a", change{how: "patch", node: "a", meta: key}, yes},
		{"makes its node a hub", "plugin on a", change{how: "patch", node: "a", meta: hub}, noHub},
		{"and pins it", "plugin on a", change{how: "patch", node: "a", meta: map[string]any{"labels": map[string]any{pinned: "", prefix + "hub": "true"}}}, noHub},
		{"pins it", "plugin on a", change{how: "patch", node: "a", meta: label(pinned, "")}, noPin},
		{"", "plugin on a", change{how: "status", node: "a", meta: label(pinned, "")}, noPin},
		{"", "plugin on a", change{how: "create", node: "c", meta: label(pinned, "")}, noPin},
		{"on another's Node", "plugin on a", change{how: "patch", node: "b", meta: key}, notOwn},
		{"", "plugin on a", change{how: "status", node: "b", meta: key}, notOwn},
		{"", "plugin on a", change{how: "create", node: "c", meta: site}, notOwn},
		{"on another's Node, without our keys", "plugin on a", change{how: "patch", node: "b", meta: annotation("other", "y")}, yes},
		{"", "plugin on a", change{how: "status", node: "b", status: ready()}, yes},
		{"what RBAC lets no node do", "plugin, bound to no pod", change{how: "patch", node: "b", meta: hub}, yes},

		{"an administrator", "admin", change{how: "patch", node: "a", meta: hub}, yes},
		{"", "admin", change{how: "update", node: "a", meta: key}, yes},
		{"", "admin", change{how: "create", node: "new", meta: hub}, yes},
		{"", "admin", change{how: "patch", node: "a", meta: label(pinned, "")}, yes},
	}
	for _, tt := range tests {
		name := strings.TrimPrefix(fmt.Sprintf("%s: %s: %s %s", tt.name, tt.who, tt.do.how, tt.do.node), ": ")
		t.Run(name, func(t *testing.T) {
			err := tt.do.try(t.Context(), client(tt.who), nodes[tt.do.node])
			want := strings.ReplaceAll(tt.want, "PREFIX", prefix)
			if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v; want %q", tt.do, err, want)
			}
		})
	}
}

// allow gives accounts every right to Nodes, so that nothing but the fences is in their way.
func allow(t *testing.T, c *kubernetes.Clientset, namespace string, accounts ...string) {
	t.Helper()
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "all-of-nodes-" + namespace},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes", "nodes/status"}, Verbs: []string{"*"}}},
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: role.ObjectMeta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
	}
	for _, account := range accounts {
		binding.Subjects = append(binding.Subjects, rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: account})
	}
	_, err := c.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{})
	must(t, err)
	_, err = c.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{})
	must(t, err)
}

// wait waits until the fences stand, and all rights are known: a policy is in force a moment after it was made.
func wait(t *testing.T, nodes typedcorev1.NodeInterface, canary change) {
	t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = canary.try(t.Context(), nodes, nil); err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
			return
		}
	}
	t.Fatalf("the fences do not stand: %v", err)
}

func ready() map[string]any {
	return map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True", "reason": "KubeletReady"}}}
}
