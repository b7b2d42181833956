// Command demo shows the whole pipeline on one machine, without a cluster: a hub and spokes as small machines behind
// a wall of namespaces, each with the real wg-render and the real wg-apply. A folder of Node manifests plays the part
// of the API server.
//
// It touches nothing outside the wall: interrupt it whenever you like, it has nothing to clean up.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"wg-kube/internal/lab/hosts"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: demo FOLDER-OF-PROGRAMS")
		os.Exit(2)
	}
	if err := hosts.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		fmt.Fprintln(os.Stderr, "demo: it needs root, or a kernel that lets users make user namespaces")
		os.Exit(1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 55*time.Second)
	defer cancel()
	d := &demo{bin: os.Args[1], out: os.Stdout}
	if err := d.tell(ctx); err != nil {
		d.showLogs()
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

type demo struct {
	bin      string // the folder of the programs
	out      io.Writer
	titles   int
	machines []*machine
	ended    context.CancelCauseFunc // called with the daemon that ended
}

var (
	hub    = node{Name: "hub", Hub: true, Underlay: netip.MustParseAddr("192.0.2.1"), Overlay: netip.MustParseAddr("100.96.0.1")}
	spoke1 = spoke(1)
	spoke2 = spoke(2)
	spoke3 = spoke(3)
)

func spoke(n byte) node {
	return node{
		Name:     fmt.Sprintf("spoke-%d", n),
		Underlay: netip.AddrFrom4([4]byte{192, 0, 2, 10 + n}),
		Overlay:  netip.AddrFrom4([4]byte{100, 96, n, 1}),
	}
}

// errLost is a demo that shows what it should not.
var errLost = errors.New("packets were lost")

func (d *demo) tell(ctx context.Context) error {
	ctx, d.ended = context.WithCancelCause(ctx)
	inKernel, err := hosts.WireGuard()
	if err != nil {
		return err
	}
	d.title("A hub and two spokes on one switch; on each, a wg-apply")
	sw, err := hosts.NewSwitch()
	if err != nil {
		return err
	}
	defer sw.Close()
	var on [3]*machine
	for i, n := range []node{hub, spoke1, spoke2} {
		if on[i], err = d.boot(ctx, sw, n); err != nil {
			return err
		}
	}
	h, s1, s2 := on[0], on[1], on[2]
	fmt.Fprintln(d.out)
	d.say("Each wg-apply has made a private key, which never leaves its machine.")

	d.title("The Nodes: a folder of manifests, in place of the API server")
	d.say("In a cluster each wg-render puts its public key on its own Node. Here the demo does it for them.")
	for _, m := range on {
		if err := m.register(); err != nil {
			return err
		}
	}
	h.show("cat " + nodes + "/hub.yaml")
	h.show("cat " + nodes + "/spoke-1.yaml")

	d.title("From the Nodes to a proposal, and from the proposal to the file in force")
	if err := errors.Join(h.render(), h.waitForPeers(ctx, 2), s1.render(), s2.render()); err != nil {
		return err
	}
	if err := errors.Join(s1.waitForPeers(ctx, 1), s2.waitForPeers(ctx, 1)); err != nil {
		return err
	}
	fmt.Fprintln(d.out)
	d.say("What wg-render proposes on the hub. It has no private key, and needs no privilege:")
	h.show("cat " + proposals + "/wg0.conf")
	d.say("What wg-apply made of it, once checked: a complete wg-quick file. The difference:")
	h.show("diff " + proposals + "/wg0.conf /etc/wireguard/wg0.conf | sed 's/PrivateKey = .*/PrivateKey = (hidden)/'")

	d.title("From the file in force to a live tunnel")
	if err := errors.Join(s1.ping(ctx, h), s1.ping(ctx, s2)); err != nil {
		return err
	}
	if !inKernel {
		d.say("This kernel has no WireGuard, so wg-apply has started a wg-device on each machine.")
	}
	h.show("wg show")
	d.say("From a spoke to the hub, and from spoke to spoke through the hub:")
	s1.show("ping -c 2 -i 0.2 " + hub.Overlay.String())
	s1.show("ping -c 2 -i 0.2 " + spoke2.Overlay.String())

	d.title("A third spoke joins while spoke-1 sends 1000 packets a second to spoke-2")
	s3, err := d.boot(ctx, sw, spoke3)
	if err != nil {
		return err
	}
	flow, err := hosts.Probe{From: s1.host, To: s2.host, Addr: spoke2.Overlay, Rate: 1000}.Start()
	if err != nil {
		return err
	}
	pause(ctx, time.Second)
	dropped := time.Now()
	if err := errors.Join(s3.register(), h.waitForPeers(ctx, 3), s3.render(), s3.ping(ctx, s1)); err != nil {
		return err
	}
	fmt.Fprintln(d.out)
	d.say("Its manifest was dropped into the folder; %.1f s later it reached spoke-1 through the hub:",
		time.Since(dropped).Seconds())
	h.show("wg show wg0 allowed-ips")
	s3.show("ping -c 2 -i 0.2 " + spoke1.Overlay.String())
	pause(ctx, time.Second)
	lost, err := flow.Stop()
	if err != nil {
		return err
	}
	d.say("From spoke-1 to spoke-2 all the while: %s.", lost)
	if lost.Lost > 0 {
		return errLost
	}
	return nil
}

func (d *demo) title(s string) {
	d.titles++
	fmt.Fprintf(d.out, "%d. %s\n%s\n\n", d.titles, s, strings.Repeat("-", len(s)+3))
}

func (d *demo) say(format string, a ...any) { fmt.Fprintf(d.out, format+"\n\n", a...) }

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
