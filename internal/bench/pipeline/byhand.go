package pipeline

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"wg-kube/templates/wgquick"
)

// byHand is a machine with many peers that is kept with wg, wg-quick and ip.
type byHand struct {
	machine
	n     int
	texts [2][]byte // without and with one peer more
}

func (m *measuring) newByHand(n int) (h *byHand, err error) {
	h = &byHand{n: n}
	if h.texts, err = texts(n, false); err != nil {
		return nil, err
	}
	h.machine, err = m.boot("by-hand")
	return h, err
}

// setconf brings the interface up in the quickest way that a script has: one "wg setconf", and the routes over one
// netlink socket. It says how long that took, the making of the device included.
func (h *byHand) setconf(ctx context.Context, inKernel bool) (time.Duration, error) {
	c := crowd(h.n)
	c.Interface.PrivateKey, c.Interface.Address = hubKey, nil // Address is wg-quick's word, not wg's
	bare, err := c.Marshal()
	if err != nil {
		return 0, err
	}
	if err := h.WriteFile("/run/setconf", string(bare), 0o600); err != nil {
		return 0, err
	}
	began := time.Now()
	if inKernel {
		_, err = h.run("ip", "link", "add", "name", iface, "type", "wireguard")
	} else if _, err = h.start("wg-device", iface); err == nil {
		err = until(ctx, "the socket of wg-device", func() bool {
			_, err := os.Stat(h.Path("/run/wireguard/" + iface + ".sock"))
			return err == nil
		})
	}
	if err != nil {
		return 0, err
	}
	if _, err := h.run("wg", "setconf", iface, "/run/setconf"); err != nil {
		return 0, err
	}
	if err := h.in(func() error { return addRoutes(c) }); err != nil {
		return 0, err
	}
	return time.Since(began), h.has(h.n)
}

func addRoutes(c *wgquick.Config) error {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer nl.Close()
	link, err := nl.LinkByName(iface)
	if err != nil {
		return err
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: hubAddress.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}}
	if err := nl.AddrAdd(link, address); err != nil {
		return err
	}
	if err := nl.LinkSetUp(link); err != nil {
		return err
	}
	for _, p := range c.Peers {
		to := &net.IPNet{IP: p.AllowedIPs[0].Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}
		if err := nl.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: to, Scope: netlink.SCOPE_LINK}); err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
	}
	return nil
}

// floor is what nobody can do without who looks before he acts: one read of the device, and one call that sets a peer.
func (h *byHand) floor() (took time.Duration, err error) {
	err = h.in(func() error {
		c, err := wgctrl.New()
		if err != nil {
			return err
		}
		defer c.Close()
		began := time.Now()
		if _, err := c.Device(iface); err != nil {
			return err
		}
		to := peerRoute(h.n)
		peer := wgtypes.PeerConfig{PublicKey: wgtypes.Key(peerKey(h.n)),
			AllowedIPs: []net.IPNet{{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}}}
		if err := c.ConfigureDevice(iface, wgtypes.Config{Peers: []wgtypes.PeerConfig{peer}}); err != nil {
			return err
		}
		took = time.Since(began)
		return h.forget(c)
	})
	return took, err
}

// forget takes the one peer more away again.
func (h *byHand) forget(c *wgctrl.Client) error {
	return c.ConfigureDevice(iface, wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: wgtypes.Key(peerKey(h.n)), Remove: true}}})
}

// syncconf adds one peer as the manual says: wg syncconf wg0 <(wg-quick strip wg0). It adds no route.
func (h *byHand) syncconf() (time.Duration, error) {
	if _, err := h.replace(inForce, h.texts[1]); err != nil {
		return 0, err
	}
	took, err := h.run("bash", "-c", "wg syncconf "+iface+" <(wg-quick strip "+iface+")")
	if err != nil {
		return 0, err
	}
	if err := h.has(h.n + 1); err != nil {
		return 0, err
	}
	return took, h.in(func() error {
		c, err := wgctrl.New()
		if err != nil {
			return err
		}
		defer c.Close()
		return h.forget(c)
	})
}

// quickUp is "wg-quick up".
func (h *byHand) quickUp(inKernel bool) (time.Duration, error) {
	if _, err := h.replace(inForce, h.texts[0]); err != nil {
		return 0, err
	}
	args := []string{"wg-quick", "up", iface}
	if !inKernel {
		wrapper, err := h.DeviceInBackground(filepath.Join(h.bin, "wg-device"))
		if err != nil {
			return 0, err
		}
		args = append([]string{"env", "WG_QUICK_USERSPACE_IMPLEMENTATION=" + wrapper}, args...)
	}
	took, err := h.run(args...)
	if err != nil {
		return 0, err
	}
	return took, h.has(h.n)
}
