package pipeline

import (
	"cmp"
	"context"
	"fmt"

	"wg-kube/internal/lab/hosts"
	"wg-kube/templates/wgquick"
)

// The first peer of every hub is a real one, in case that it is wanted: it talks while others come and go.
var spokeKey = wgquick.SecretKey{0: 16, 1: 2, 31: 64}

// lost sends a thousand packets a second from the first peer to the hub, while another peer comes and goes a few
// times, and takes in how many were lost.
func (m *measuring) lost(ctx context.Context, n int, h *hub) error {
	spoke, err := m.boot("spoke")
	if err != nil {
		return err
	}
	defer spoke.Close()
	err = hosts.Connect(hosts.End{Host: h.Host, Dev: "eth0", Addrs: []string{"192.0.2.1/24"}},
		hosts.End{Host: spoke.Host, Dev: "eth0", Addrs: []string{"192.0.2.2/24"}})
	if err != nil {
		return err
	}
	file := fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = %s\n[Peer]\nPublicKey = %s\nEndpoint = 192.0.2.1:51820\nAllowedIPs = %s\nPersistentKeepalive = 25\n",
		spokeKey.Reveal(), peerRoute(0), hubKey.Public(), hubAddress)
	if _, err := spoke.replace(inForce, []byte(file)); err != nil {
		return err
	}
	if _, err := spoke.run(m.Bin+"/wg-apply", "once", iface); err != nil {
		return err
	}
	err = until(ctx, "the hub answers", func() bool {
		_, code := spoke.Try("ping", "-c", "1", "-W", "1", hubAddress.Addr().String())
		return code == 0
	})
	if err != nil {
		return err
	}
	flow, err := hosts.Probe{From: spoke.Host, To: h.Host, Addr: hubAddress.Addr(), Rate: 1000, Burst: 64}.Start()
	if err != nil {
		return err
	}
	for range min(few, m.Rounds) {
		if _, err = h.there(ctx); err != nil {
			break
		}
	}
	saw, stopped := flow.Stop()
	if err != nil || stopped != nil {
		return fmt.Errorf("packets to the hub: %w", cmp.Or(err, stopped))
	}
	m.Add(packetsSent, "packets", n, float64(saw.Sent))
	m.Add(packetsLost, "packets", n, float64(saw.Lost))
	return nil
}
