package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// alias on a link says that wg-apply brought it up. It is set before that: of one of us that is killed in between, a
// link is left that is down, and brought up next.
const alias = "wg-apply"

// sockets is where userspace devices listen. It belongs to the mount namespace, the link to the network namespace.
const sockets = "/var/run/wireguard"

func socketOf(iface string) string { return filepath.Join(sockets, iface+".sock") }

// findLink returns nil where there is no such link.
func (s *System) findLink(iface string) (netlink.Link, error) {
	l, err := s.handle.LinkByName(iface)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, nil
	}
	return l, err
}

// addLink makes the link: the kernel's, or where the kernel has no WireGuard, a wg-device's.
func (s *System) addLink(ctx context.Context, iface string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = iface
	err := s.handle.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs})
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = s.userspace(ctx, iface)
	}
	return err
}

// answers reports whether somebody listens on the socket; a socket that was left behind does not.
func answers(iface string) bool {
	c, err := net.DialTimeout("unix", socketOf(iface), time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// served reports whether the link is a WireGuard device, without asking the device, which may hang.
func served(l netlink.Link) bool {
	if l.Type() == "wireguard" {
		return true
	}
	_, err := os.Lstat(socketOf(l.Attrs().Name))
	return err == nil
}

// Delete takes the interface down with all that is ours: its rules and firewall first, so that no packet is sent
// into nothing, and then the link, with its addresses and routes. A wg-device ends by itself when its link is gone;
// Delete waits for that. An interface that does not exist is no error.
func (s *System) Delete(ctx context.Context, iface string) error {
	l, err := s.findLink(iface)
	if err != nil {
		return fmt.Errorf("%s: %w", iface, err)
	}
	if l != nil && !served(l) {
		return fmt.Errorf("%s: a %s link, no WireGuard device: left alone", iface, l.Type())
	}
	if err := delFirewall(iface); err != nil {
		return fmt.Errorf("%s: firewall: %w", iface, err)
	}
	index := 0
	if l != nil {
		index = l.Attrs().Index
	}
	if err := s.delRules(index); err != nil {
		return fmt.Errorf("%s: rules: %w", iface, err)
	}
	if l == nil {
		return nil
	}
	if s.cfg.Userspace == Ask {
		_ = os.Remove(s.request(iface)) // of one that was killed while it waited
	}
	if err := gone(s.handle.LinkDel(l), unix.ENODEV); err != nil {
		return fmt.Errorf("%s: ip link del %s: %w", iface, iface, err)
	}
	if l.Type() == "wireguard" {
		return nil
	}
	if err := s.deserted(ctx, iface); err != nil {
		return fmt.Errorf("%s: %w", iface, err)
	}
	return nil
}
