package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wg-kube/internal/lab/hosts"
	"wg-kube/templates/status"
	"wg-kube/templates/wgquick"
)

const (
	nodes     = hosts.Shared + "/nodes" // the one folder that all machines see
	proposals = "/run/wg-render"

	// A hub forwards from spoke to spoke, and does not tell them that there is a shorter way: there is none.
	forward = "cd /proc/sys/net/ipv4 && echo 1 >ip_forward && echo 0 | tee conf/all/send_redirects >conf/default/send_redirects"
)

// machine is one node with its two daemons.
type machine struct {
	node  node
	host  *hosts.Host
	bin   string
	out   io.Writer
	ended context.CancelCauseFunc // called with the daemon that ended
}

// boot makes a machine, plugs it in and starts wg-apply. Its Node does not exist yet.
func (d *demo) boot(ctx context.Context, sw *hosts.Switch, n node) (*machine, error) {
	h, err := hosts.New(n.Name)
	if err != nil {
		return nil, err
	}
	m := &machine{node: n, host: h, bin: d.bin, out: d.out, ended: d.ended}
	d.machines = append(d.machines, m)
	if err := sw.Plug(hosts.End{Host: h, Dev: "eth0", Addrs: []string{n.Underlay.String() + "/24"}}); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(nodes, 0o755); err != nil {
		return nil, err
	}
	if n.Hub {
		if out, code := h.Try("sh", "-c", forward); code != 0 {
			return nil, fmt.Errorf("%s: forwarding: %s", n.Name, out)
		}
	}
	if err := m.start("wg-apply", "run", "--proposed", "wg0", "--proposals", proposals); err != nil {
		return nil, err
	}
	return m, m.waitForKey(ctx)
}

// render starts wg-render. A spoke calls its hub as soon as it knows it, and again only after 5 seconds: to be quick,
// the hub should know the spoke by then.
func (m *machine) render() error {
	role := "spoke"
	if m.node.Hub {
		role = "hub"
	}
	return m.start("wg-render", "run", "--role", role, "--nodes", nodes, "--out", proposals,
		"--address", m.node.Overlay.String()+"/32")
}

// start starts a daemon, which runs until the demo ends. Nothing in the caller's environment is meant for it.
func (m *machine) start(program string, args ...string) error {
	fmt.Fprintf(m.out, "%s# %s %s\n", m.node.Name, program, strings.Join(args, " "))
	log, err := os.Create(m.host.Path(logOf(program)))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := m.host.Command(append([]string{filepath.Join(m.bin, program)}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { m.ended(fmt.Errorf("%s: %s ended: %v", m.node.Name, program, cmd.Wait())) }()
	return nil
}

func logOf(program string) string { return "/run/" + program + ".log" }

// register puts the machine's Node, with the public key that its wg-apply has made, into the folder.
func (m *machine) register() error {
	text, err := m.node.manifest()
	if err != nil {
		return err
	}
	return m.host.WriteFile(filepath.Join(nodes, m.node.Name+".yaml"), text, 0o644)
}

func (m *machine) waitForKey(ctx context.Context) error {
	return until(ctx, m.node.Name+": no public key in /run/wg-kube/wg0.json", func() bool {
		b, err := os.ReadFile(m.host.Path("/run/wg-kube/wg0.json"))
		if err != nil {
			return false
		}
		s, err := status.Parse("wg0.json", b)
		if err != nil || s.PublicKey == (wgquick.PublicKey{}) {
			return false
		}
		m.node.PublicKey = s.PublicKey.String()
		return true
	})
}

func (m *machine) waitForPeers(ctx context.Context, n int) error {
	return until(ctx, fmt.Sprintf("%s: wg0 does not have %d peers", m.node.Name, n), func() bool {
		out, code := m.host.Try("wg", "show", "wg0", "peers")
		return code == 0 && strings.Count(out, "\n") == n
	})
}

// ping returns when the other machine has answered through the tunnel.
func (m *machine) ping(ctx context.Context, to *machine) error {
	return until(ctx, m.node.Name+": no answer from "+to.node.Name, func() bool {
		_, code := m.host.Try("ping", "-c", "1", "-W", "1", to.node.Overlay.String())
		return code == 0
	})
}

// show runs a command line on the machine as a person would, for all to see.
func (m *machine) show(line string) {
	out, _ := m.host.Try("sh", "-c", line)
	fmt.Fprintf(m.out, "%s# %s\n%s\n\n", m.node.Name, line, strings.TrimSpace(out))
}

// close ends everything on all machines.
func (d *demo) close() {
	for _, m := range d.machines {
		m.host.Close()
	}
}

// showLogs prints what the daemons said, for when it went wrong.
func (d *demo) showLogs() {
	for _, m := range d.machines {
		for _, program := range []string{"wg-apply", "wg-render"} {
			m.show("tail -n 20 " + logOf(program))
		}
	}
}

func until(ctx context.Context, otherwise string, ok func() bool) error {
	for !ok() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", otherwise, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}
