package pipeline

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wg-kube/internal/lab"
	"wg-kube/templates/wgquick"
)

// TestEndToEnd is a cluster at work: a hub with a ServiceAccount, a site of two spokes and a third one elsewhere with
// their kubelets' credentials, each daemon as a user of its own. Whatever happens to the third, those that it does not
// concern lose no packet.
func TestEndToEnd(t *testing.T) {
	c := newCluster(t)
	hub := c.machine(t, machine{name: "hub", role: "hub", underlay: "192.0.2.1", overlay: "100.96.0.1",
		flags: []string{"--allowed-ips", "100.96.0.0/16,10.0.0.0/8"}, pod: true, env: c.inCluster()})
	s1 := c.spoke(t, "spoke-1", "192.0.2.11", "100.96.1.1", "--site", "lab", "--listen-port", "51831", "--vpc-ip", "172.31.0.1")
	s2 := c.spoke(t, "spoke-2", "192.0.2.12", "100.96.2.1", "--site", "lab", "--listen-port", "51831", "--vpc-ip", "172.31.0.2")
	s3 := c.spoke(t, "spoke-3", "192.0.2.13", "100.96.3.1", "--vpc-ip", "172.31.0.3")
	all, spokes := []*machine{hub, s1, s2, s3}, []*machine{s1, s2, s3}
	vpc := lab.Switch(t)
	for i, s := range spokes {
		vpc.Plug(t, s.Host, "eth1", fmt.Sprintf("172.31.0.%d/24", i+1))
	}
	c.account(t, hub)
	c.join(t, hub)
	for _, s := range spokes {
		c.credential(t, s)
		c.join(t, s)
	}
	everybody := []string{"hub: spoke-1 spoke-2 spoke-3", "spoke-1: hub spoke-2 spoke-3", "spoke-2: hub spoke-1 spoke-3", "spoke-3: hub spoke-1 spoke-2"}
	without3 := []string{"hub: spoke-1 spoke-2", "spoke-1: hub spoke-2", "spoke-2: hub spoke-1", "spoke-3:"}
	waitForReach(t, all, everybody...)

	t.Run("each half is a user of its own, and the one that talks to the cluster has no capability", func(t *testing.T) {
		for _, m := range all {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.render.cmd.Process.Pid))
			must(t, err)
			uid := fmt.Sprintf("Uid:\t%d\t%[1]d\t%[1]d\t%[1]d\n", renderer())
			if !strings.Contains(string(b), uid) || renderer() != 0 && !strings.Contains(string(b), "CapEff:\t0000000000000000\n") {
				t.Errorf("%s: wg-render is\n%s", m.name, b)
			}
		}
	})

	lostDirect := lab.Loss(t, s1.Host, s2.Host, s2.overlay, 500)
	lostToHub := lab.Loss(t, s2.Host, hub.Host, hub.overlay, 500)
	hops := func(t *testing.T, from, to *machine, want int) {
		t.Helper()
		lab.Eventually(t, hang, fmt.Sprintf("%s is %d hops from %s", to.name, want, from.name), func() bool {
			_, in := from.Try("ping", "-c", "1", "-W", "1", "-t", fmt.Sprint(want), to.overlay)
			_, less := from.Try("ping", "-c", "1", "-W", "1", "-t", fmt.Sprint(want-1), to.overlay)
			return in == 0 && (want == 1 || less != 0)
		})
	}

	t.Run("a site is direct, the rest goes by way of the hub", func(t *testing.T) {
		hops(t, s1, s2, 1)
		hops(t, s3, s1, 2)
	})
	t.Run("an annotation is spoiled, and its owner sets it right", func(t *testing.T) {
		c.annotate(t, "spoke-3", "wireguard.kube/public-key", "0000\n[Interface]\nPostUp = reboot")
		c.annotate(t, "spoke-3", "wireguard.kube/allowed-ips", "0.0.0.0/0, 100.96.1.1/32")
		lab.Eventually(t, hang, "spoke-3 publishes again", func() bool {
			n, err := c.nodes.Get(t.Context(), "spoke-3", metav1.GetOptions{})
			must(t, err)
			return n.Annotations["wireguard.kube/allowed-ips"] == "100.96.3.1/32" && len(n.Annotations["wireguard.kube/public-key"]) == 44
		})
		waitForReach(t, all, everybody...)
	})
	t.Run("the label goes and comes", func(t *testing.T) {
		c.label(t, "spoke-3", "wireguard.kube/peer", nil)
		waitForReach(t, all, without3...)
		c.label(t, "spoke-3", "wireguard.kube/peer", "true")
		waitForReach(t, all, everybody...)
	})
	t.Run("a site label makes a neighbour of it, and no longer", func(t *testing.T) {
		c.label(t, "spoke-3", "wireguard.kube/site", "lab")
		hops(t, s3, s1, 1)
		hops(t, s2, s3, 1)
		c.label(t, "spoke-3", "wireguard.kube/site", nil)
		hops(t, s3, s1, 2)
		waitForReach(t, all, everybody...)
	})
	t.Run("a Node is deleted, and registers again", func(t *testing.T) {
		must(t, c.nodes.Delete(t.Context(), "spoke-3", metav1.DeleteOptions{}))
		waitForReach(t, all, without3...)
		c.join(t, s3)
		waitForReach(t, all, everybody...)
	})
	t.Run("a key is changed", func(t *testing.T) {
		before := s3.publicKey(t)
		s3.changeKey(t)
		lab.Eventually(t, hang, "the device has it", func() bool { return s3.publicKey(t) != before })
		waitForReach(t, all, everybody...)
		if peers := hub.Run(t, "wg", "show", "wg0", "peers"); strings.Contains(peers, before) {
			t.Errorf("the hub has the old key as well:\n%s", peers)
		}
	})
	t.Run("a prefix moves from one to another", func(t *testing.T) {
		const prefix = "10.30.0.0/24"
		holder := func(m *machine) func() bool {
			return func() bool { return strings.Contains(hub.allowedIPs(t, m.publicKey(t)), prefix) }
		}
		s3.restartRender(append(s3.flags, "--allowed-ips", s3.overlay+"/32,"+prefix)...)
		lab.Eventually(t, hang, "spoke-3 has it", holder(s3))
		s1.restartRender(append(s1.flags, "--allowed-ips", s1.overlay+"/32,"+prefix)...)
		lab.Eventually(t, hang, "the hub tells why it is not spoke-1's", func() bool {
			return strings.Contains(hub.Read(t, proposals+"/wg0.conf"), "overlaps "+prefix+", held by Node/spoke-3")
		})
		s3.restartRender("--vpc-ip", "172.31.0.3")
		lab.Eventually(t, hang, "spoke-1 has it", holder(s1))
		waitForReach(t, all, everybody...)
	})
	t.Run("the hub's renderer is away, and nothing is lost but time", func(t *testing.T) {
		hub.render.kill()
		before := s3.publicKey(t)
		s3.changeKey(t)
		lab.Eventually(t, hang, "spoke-3 has a new key", func() bool { return s3.publicKey(t) != before })
		waitForReach(t, all[:3], "hub: spoke-1 spoke-2", "spoke-1: hub spoke-2", "spoke-2: hub spoke-1")
		hub.startRender()
		waitForReach(t, all, everybody...)
	})
	t.Run("the API server is away for a while", func(t *testing.T) {
		c.StopAPI()
		waitForReach(t, all, everybody...)
		s3.changeKey(t) // nobody hears of it
		waitForReach(t, all[:3], "hub: spoke-1 spoke-2", "spoke-1: hub spoke-2", "spoke-2: hub spoke-1")
		must(t, c.StartAPI())
		waitForReach(t, all, everybody...)
	})
	t.Run("from annotation to kernel", func(t *testing.T) { c.latency(t, hub) })

	for what, stop := range map[string]func() (lost fmt.Stringer, clean bool){
		"spoke-1 to spoke-2, direct": func() (fmt.Stringer, bool) { l := lostDirect(); return l, l.Lost == 0 && l.Sent > 500 },
		"spoke-2 to the hub":         func() (fmt.Stringer, bool) { l := lostToHub(); return l, l.Lost == 0 && l.Sent > 500 },
	} {
		lost, clean := stop()
		lab.Figure(t, "%s: %v", what, lost)
		if !clean {
			t.Errorf("%s: %v", what, lost)
		}
	}
}

// latency measures the time from an annotation to the route in the kernel: that is the last that is set.
func (c *cluster) latency(t *testing.T, hub *machine) {
	_, err := c.nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name:        "paper",
		Labels:      map[string]string{"wireguard.kube/peer": "true"},
		Annotations: map[string]string{"wireguard.kube/public-key": wgquick.SecretKey{1}.Public().String()},
	}}, metav1.CreateOptions{})
	must(t, err)
	monitor := hub.Command("ip", "monitor", "route")
	out, err := monitor.StdoutPipe()
	must(t, err)
	must(t, monitor.Start())
	t.Cleanup(func() { _ = monitor.Process.Kill(); _ = monitor.Wait() })
	routes := make(chan string, 64)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			routes <- lines.Text()
		}
	}()
	var took []time.Duration
	for i := range 40 {
		prefix := fmt.Sprintf("10.50.%d.0/24", i)
		time.Sleep(250 * time.Millisecond) // each is the first one after some silence
		began := time.Now()
		c.annotate(t, "paper", "wireguard.kube/allowed-ips", prefix)
		for seen := ""; !strings.HasPrefix(seen, prefix+" dev wg0"); {
			select {
			case seen = <-routes:
			case <-time.After(hang):
				t.Fatalf("%s: no route within %v", prefix, hang)
			}
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	at := func(percent int) time.Duration {
		return took[(len(took)*percent+99)/100-1].Round(100 * time.Microsecond)
	}
	lab.Figure(t, "from annotation to kernel: p50 %v, p99 %v (%d times)", at(50), at(99), len(took))
}

func (m *machine) publicKey(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(m.Run(t, "wg", "show", "wg0", "public-key"))
}

// allowedIPs of a peer, by its key.
func (m *machine) allowedIPs(t *testing.T, key string) string {
	t.Helper()
	for line := range strings.Lines(m.Run(t, "wg", "show", "wg0", "allowed-ips")) {
		if peer, ips, _ := strings.Cut(line, "\t"); peer == key {
			return ips
		}
	}
	return ""
}

// changeKey writes a new private key into the file in force, as a person does who has to.
func (m *machine) changeKey(t *testing.T) {
	t.Helper()
	key := strings.TrimSpace(m.Run(t, "wg", "genkey"))
	m.Run(t, "sed", "-i", "s|^PrivateKey = .*|PrivateKey = "+key+"|", "/etc/wireguard/wg0.conf")
}
