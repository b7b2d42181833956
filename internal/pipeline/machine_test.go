package pipeline

import (
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	typedrbacv1 "k8s.io/client-go/kubernetes/typed/rbac/v1"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/apiserver"
)

func TestMain(m *testing.M) { lab.Main(m) }

// hang bounds a wait for something that takes a second or two.
const hang = 30 * time.Second

// cluster is an API server and a network segment on which the machines are.
type cluster struct {
	*apiserver.Server
	nodes   typedcorev1.NodeInterface
	segment *lab.Segment
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	lab.Need(t)
	c := &cluster{Server: apiserver.Start(t), segment: lab.Switch(t)}
	c.nodes = typedcorev1.NewForConfigOrDie(c.Admin()).Nodes()
	// What a kubelet lacks since Kubernetes 1.32, and a spoke that uses its credential needs.
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "wg-kube"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"list", "watch"}}},
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "wg-kube"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "system:nodes"}},
	}
	rbac := typedrbacv1.NewForConfigOrDie(c.Admin())
	_, err := rbac.ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{})
	must(t, err)
	_, err = rbac.ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{})
	must(t, err)
	return c
}

// join makes the Node, as a kubelet does when it registers.
func (c *cluster) join(t *testing.T, m *machine) {
	t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: m.name}}
	if m.role == "hub" {
		n.Labels = map[string]string{"wireguard.kube/hub": "true"}
	}
	_, err := c.nodes.Create(t.Context(), n, metav1.CreateOptions{})
	must(t, err)
	addresses := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: m.overlay}}
	if m.role == "hub" {
		addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: m.underlay})
	}
	c.patch(t, m.name, map[string]any{"status": map[string]any{"addresses": addresses}}, "status")
}

// machine is one node with its two daemons.
type machine struct {
	*lab.Host
	t                 *testing.T // the daemons end with it, also those that a subtest starts
	name, role        string
	underlay, overlay string
	apply, render     *process
}

const (
	proposals  = "/run/wg-render"
	kubeconfig = "/run/kubelet/kubeconfig"
)

func (c *cluster) machine(t *testing.T, name, role, underlay, overlay string) *machine {
	t.Helper()
	m := &machine{Host: lab.NewHost(t, name), t: t, name: name, role: role, underlay: underlay, overlay: overlay}
	lab.Build(t, "wg-kube/cmd/wg-device") // beside wg-apply, for a kernel without WireGuard
	c.segment.Plug(t, m.Host, "eth0", underlay+"/24")
	if role == "hub" {
		m.Run(t, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	}
	m.startApply()
	m.startRender()
	return m
}

func (m *machine) startApply() {
	m.t.Helper()
	cmd := m.Command(lab.Build(m.t, "wg-kube/cmd/wg-apply"), "run", "--proposed", "wg0", "--proposals", proposals, "--resync", "1s")
	m.apply = start(m.t, m.name+": wg-apply", cmd)
}

// startRender starts wg-render with the files of the machine, on the network of the API server.
func (m *machine) startRender() {
	m.t.Helper()
	args := []string{"--mount", "--target", strconv.Itoa(m.PID()), lab.Build(m.t, "wg-kube/cmd/wg-render"), "run",
		"--role", m.role, "--node-name", m.name, "--kubeconfig", kubeconfig, "--out", proposals, "--address", m.overlay + "/32"}
	if m.role == "hub" {
		args = append(args, "--allowed-ips", "100.96.0.0/16")
	}
	m.render = start(m.t, m.name+": wg-render", exec.Command("nsenter", args...))
}

// credential gives the machine its kubelet's.
func (c *cluster) credential(t *testing.T, m *machine) {
	t.Helper()
	m.Write(t, kubeconfig, string(apiserver.Kubeconfig(c.User("system:node:"+m.name, "system:nodes"))), 0o600)
}

// process is a daemon that ends with its test. What it said is shown if the test fails.
type process struct {
	cmd *exec.Cmd
	log string
}

func start(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "log-")
	must(t, err)
	defer f.Close()
	p := &process{cmd, f.Name()}
	cmd.Stdout, cmd.Stderr = f, f
	must(t, cmd.Start())
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s\n%s", name, p.said())
		}
	})
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
}

func (p *process) said() string {
	b, _ := os.ReadFile(p.log)
	return string(b)
}

func (m *machine) peers(t *testing.T) int {
	t.Helper()
	out, _ := m.Try("wg", "show", "wg0", "peers")
	return strings.Count(out, "\n")
}

func (m *machine) waitForPeers(t *testing.T, n int) {
	t.Helper()
	lab.Eventually(t, hang, m.name+": number of peers", func() bool { return m.peers(t) == n })
}

func (m *machine) reaches(t *testing.T, other *machine) {
	t.Helper()
	lab.Eventually(t, hang, m.name+" reaches "+other.name, func() bool {
		_, code := m.Try("ping", "-c", "1", "-W", "1", other.overlay)
		return code == 0
	})
}

// identity tells one version of a file from the next, also when both say the same.
func (m *machine) identity(t *testing.T, path string) (ino uint64, changed syscall.Timespec) {
	t.Helper()
	fi, err := os.Stat(m.Path(path))
	must(t, err)
	st := fi.Sys().(*syscall.Stat_t)
	return st.Ino, st.Ctim
}

func (c *cluster) annotate(t *testing.T, node, key, value string) {
	t.Helper()
	c.patch(t, node, map[string]any{"metadata": map[string]any{"annotations": map[string]string{key: value}}})
}

// patch merges a change into a Node, which its kubelet or its wg-render may be changing as well.
func (c *cluster) patch(t *testing.T, node string, change any, subresources ...string) {
	t.Helper()
	b, err := json.Marshal(change)
	must(t, err)
	_, err = c.nodes.Patch(t.Context(), node, types.MergePatchType, b, metav1.PatchOptions{}, subresources...)
	must(t, err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
