package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"wg-kube/internal/lab"
	"wg-kube/templates/wgquick"
)

// disk is where, on a small machine, the folders are that a pod has from its host.
const disk = "/run/disk"

// kubelet runs the containers of a pod on a small machine. wg-render alone is in the network of the API server, which
// is the test's own.
type kubelet struct {
	cluster
	*lab.Host
	image string
	pod   *corev1.Pod
}

// capability is the number of one that a manifest names.
var capability = map[corev1.Capability]int{"NET_ADMIN": unix.CAP_NET_ADMIN}

// container is what the kubelet would make of a container of the pod.
func (k kubelet) container(t *testing.T, c corev1.Container) container {
	t.Helper()
	out := container{
		Image: k.image,
		UID:   int(*c.SecurityContext.RunAsUser),
		GID:   int(*c.SecurityContext.RunAsGroup),
		Args:  slices.Concat(c.Command, c.Args),
		Env: []string{"KUBERNETES_SERVICE_HOST=127.0.0.1",
			"KUBERNETES_SERVICE_PORT=" + k.Admin().Host[strings.LastIndexByte(k.Admin().Host, ':')+1:]},
	}
	if s := k.pod.Spec.SecurityContext.SeccompProfile; s != nil && s.Type == corev1.SeccompProfileTypeRuntimeDefault {
		out.Filter = runtimeDefault(t)
	}
	for _, id := range k.pod.Spec.SecurityContext.SupplementalGroups {
		out.Groups = append(out.Groups, int(id))
	}
	for _, name := range c.SecurityContext.Capabilities.Add {
		out.Capabilities = append(out.Capabilities, capability[name])
	}
	for _, from := range c.EnvFrom {
		m, err := k.CoreV1().ConfigMaps(k.pod.Namespace).Get(t.Context(), from.ConfigMapRef.Name, metav1.GetOptions{})
		must(t, err)
		for name, value := range m.Data {
			out.Env = append(out.Env, name+"="+value)
		}
	}
	for _, e := range c.Env {
		switch {
		case e.ValueFrom == nil:
			out.Env = append(out.Env, e.Name+"="+e.Value)
		case e.ValueFrom.FieldRef.FieldPath == "spec.nodeName":
			out.Env = append(out.Env, e.Name+"="+k.pod.Spec.NodeName)
		default:
			t.Fatalf("%s: %s: a source that is not known here", c.Name, e.Name)
		}
	}
	for _, m := range c.VolumeMounts {
		i := slices.IndexFunc(k.pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		out.Mounts = append(out.Mounts, mount{k.volume(t, k.pod.Spec.Volumes[i]), m.MountPath, m.ReadOnly})
	}
	return out
}

// volume makes a volume, if it is not there yet, and returns where it is on the machine.
func (k kubelet) volume(t *testing.T, v corev1.Volume) (dir string) {
	t.Helper()
	if v.HostPath != nil {
		dir = disk + v.HostPath.Path
		must(t, os.MkdirAll(k.Path(dir), 0o755)) // DirectoryOrCreate: root's, and open to all
		return dir
	}
	dir = "/run/pods/" + k.pod.Name + "/" + v.Name
	_, err := os.Stat(k.Path(dir))
	must(t, os.MkdirAll(k.Path(dir), 0o755))
	switch {
	case v.EmptyDir != nil && err != nil:
		must(t, os.Chmod(k.Path(dir), 0o777)) // root's, and everybody's
	case v.EmptyDir != nil:
	case v.Projected != nil:
		token := k.token(t, k.pod.Namespace, k.pod.Spec.ServiceAccountName, k.pod)
		k.Write(t, dir+"/token", token.BearerToken, 0o644)
		k.Write(t, dir+"/ca.crt", string(token.CAData), 0o644)
		k.Write(t, dir+"/namespace", k.pod.Namespace, 0o644)
	case v.Secret != nil:
		s, err := k.CoreV1().Secrets(k.pod.Namespace).Get(t.Context(), v.Secret.SecretName, metav1.GetOptions{})
		if err != nil && *v.Secret.Optional {
			break
		}
		must(t, err)
		for name, value := range s.Data {
			k.Write(t, dir+"/"+name, string(value), os.FileMode(*v.Secret.DefaultMode))
		}
	default:
		t.Fatalf("volume %s: a kind that is not known here", v.Name)
	}
	return dir
}

// command is the container as a command that has not been started.
func (k kubelet) command(t *testing.T, c container, hostNetwork bool) *exec.Cmd {
	t.Helper()
	spec, err := json.Marshal(c)
	must(t, err)
	exe, err := os.Executable()
	must(t, err)
	cmd := k.Command(exe)
	if !hostNetwork {
		cmd = exec.Command("nsenter", "--mount", "--uts", "--target", strconv.Itoa(k.PID()), "--", exe)
	}
	cmd.Env = append(os.Environ(), inContainer+"="+string(spec))
	return cmd
}

// named is the container of the pod with that name.
func (k kubelet) named(t *testing.T, name string) container {
	t.Helper()
	all := slices.Concat(k.pod.Spec.InitContainers, k.pod.Spec.Containers)
	i := slices.IndexFunc(all, func(c corev1.Container) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("no container %s", name)
	}
	return k.container(t, all[i])
}

// daemon is a container that runs until its test ends.
type daemon struct {
	*exec.Cmd
	log string
}

func (k kubelet) start(t *testing.T, name string) daemon {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), name)
	must(t, err)
	defer f.Close()
	d := daemon{k.command(t, k.named(t, name), name != "wg-render"), f.Name()}
	d.Stdout, d.Stderr = f, f
	must(t, d.Start())
	t.Cleanup(func() {
		if d.ProcessState == nil {
			_ = d.Process.Kill()
			_ = d.Wait()
		}
		if t.Failed() {
			t.Logf("%s:\n%s", name, d.said())
		}
	})
	return d
}

func (d daemon) said() string {
	b, _ := os.ReadFile(d.log)
	return string(b)
}

// stop ends the container as the kubelet does, within the time that the pod gives it.
func (d daemon) stop(t *testing.T, within time.Duration) {
	t.Helper()
	must(t, d.Process.Signal(syscall.SIGTERM))
	timer := time.AfterFunc(within, func() { _ = d.Process.Kill() })
	defer timer.Stop()
	if err := d.Wait(); err != nil {
		t.Errorf("%s: %v, when told to end", filepath.Base(d.log), err)
	}
}

// replace makes a pod of the DaemonSet on this node, as its controller does, and runs it.
func (k *kubelet) replace(t *testing.T, name string) (render, apply daemon) {
	t.Helper()
	set, err := k.AppsV1().DaemonSets("wg-kube").Get(t.Context(), name, metav1.GetOptions{})
	must(t, err)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: name + "-"}, Spec: set.Spec.Template.Spec}
	pod.Spec.NodeName = k.Name
	k.pod, err = k.CoreV1().Pods("wg-kube").Create(t.Context(), pod, metav1.CreateOptions{})
	must(t, err)
	if out, err := k.command(t, k.named(t, "folders"), true).CombinedOutput(); err != nil {
		t.Fatalf("folders: %v: %s", err, out)
	}
	return k.start(t, "wg-render"), k.start(t, "wg-apply")
}

const hang = time.Minute

// TestHub runs the hub as its DaemonSet says, from the image, under a runtime's default filter for system calls, with the
// account's own token and no right that the overlay does not give, behind the fences.
func TestHub(t *testing.T) {
	root := image(t)
	hasWireGuard := lab.HasKernelWireGuard(t)
	k := &kubelet{cluster: newCluster(t), Host: lab.NewHost(t, "hub"), image: root}
	k.apply(t, "overlays/hub")
	wg := k.Path(disk)
	_, err := k.CoreV1().Secrets("wg-kube").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "wg-kube-peers"},
		StringData: map[string]string{"office.conf": "[Peer]\n# office\nPublicKey = " + public(7) + "\nAllowedIPs = 10.7.0.0/24\n"},
	}, metav1.CreateOptions{})
	must(t, err)
	k.peerSecret(t, "laptop", map[string]string{"public-key": public(8), "allowed-ips": "10.8.0.0/24"})
	k.peerSecret(t, "rogue", map[string]string{"public-key": public(4), "allowed-ips": "127.0.0.0/8"})
	branch := k.wireGuardPeer(t, "branch", public(9), "10.9.0.0/24")
	k.node(t, "hub", map[string]string{"wireguard.kube/hub": "true"}, nil, corev1.NodeExternalIP, "192.0.2.1")
	k.node(t, "spoke", map[string]string{"wireguard.kube/peer": "true"},
		map[string]string{"wireguard.kube/public-key": public(1)}, corev1.NodeInternalIP, "100.96.1.1")

	k.node(t, "rogue", map[string]string{"wireguard.kube/peer": "true"},
		map[string]string{"wireguard.kube/public-key": public(3), "wireguard.kube/allowed-ips": "0.0.0.0/0"}, corev1.NodeInternalIP, "100.96.1.3")

	render, apply := k.replace(t, "wg-hub")
	lab.Eventually(t, hang, "the proposal has the peers of every source", func() bool {
		b, _ := os.ReadFile(wg + "/var/lib/wg-render/wg0.conf")
		return !slices.ContainsFunc([]byte{1, 7, 8, 9}, func(n byte) bool { return !strings.Contains(string(b), public(n)) })
	})
	lab.Eventually(t, hang, "a WireGuardPeer says that it is one", branch)
	lab.Eventually(t, hang, "Nodes and Secrets hear by an Event that they are refused", func() bool {
		var about []string
		for _, namespace := range []string{"default", "wg-kube"} {
			events, err := k.EventsV1().Events(namespace).List(t.Context(), metav1.ListOptions{})
			must(t, err)
			for _, e := range events.Items {
				if e.Reason == "ClaimRefused" {
					about = append(about, e.Regarding.Kind+"/"+e.Regarding.Name)
				}
			}
		}
		slices.Sort(about)
		return slices.Equal(about, []string{"Node/rogue", "Secret/rogue"})
	})
	lab.Eventually(t, hang, "the hub's Node says what spokes need", func() bool {
		n, err := k.CoreV1().Nodes().Get(t.Context(), "hub", metav1.GetOptions{})
		must(t, err)
		a := n.Annotations
		return a["wireguard.kube/public-key"] != "" && a["wireguard.kube/endpoint"] == "192.0.2.1:51820" && a["wireguard.kube/allowed-ips"] == "100.96.0.0/16,100.96.0.1/32"
	})
	lab.Eventually(t, hang, "it is in force", func() bool {
		b, _ := os.ReadFile(wg + "/etc/wireguard/wg0.conf")
		return strings.Contains(string(b), "PrivateKey") && strings.Contains(string(b), public(1))
	})
	copied := "/run/pods/" + k.pod.Name + "/copy"
	for path, mode := range map[string]string{
		"/etc/wireguard/wg0.conf": "-rw------- 0:0", "/var/lib/wg-render/wg0.conf": "-rw-r----- 65532:65532", "/run/wg-kube/wg0.json": "-rw-r----- 0:0",
		"/var/lib/wg-render": "drwxrwx--- 0:65532", copied: "dgrwxr-x--- 0:65532", copied + "/wg0.json": "-rw-r----- 0:65532",
	} {
		if !strings.HasPrefix(path, copied) {
			path = disk + path
		}
		fi, err := os.Stat(k.Path(path))
		must(t, err)
		is := fi.Sys().(*syscall.Stat_t)
		if got := fmt.Sprintf("%s %d:%d", fi.Mode(), is.Uid, is.Gid); got != mode {
			t.Errorf("%s: %s, want %s", path, got, mode)
		}
	}
	status := k.named(t, "wg-apply")
	status.Args = []string{"/wg-apply", "status"} // as kubectl exec runs it
	if out, err := k.command(t, status, true).CombinedOutput(); err != nil || !strings.Contains(string(out), "wg0") {
		t.Errorf("wg-apply status: %v\n%s", err, out)
	}
	for _, d := range []daemon{render, apply} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.Process.Pid))
		must(t, err)
		if !strings.Contains(string(b), "\nSeccomp:\t2\n") {
			t.Errorf("%s is under no filter", filepath.Base(d.log))
		}
	}
	if said := render.said(); strings.Contains(said, "forbidden") || strings.Contains(said, "not written") {
		t.Errorf("it lacks a right:\n%s", said)
	}

	if !hasWireGuard {
		lab.Eventually(t, hang, "the reason is told", func() bool {
			return strings.Contains(apply.said(), "this kernel has no WireGuard")
		})
		return
	}
	device := func() string {
		return k.Run(t, "sh", "-c", "wg show wg0 public-key; wg show wg0 listen-port; wg show wg0 allowed-ips | sort; ip -o -4 address show dev wg0; ip route show dev wg0")
	}
	lab.Eventually(t, hang, "the device has peers of Nodes and of files", func() bool {
		out, _ := k.Try("wg", "show", "wg0", "allowed-ips")
		return strings.Contains(out, public(1)+"\t100.96.1.1/32") && strings.Contains(out, public(7)+"\t10.7.0.0/24")
	})

	t.Run("the pod goes, and the next one finds all as it was", func(t *testing.T) {
		index := func() string { return k.Run(t, "sh", "-c", "ip -o link show dev wg0 | cut -d : -f 1") }
		before, first := device(), index()
		lost := lab.Loss(t, k.spoke(t), k.Host, "100.96.0.1", 500)
		grace := time.Duration(*k.pod.Spec.TerminationGracePeriodSeconds) * time.Second
		render.stop(t, grace)
		apply.stop(t, grace)
		if got := device(); got != before {
			t.Errorf("with no pod:\n%s\nbefore:\n%s", got, before)
		}
		render, apply = k.replace(t, "wg-hub")
		k.node(t, "late", map[string]string{"wireguard.kube/peer": "true"},
			map[string]string{"wireguard.kube/public-key": public(2)}, corev1.NodeInternalIP, "100.96.1.2")
		lab.Eventually(t, hang, "a new peer is taken in", func() bool { return strings.Contains(device(), public(2)) })
		if index() != first {
			t.Error("the device is another one")
		}
		if l := lost(); l.Lost != 0 || l.Sent == 0 {
			t.Errorf("from the spoke to the hub: %v", l)
		}
		for line := range strings.Lines(apply.said()) {
			if strings.Contains(line, "op=") && !strings.Contains(line, public(2)) && !strings.Contains(line, "100.96.1.2/32") {
				t.Errorf("it changes what was right: %s", line)
			}
		}
	})
}

// spoke is the machine of the Node of that name, in touch with the hub.
func (k *kubelet) spoke(t *testing.T) *lab.Host {
	t.Helper()
	h := lab.NewHost(t, "spoke")
	lab.Link(t, k.Host, "eth0", "192.0.2.1/24", h, "eth0", "192.0.2.11/24")
	h.Write(t, "/etc/wireguard/wg0.conf", fmt.Sprintf(`[Interface]
Address = 100.96.1.1/32
PrivateKey = %s

[Peer]
PublicKey = %s
Endpoint = 192.0.2.1:51820
AllowedIPs = 100.96.0.1/32
PersistentKeepalive = 25
`, wgquick.SecretKey{1: 1}.Reveal(), strings.TrimSpace(k.Run(t, "wg", "show", "wg0", "public-key"))), 0o600)
	lab.WGQuickUp(t, h, "wg0")
	lab.Eventually(t, hang, "the spoke reaches the hub", func() bool {
		_, code := h.Try("ping", "-c", "1", "-W", "1", "100.96.0.1")
		return code == 0
	})
	return h
}

// TestMesh runs a node of a mesh in the same way.
func TestMesh(t *testing.T) {
	root := image(t)
	k := &kubelet{cluster: newCluster(t), Host: lab.NewHost(t, "a"), image: root}
	k.apply(t, "overlays/mesh")
	peer := map[string]string{"wireguard.kube/peer": "true"}
	k.node(t, "a", peer, nil, corev1.NodeInternalIP, "192.0.2.1", "10.244.1.0/24")
	k.node(t, "b", peer, map[string]string{"wireguard.kube/public-key": public(1), "wireguard.kube/endpoint": "192.0.2.2:51820"},
		corev1.NodeInternalIP, "192.0.2.2", "10.244.2.0/24")
	k.peerSecret(t, "laptop", map[string]string{"public-key": public(8), "allowed-ips": "10.8.0.0/24"})
	branch := k.wireGuardPeer(t, "branch", public(9), "10.9.0.0/24")
	render, _ := k.replace(t, "wg-mesh")
	lab.Eventually(t, hang, "the other's pods are behind it, and the peers of every source are", func() bool {
		b, _ := os.ReadFile(k.Path(disk + "/etc/wireguard/wg0.conf"))
		return strings.Contains(string(b), public(1)) && strings.Contains(string(b), "10.244.2.0/24") &&
			strings.Contains(string(b), public(8)) && strings.Contains(string(b), public(9))
	})
	lab.Eventually(t, hang, "a WireGuardPeer says that it is one", branch)
	lab.Eventually(t, hang, "its Node says what the others need", func() bool {
		n, err := k.CoreV1().Nodes().Get(t.Context(), "a", metav1.GetOptions{})
		must(t, err)
		return n.Annotations["wireguard.kube/public-key"] != "" && n.Annotations["wireguard.kube/endpoint"] == "192.0.2.1:51820"
	})
	if said := render.said(); strings.Contains(said, "forbidden") {
		t.Errorf("it lacks a right:\n%s", said)
	}
}

// TestImageRefusesWithTheReason runs wg-apply in the image, with the container's rights, on a file of a person's that
// asks for what is not there.
func TestImageRefusesWithTheReason(t *testing.T) {
	root := image(t)
	hasWireGuard := lab.HasKernelWireGuard(t)
	for name, tt := range map[string]struct{ lines, flag, want string }{
		"a shell":    {"PostUp = true", "--hooks=run", "bash is not installed"},
		"resolvconf": {"DNS = 192.0.2.53", "--dns", "resolvconf is not installed"},
		"a sysctl":   {"[Peer]\nPublicKey = " + public(1) + "\nAllowedIPs = 0.0.0.0/0", "", "src_valid_mark: read-only file system"},
	} {
		t.Run(name, func(t *testing.T) {
			h := lab.NewHost(t, "host")
			for _, dir := range []string{"/run/etc", "/run/status"} {
				must(t, os.Mkdir(h.Path(dir), 0o755))
			}
			h.Write(t, "/run/etc/wg1.conf", "[Interface]\nAddress = 10.9.0.1/24\n"+tt.lines+"\n", 0o600)
			c := container{Image: root, Capabilities: []int{unix.CAP_NET_ADMIN}, Mounts: []mount{{"/run/etc", "/etc/wireguard", false}, {"/run/status", "/run/wg-kube", false}},
				Args: []string{"/wg-apply", "once", "wg1", "--userspace=off"}}
			if tt.flag != "" {
				c.Args = append(c.Args, tt.flag)
			}
			want := tt.want
			if !hasWireGuard {
				want = "this kernel has no WireGuard"
			}
			out, err := kubelet{Host: h}.command(t, c, true).CombinedOutput()
			if err == nil || !strings.Contains(string(out), want) {
				t.Errorf("%v, %q; want it refused with %q", err, out, want)
			}
			if _, code := h.Try("ip", "link", "show", "wg1"); code == 0 {
				t.Error("the interface is left")
			}
		})
	}
}

// node makes a Node, as a kubelet does when it registers.
func (c cluster) node(t *testing.T, name string, labels, annotations map[string]string, kind corev1.NodeAddressType, address string, pods ...string) {
	t.Helper()
	n, err := c.CoreV1().Nodes().Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: annotations},
		Spec:       corev1.NodeSpec{PodCIDRs: pods},
	}, metav1.CreateOptions{})
	must(t, err)
	n.Status.Addresses = []corev1.NodeAddress{{Type: kind, Address: address}}
	_, err = c.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{})
	must(t, err)
}

// peerSecret makes a Secret that is a peer.
func (c cluster) peerSecret(t *testing.T, name string, data map[string]string) {
	t.Helper()
	_, err := c.CoreV1().Secrets("wg-kube").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "wireguard-peer"}},
		StringData: data,
	}, metav1.CreateOptions{})
	must(t, err)
}

// wireGuardPeer makes one. accepted reports whether it says that it is a peer.
func (c cluster) wireGuardPeer(t *testing.T, name, publicKey, allowedIP string) (accepted func() bool) {
	t.Helper()
	resource := schema.GroupVersionResource{Group: "wireguard.kube", Version: "v1alpha1", Resource: "wireguardpeers"}
	peers := dynamic.NewForConfigOrDie(c.Admin()).Resource(resource).Namespace("wg-kube")
	lab.Eventually(t, hang, "WireGuardPeers can be made", func() bool { // a definition takes effect a moment later
		_, err := peers.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "wireguard.kube/v1alpha1", "kind": "WireGuardPeer",
			"metadata": map[string]any{"name": name},
			"spec":     map[string]any{"publicKey": publicKey, "allowedIPs": []any{allowedIP}},
		}}, metav1.CreateOptions{})
		return err == nil
	})
	return func() bool {
		got, err := peers.Get(t.Context(), name, metav1.GetOptions{})
		must(t, err)
		conditions, _, _ := unstructured.NestedSlice(got.Object, "status", "conditions")
		return len(conditions) == 1 && conditions[0].(map[string]any)["status"] == "True"
	}
}

// public is the public key of peer n.
func public(n byte) string { return wgquick.SecretKey{1: n}.Public().String() }
