package pipeline

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	typedrbacv1 "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/client-go/rest"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/apiserver"
	"wg-kube/internal/lab/hosts"
)

func TestMain(m *testing.M) { lab.Main(m) }

// hang bounds a wait for something that takes a second or two.
const hang = time.Minute

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
	c.allowKubelets(t)
	return c
}

// allowKubelets is what a kubelet lacks since Kubernetes 1.32, and a spoke that uses its credential needs.
func (c *cluster) allowKubelets(t *testing.T) {
	t.Helper()
	c.allow(t, "wg-kube", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:nodes"}, "list", "watch")
}

// allow lets somebody do something to Nodes.
func (c *cluster) allow(t *testing.T, name string, who rbacv1.Subject, verbs ...string) {
	t.Helper()
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: verbs}},
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{who},
	}
	rbac := typedrbacv1.NewForConfigOrDie(c.Admin())
	_, err := rbac.ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{})
	must(t, err)
	_, err = rbac.ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{})
	must(t, err)
}

// join makes the Node, as a kubelet does when it registers.
func (c *cluster) join(t *testing.T, m *machine) {
	t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: m.name}}
	n.Spec.PodCIDRs = m.pods
	if m.role == "hub" {
		n.Labels = map[string]string{m.prefix() + "hub": "true"}
	}
	_, err := c.nodes.Create(t.Context(), n, metav1.CreateOptions{})
	must(t, err)
	addresses := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: m.overlay}}
	switch m.role {
	case "hub":
		addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: m.underlay})
	case "mesh":
		addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: m.underlay}}
	}
	c.patch(t, m.name, map[string]any{"status": map[string]any{
		"addresses":  addresses,
		"conditions": []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
	}}, "status")
}

// machine is one node with its two daemons. Both have the files of the machine; wg-apply has its network as well,
// wg-render that of the API server.
type machine struct {
	*lab.Host
	t                 *testing.T // the daemons end with it, also those that a subtest starts
	name, role        string
	underlay, overlay string   // addresses; overlay is empty in a mesh
	pods              []string // podCIDRs
	flags             []string // of wg-render, beside the usual ones
	pod               bool     // wg-render finds its credential where a pod does, and no kubeconfig
	env               []string // of wg-render
	apply, render     *process
}

const (
	proposals  = "/run/wg-render"
	kubeconfig = "/run/kubelet/kubeconfig"
)

// machine plugs m into the cluster's segment and starts its daemons, before it has a credential or a Node.
func (c *cluster) machine(t *testing.T, m machine) *machine {
	t.Helper()
	m.Host, m.t = lab.NewHost(t, m.name), t
	lab.Build(t, "wg-kube/cmd/wg-device") // beside wg-apply, for a kernel without WireGuard
	c.segment.Plug(t, m.Host, "eth0", m.underlay+"/24")
	if m.role != "spoke" {
		m.Run(t, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	}
	must(t, os.Chown(m.Path(proposals), renderer(), renderer()))
	must(t, os.Chown(m.Path("/run/wg-kube"), 0, renderer()))
	must(t, os.Chmod(m.Path("/run/wg-kube"), 0o750))
	m.startApply()
	m.startRender()
	return &m
}

func (c *cluster) hub(t *testing.T, name, underlay, overlay string, flags ...string) *machine {
	t.Helper()
	return c.machine(t, machine{name: name, role: "hub", underlay: underlay, overlay: overlay,
		flags: append([]string{"--allowed-ips", "100.96.0.0/16"}, flags...)})
}

func (c *cluster) spoke(t *testing.T, name, underlay, overlay string, flags ...string) *machine {
	t.Helper()
	return c.machine(t, machine{name: name, role: "spoke", underlay: underlay, overlay: overlay, flags: flags})
}

// prefix is that of the labels and annotations.
func (m *machine) prefix() string {
	if i := slices.Index(m.flags, "--annotation-prefix"); i >= 0 {
		return m.flags[i+1]
	}
	return "wireguard.kube/"
}

// renderer is the user and the group that wg-render runs as: nobody else's. Behind a wall that an ordinary user has
// made there is only this one.
func renderer() int {
	const free = 64123
	b, _ := os.ReadFile("/proc/self/uid_map")
	var inside, outside, length int
	if _, err := fmt.Sscan(string(b), &inside, &outside, &length); err != nil || length <= free {
		return os.Getuid()
	}
	return free
}

func (m *machine) startApply() {
	m.t.Helper()
	cmd := m.Command(lab.Build(m.t, "wg-kube/cmd/wg-apply"), "run", "--proposed", "wg0", "--proposals", proposals, "--resync", "1s")
	m.apply = start(m.t, m.name+": wg-apply", cmd)
}

// startRender starts wg-render as a user of its own. What is in flags comes last, and so first.
func (m *machine) startRender() {
	m.t.Helper()
	id := strconv.Itoa(renderer())
	args := []string{"--mount", "--target", strconv.Itoa(m.PID()), "--setuid", id, "--setgid", id, program(m.t), "run",
		"--role", m.role, "--node-name", m.name, "--out", proposals, "--metrics-addr", "off"}
	if !m.pod {
		args = append(args, "--kubeconfig", kubeconfig)
	}
	if m.overlay != "" {
		args = append(args, "--address", m.overlay+"/32")
	}
	cmd := exec.Command("nsenter", append(args, m.flags...)...)
	cmd.Env = append(os.Environ(), m.env...)
	m.render = start(m.t, m.name+": wg-render", cmd)
}

// restartRender starts wg-render anew, with other flags.
func (m *machine) restartRender(flags ...string) {
	m.t.Helper()
	m.render.kill()
	m.flags = flags
	m.startRender()
}

// program is wg-render where any user may run it: the folder in which it was built may be root's.
func program(t *testing.T) string {
	t.Helper()
	built, to := lab.Build(t, "wg-kube/cmd/wg-render"), filepath.Join(hosts.Shared, "wg-render")
	if _, err := os.Stat(to); err != nil {
		b, err := os.ReadFile(built)
		must(t, err)
		must(t, os.WriteFile(to, b, 0o755))
	}
	return to
}

// credential gives the machine its kubelet's.
func (c *cluster) credential(t *testing.T, m *machine) {
	t.Helper()
	m.use(t, c.User("system:node:"+m.name, "system:nodes"))
}

// inCluster is the environment of a pod, and account fills in what is in its files.
func (c *cluster) inCluster() []string {
	u, _ := url.Parse(c.Admin().Host)
	return []string{"KUBERNETES_SERVICE_HOST=" + u.Hostname(), "KUBERNETES_SERVICE_PORT=" + u.Port()}
}

// account gives the machine a ServiceAccount, which may do what a hub has to, as the kubelet gives it to a pod.
func (c *cluster) account(t *testing.T, m *machine) {
	t.Helper()
	c.allow(t, m.name, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: m.name}, "get", "list", "watch", "patch")
	accounts := typedcorev1.NewForConfigOrDie(c.Admin()).ServiceAccounts("default")
	_, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: m.name}}, metav1.CreateOptions{})
	must(t, err)
	token, err := accounts.CreateToken(t.Context(), m.name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	must(t, err)
	const dir = "/run/secrets/kubernetes.io/serviceaccount/" // which is /var/run/secrets too
	m.Write(t, dir+"token", token.Status.Token, 0o644)
	m.Write(t, dir+"ca.crt", string(c.Admin().CAData), 0o644)
}

// use gives the machine a credential.
func (m *machine) use(t *testing.T, config *rest.Config) {
	t.Helper()
	m.Write(t, kubeconfig+".new", string(apiserver.Kubeconfig(config)), 0o400)
	must(t, os.Chown(m.Path(kubeconfig+".new"), renderer(), renderer()))
	must(t, os.Rename(m.Path(kubeconfig+".new"), m.Path(kubeconfig)))
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

// reachable says who reaches whom by ping, a line for each machine: "hub: spoke-1 spoke-2".
func reachable(all ...*machine) string {
	lines := make([]string, len(all))
	var pings sync.WaitGroup
	for i, from := range all {
		pings.Go(func() {
			lines[i] = from.name + ":"
			for _, to := range all {
				if to == from {
					continue
				}
				if _, code := from.Try("ping", "-c", "1", "-W", "1", to.overlay); code == 0 {
					lines[i] += " " + to.name
				}
			}
		})
	}
	pings.Wait()
	return strings.Join(lines, "\n")
}

// waitForReach waits until these and no others reach each other, as reachable says it. A peer that was forgotten for a
// while calls again after 15 seconds.
func waitForReach(t *testing.T, all []*machine, want ...string) {
	t.Helper()
	got := ""
	for end := time.Now().Add(2 * hang); got != strings.Join(want, "\n"); {
		if time.Now().After(end) {
			t.Fatalf("who reaches whom:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
		}
		got = reachable(all...)
	}
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

// label sets a label, or removes it: nil.
func (c *cluster) label(t *testing.T, node, key string, value any) {
	t.Helper()
	c.patch(t, node, map[string]any{"metadata": map[string]any{"labels": map[string]any{key: value}}})
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
