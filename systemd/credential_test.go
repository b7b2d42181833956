package systemd

import (
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/systemd"
)

// withoutCredential is a spoke that waits for one. Its key is the one that the hub knows.
func withoutCredential(t *testing.T) (*systemd.Machine, *cluster) {
	t.Helper()
	spoke, hub := newSpoke(t), newHub(t)
	wire(t, spoke, hub)
	c := newCluster(t, hub)
	spoke.Write(t, "/etc/wireguard/privatekey", spokeKey.Reveal()+"\n", 0o600)
	spoke.Write(t, "/etc/wg-kube/wg0.env", "WG_PRIVATE_KEY_FILE=/etc/wireguard/privatekey\nWG_ADDRESS="+spokeOverlay+"/32\n", 0o640)
	return spoke, c
}

// waits is what wg-render says in "systemctl status" until it has seen the Nodes.
func waits(t *testing.T, m *systemd.Machine, what string) {
	t.Helper()
	active(t, m, "wg-render@wg0")
	lab.Eventually(t, hang, "it waits", func() bool {
		return strings.Contains(m.Property(t, "wg-render@wg0", "StatusText"), what)
	})
}

func TestACredentialOfItsOwn(t *testing.T) {
	spoke, c := withoutCredential(t)
	c.Shell(t, "../deploy", "kubectl apply -k overlays/hub")
	credential := c.ownCredential(t)
	spoke.Boot(t)
	spoke.Run(t, "systemctl", "enable", "--now", "wg-apply", "wg-render@wg0")
	waits(t, spoke, "waiting for the Nodes")

	// It is root's own, and is taken in when it comes.
	spoke.Write(t, "/etc/wg-kube/wg0.kubeconfig", c.throughTheHub(credential), 0o600)
	reaches(t, spoke.Host, hubOverlay)
	lab.Eventually(t, hang, "its Node carries its key", func() bool {
		n, err := c.CoreV1().Nodes().Get(t.Context(), "spoke", metav1.GetOptions{})
		must(t, err)
		return n.Annotations["wireguard.kube/public-key"] == spokeKey.Public().String()
	})

	t.Run("it is worth no more than that", func(t *testing.T) {
		config, err := clientcmd.RESTConfigFromKubeConfig([]byte(credential))
		must(t, err)
		client := kubernetes.NewForConfigOrDie(config)
		patch := func(node, what string) func() error {
			return func() error {
				_, err := client.CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType, []byte(what), metav1.PatchOptions{})
				return err
			}
		}
		for name, tc := range map[string]struct {
			do   func() error
			want string
		}{
			"another Node":  {patch("hub", `{"metadata":{"annotations":{"wireguard.kube/public-key":"x"}}}`), "this is not spoke"},
			"the hub label": {patch("spoke", `{"metadata":{"labels":{"wireguard.kube/hub":"true"}}}`), "makes itself a hub"},
			"a foreign key": {patch("spoke", `{"metadata":{"labels":{"example.org/x":"y"}}}`), "and nothing else"},
			"its spec":      {patch("spoke", `{"spec":{"unschedulable":true}}`), "and nothing else"},
			"Secrets": {func() error {
				_, err := client.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{})
				return err
			}, "cannot list"},
		} {
			var err error
			lab.Eventually(t, hang, name+" is refused", func() bool { err = tc.do(); return err != nil }) // fences stand a moment later
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("another one is taken in as well", func(t *testing.T) {
		was := pid(t, spoke, "wg-render@wg0")
		lost := lab.Loss(t, spoke.Host, spoke.Host, spokeOverlay, 100) // the interface stays
		spoke.Write(t, "/etc/wg-kube/wg0.kubeconfig", strings.Replace(c.throughTheHub(credential), "token: ", "token: x", 1), 0o600)
		lab.Eventually(t, hang, "another process", func() bool { now := pid(t, spoke, "wg-render@wg0"); return now != was && now != "0" })
		waits(t, spoke, "1 peer") // those on disk, whatever the credential is worth
		reaches(t, spoke.Host, hubOverlay)
		if l := lost(); l.Lost != 0 {
			t.Errorf("%v", l)
		}
	})
	t.Run("nobody else reads it", func(t *testing.T) {
		file := "/run/credentials/wg-render@wg0.service/wg0.kubeconfig"
		spoke.Run(t, "test", "-s", file)
		if _, code := spoke.Try("setpriv", "--reuid=nobody", "--clear-groups", "cat", file); code == 0 {
			t.Errorf("anybody reads %s", file)
		}
		if _, code := spoke.Try("setpriv", "--reuid=wg-render", "--regid=wg-render", "--init-groups", "cat", "/etc/wg-kube/wg0.kubeconfig"); code == 0 {
			t.Error("wg-render reads the file itself")
		}
	})
}

// A kubelet's own credential: its kubeconfig names a file that root alone may read, and that becomes another one when
// the kubelet renews its certificate.
func TestTheKubeletsCredential(t *testing.T) {
	spoke, c := withoutCredential(t)
	c.Shell(t, "../deploy", "kubectl apply -f components/kubelet-nodes/nodes.yaml")
	spoke.Run(t, "cp", "-r", "/usr/local/share/wg-kube/kubelet-credential/.", "/etc/systemd/system")
	spoke.Boot(t)
	spoke.Run(t, "systemctl", "enable", "--now", "wg-apply", "wg-render@wg0")
	waits(t, spoke, "waiting for the Nodes")

	const current = "/var/lib/kubelet/pki/kubelet-client-current.pem"
	renew := func(name, user string, groups ...string) {
		t.Helper()
		spoke.Write(t, "/var/lib/kubelet/pki/"+name, pem(c.User(user, groups...)), 0o600)
		// As a kubelet does it.
		spoke.Run(t, "ln", "-s", "/var/lib/kubelet/pki/"+name, current+".new")
		spoke.Run(t, "mv", "-T", current+".new", current)
	}
	renew("kubelet-client-1.pem", "nobody") // as if it had run out
	spoke.Write(t, "/etc/kubernetes/kubelet.conf", c.kubeconfig(t, map[string]string{"client-certificate": current, "client-key": current}), 0o600)
	lab.Eventually(t, hang, "it tries the first certificate", func() bool { return logged(spoke, "wg-render@wg0", "forbidden") })

	time.Sleep(2 * time.Second) // the unit that looks for a change is at rest again
	renew("kubelet-client-2.pem", "system:node:spoke", "system:nodes")
	reaches(t, spoke.Host, hubOverlay)

	t.Run("under its own name, as an environment file from before has it", func(t *testing.T) {
		spoke.Run(t, "sh", "-c", "echo KUBECONFIG=/etc/kubernetes/kubelet.conf >>/etc/wg-kube/wg0.env")
		spoke.Run(t, "systemctl", "restart", "wg-render@wg0")
		lab.Eventually(t, hang, "it has seen the Nodes", func() bool {
			text := spoke.Property(t, "wg-render@wg0", "StatusText")
			return strings.Contains(text, "1 peer") && !strings.Contains(text, "waiting for")
		})
	})
}
