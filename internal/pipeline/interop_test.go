package pipeline

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wg-kube/internal/lab"
)

// TestInteroperates: a node that another implementation runs, a shell script, works with ours on the other side, be it
// the hub or a spoke, under both prefixes.
func TestInteroperates(t *testing.T) {
	for _, program := range []string{"curl", "jq"} {
		if _, err := exec.LookPath(program); err != nil {
			lab.Skip(t, program+" is not installed")
		}
	}
	c := newCluster(t)
	for _, prefix := range []string{"wireguard.kube/", "stretch.azure.com/wireguard-"} {
		with := []string{"--annotation-prefix", prefix}
		ours := func(t *testing.T, role, name, underlay, overlay string) *machine {
			m := c.spoke
			if role == "hub" {
				m = c.hub
			}
			n := m(t, name, underlay, overlay, with...)
			c.credential(t, n)
			c.join(t, n)
			return n
		}
		theirs := func(t *testing.T, role, name, underlay, overlay string) *machine {
			m := &machine{t: t, name: name, role: role, underlay: underlay, overlay: overlay, flags: with}
			c.join(t, m)
			c.script(t, m)
			return m
		}
		type node func(t *testing.T, role, name, underlay, overlay string) *machine
		for name, tc := range map[string]struct{ hub, s1, s2 node }{
			"a spoke is theirs": {ours, ours, theirs},
			"the hub is theirs": {theirs, ours, theirs},
		} {
			t.Run(prefix+" "+name, func(t *testing.T) {
				t.Cleanup(func() {
					must(t, c.nodes.DeleteCollection(context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{}))
				})
				hub := tc.hub(t, "hub", "hub", "192.0.2.1", "100.96.0.1")
				s1 := tc.s1(t, "spoke", "spoke-1", "192.0.2.11", "100.96.1.1")
				s2 := tc.s2(t, "spoke", "spoke-2", "192.0.2.12", "100.96.2.1")
				waitForReach(t, []*machine{hub, s1, s2}, "hub: spoke-1 spoke-2", "spoke-1: hub spoke-2", "spoke-2: hub spoke-1")
			})
		}
	}
}

// script runs testdata/node.sh on a machine of its own, with its kubelet's credential.
func (c *cluster) script(t *testing.T, m *machine) {
	t.Helper()
	m.Host = lab.NewHost(t, m.name)
	c.segment.Plug(t, m.Host, "eth0", m.underlay+"/24")
	m.Run(t, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	var l net.Listener
	must(t, m.Do(func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:8001")
		return err
	}))
	c.Proxy(t, c.User("system:node:"+m.name, "system:nodes")).Serve(l)

	path, err := filepath.Abs("testdata/node.sh")
	must(t, err)
	cmd := m.Command(path, m.role)
	cmd.Env = append(os.Environ(), "API=http://127.0.0.1:8001", "NODE="+m.name, "PREFIX="+m.prefix(), "ADDRESS="+m.overlay+"/32")
	if m.role == "hub" {
		cmd.Env = append(cmd.Env, "ALLOWED_IPS=100.96.0.0/16", "ENDPOINT="+m.underlay+":51820")
	}
	if !lab.HasKernelWireGuard(t) {
		device, err := m.DeviceInBackground(lab.Build(t, "wg-kube/cmd/wg-device"))
		must(t, err)
		cmd.Env = append(cmd.Env, "WG_QUICK_USERSPACE_IMPLEMENTATION="+device)
	}
	start(t, m.name+": node.sh", cmd)
}
