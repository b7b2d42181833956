package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"wg-kube/apply/plan"
	"wg-kube/templates/wgquick"
)

// Observe reads the interface, and of the rest of the system what may be ours. An interface that does not exist is
// no error; a link of that name that is no WireGuard device is one. Peer.Asked and Peer.Name are not the kernel's
// to know and stay empty.
func (s *System) Observe(ctx context.Context, iface string) (plan.Live, error) {
	live, err := s.observe(ctx, iface)
	if l, lost := s.findLink(iface); err != nil && lost == nil && l == nil {
		live, err = s.observe(ctx, iface) // it went away meanwhile
	}
	for end := time.Now().Add(appearing); errors.Is(err, errNoDevice) && s.isTun(iface) && time.Now().Before(end); {
		time.Sleep(appearing / 50)
		live, err = s.observe(ctx, iface)
	}
	if err != nil {
		return plan.Live{}, fmt.Errorf("%s: %w", iface, err)
	}
	return live, nil
}

// appearing is how long a wg-device may take to have its socket after its link, or its port after the link is up.
const appearing = time.Second

func (s *System) isTun(iface string) bool {
	l, err := s.findLink(iface)
	return err == nil && l != nil && l.Type() == "tuntap"
}

func (s *System) observe(ctx context.Context, iface string) (live plan.Live, err error) {
	l, err := s.findLink(iface)
	if err != nil {
		return live, fmt.Errorf("link: %w", err)
	}
	if l != nil {
		at := l.Attrs()
		live.Exists = true
		live.Ours = at.Alias == alias
		live.Up = at.Flags&net.FlagUp != 0
		live.MTU = at.MTU
		if live.Addresses, err = s.addresses(at.Index); err != nil {
			return live, fmt.Errorf("addresses: %w", err)
		}
		dev, err := s.device(ctx, iface)
		if err != nil {
			return live, err
		}
		readDevice(&live, dev)
		rs, err := s.routes(at.Index, 0)
		if err != nil {
			return live, fmt.Errorf("routes: %w", err)
		}
		live.Routes = slices.Grow(live.Routes, len(rs))
		for _, r := range rs {
			if !r.some {
				live.Routes = append(live.Routes, r.Route)
			}
		}
	}
	if live.Rules, err = s.rules(); err != nil {
		return live, fmt.Errorf("rules: %w", err)
	}
	have, err := firewalls(iface)
	if err != nil {
		return live, fmt.Errorf("nftables: %w", err)
	}
	live.Firewall = plan.Families{V4: have[nftables.TableFamilyIPv4], V6: have[nftables.TableFamilyIPv6]}
	if live.FirewallMark, err = firewallMark(iface, have); err != nil {
		return live, fmt.Errorf("nftables: %w", err)
	}
	if live.SrcValidMark, err = getSrcValidMark(); err != nil {
		return live, err
	}
	live.Now = time.Now()
	return live, nil
}

// defaultRoute reports whether r, on our device, is a default route of ours.
func defaultRoute(r plan.Route) bool {
	return r.Dst.Bits() == 0 && (r.Protocol == plan.Protocol || r.Protocol == unix.RTPROT_BOOT)
}

func readDevice(live *plan.Live, dev *wgtypes.Device) {
	live.Userspace = dev.Type == wgtypes.Userspace
	live.PrivateKey = wgquick.SecretKey(dev.PrivateKey)
	live.ListenPort = uint16(dev.ListenPort)
	live.FwMark = uint32(dev.FirewallMark)
	inOrder := make([]*wgtypes.Peer, len(dev.Peers)) // pointers: there may be ten thousand to sort, and a peer is large
	for i := range dev.Peers {
		inOrder[i] = &dev.Peers[i]
	}
	slices.SortFunc(inOrder, func(a, b *wgtypes.Peer) int { return bytes.Compare(a.PublicKey[:], b.PublicKey[:]) })
	live.Peers = make([]plan.Peer, len(inOrder))
	for i, p := range inOrder {
		live.Peers[i] = plan.Peer{
			PublicKey:     wgquick.PublicKey(p.PublicKey),
			PresharedKey:  wgquick.SecretKey(p.PresharedKey),
			Endpoint:      addrPort(p.Endpoint),
			AllowedIPs:    prefixes(p.AllowedIPs),
			Keepalive:     uint16(p.PersistentKeepaliveInterval / time.Second),
			LastHandshake: p.LastHandshakeTime,
			RxBytes:       p.ReceiveBytes,
			TxBytes:       p.TransmitBytes,
		}
	}
}

func addrPort(a *net.UDPAddr) netip.AddrPort {
	if a == nil {
		return netip.AddrPort{}
	}
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

func prefixes(ns []net.IPNet) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(ns))
	for _, n := range ns {
		a, ok := netip.AddrFromSlice(n.IP)
		if !ok {
			continue
		}
		ones, size := n.Mask.Size()
		if size == 32 {
			a = a.Unmap()
		}
		out = append(out, netip.PrefixFrom(a, ones).Masked())
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}
