package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// alias on a link says that wg-apply made it.
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
		err = s.startDevice(ctx, iface)
	}
	if err != nil {
		return err
	}
	l, err := s.handle.LinkByName(iface)
	if err != nil {
		return err
	}
	if err := s.handle.LinkSetAlias(l, alias); err != nil {
		return errors.Join(err, s.handle.LinkDel(l))
	}
	return nil
}

// startDevice starts a wg-device and waits until link and socket are there. The process is in a session of its own
// and shares nothing with this one: neither our end nor a signal to our group reaches it.
func (s *System) startDevice(ctx context.Context, iface string) error {
	path, err := s.devicePath()
	if err != nil {
		return fmt.Errorf("this kernel has no WireGuard: %w", err)
	}
	out, err := s.deviceLog(iface)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(path, iface)
	cmd.Dir = "/"
	// Not our NOTIFY_SOCKET: its READY would be taken for ours.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if answers(iface) {
			if l, err := s.findLink(iface); err == nil && l != nil {
				s.cfg.Log.Info("wg-device started", "iface", iface, "path", path, "reason", "this kernel has no WireGuard")
				return nil
			}
		}
		select {
		case err := <-ended:
			return fmt.Errorf("%s: %v%s", path, err, lastLine(out.Name()))
		case <-ctx.Done():
			_ = cmd.Process.Kill() // it is ours, and of no use
			return fmt.Errorf("%s: not ready: %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}

func (s *System) devicePath() (string, error) {
	if s.cfg.Device != "" {
		return s.cfg.Device, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "wg-device")
		if fi, err := os.Stat(beside); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return beside, nil
		}
	}
	return exec.LookPath("wg-device")
}

func (s *System) deviceLog(iface string) (*os.File, error) {
	if s.cfg.RunDir == "" {
		fd, err := unix.FcntlInt(os.Stderr.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		return os.NewFile(uintptr(fd), os.Stderr.Name()), err
	}
	return os.OpenFile(filepath.Join(s.cfg.RunDir, iface+".device.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW, 0o640)
}

// lastLine is what a device that ended has said last, as the tail of an error.
func lastLine(log string) string {
	fi, err := os.Stat(log)
	if err != nil || !fi.Mode().IsRegular() {
		return ""
	}
	b, err := os.ReadFile(log)
	b = bytes.TrimSpace(b)
	if err != nil || len(b) == 0 {
		return ""
	}
	return ": " + string(b[bytes.LastIndexByte(b, '\n')+1:])
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
	if err := gone(s.handle.LinkDel(l), unix.ENODEV); err != nil {
		return fmt.Errorf("%s: ip link del %s: %w", iface, iface, err)
	}
	if l.Type() == "wireguard" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	for {
		if _, err := os.Lstat(socketOf(iface)); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: the link is gone, but its wg-device still holds %s", iface, socketOf(iface))
		case <-time.After(5 * time.Millisecond):
		}
	}
}
