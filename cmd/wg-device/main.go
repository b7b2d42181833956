// wg-device is a WireGuard device in user space, for machines whose kernel has none.
//
// It is a process of its own so that nothing that configures the device can take it down: wg-apply and wg(8) talk
// to its socket in /var/run/wireguard. It stays in the foreground, forks nothing, configures nothing, and ends
// when it is told to or when its link is deleted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"wg-kube/internal/cli"
	"wg-kube/templates/wgquick"
)

func main() {
	cli.NoCore()
	os.Exit(cli.Run(command(), os.Args[1:]))
}

// sockets is where wg(8) and wgctrl look for userspace devices.
const sockets = "/var/run/wireguard"

func command() *cobra.Command {
	var (
		mtu           int
		level, format string
	)
	c := &cobra.Command{
		Use:   "wg-device IFACE",
		Short: "A userspace WireGuard device, until SIGTERM or until its link is deleted",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("one interface is wanted")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			iface := args[0]
			if err := wgquick.CheckName(iface); err != nil {
				return cli.Usagef("%w", err)
			}
			if mtu < 576 || mtu > 65535-80 {
				return cli.Usagef("--mtu: %d: 576 to %d is wanted", mtu, 65535-80)
			}
			log, err := cli.Logger(cmd.ErrOrStderr(), level, format)
			if err != nil {
				return err
			}
			if err := serve(cmd.Context(), iface, mtu, log.With("iface", iface)); err != nil {
				return fmt.Errorf("%s: %w", iface, err)
			}
			return nil
		},
	}
	c.Flags().IntVar(&mtu, "mtu", device.DefaultMTU, "MTU of the new link, in bytes")
	c.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	c.Flags().StringVar(&format, "log-format", "text", "text or json")
	return c
}

// serve makes the link and its socket and works until ctx is done or the link is gone. It leaves neither behind.
func serve(ctx context.Context, iface string, mtu int, log *slog.Logger) error {
	link, err := tun.CreateTUN(iface, mtu)
	if err != nil {
		if _, none := net.InterfaceByName(iface); none == nil {
			return errors.New("new link: there is an interface of this name already")
		}
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w: it takes CAP_NET_ADMIN", err)
		}
		return fmt.Errorf("new link: %w", err)
	}
	if name, err := link.Name(); err != nil || name != iface {
		_ = link.Close()
		return fmt.Errorf("new link: the kernel called it %q", name)
	}
	outliveEvents()
	trouble := newHourly(log)
	dev := device.NewDevice(link, newBind(), &device.Logger{
		Verbosef: func(format string, a ...any) { log.Debug(fmt.Sprintf(format, a...)) },
		Errorf:   func(format string, a ...any) { trouble.warn(fmt.Sprintf(format, a...)) },
	})
	defer dev.Close() // and the link with it

	uapi, err := listen(iface)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer func() { // in this order: as soon as nobody answers, the next one may have its own there
		_ = os.Remove(socketOf(iface))
		_ = uapi.Close()
	}()

	answer := func(l net.Listener) {
		for {
			c, err := l.Accept()
			switch {
			case err == nil:
				go dev.IpcHandle(c)
			case errors.Is(err, net.ErrClosed):
				return
			default: // such as too many open files: no reason to let the tunnel go
				trouble.warn(fmt.Sprintf("socket: %v", err))
				time.Sleep(100 * time.Millisecond)
			}
		}
	}
	go answer(uapi)
	log.Info("ready", "pid", unix.Getpid())
	// A service manager that does not listen is no reason to fail.
	_, _ = daemon.SdNotify(true, daemon.SdNotifyReady)

	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			log.Info("told to end")
			return nil
		case <-dev.Wait():
			log.Info("the link is gone")
			return nil
		case <-look.C: // without its socket nobody could ever say anything to the device again
			if _, err := os.Lstat(socketOf(iface)); !errors.Is(err, fs.ErrNotExist) {
				continue
			}
			anew, err := listen(iface)
			if err != nil {
				trouble.warn(fmt.Sprintf("the socket is gone: %v", err))
				continue
			}
			log.Warn("the socket was gone, and is made anew")
			_ = uapi.Close()
			uapi = anew
			go answer(uapi)
		}
	}
}

// outliveEvents keeps a TUN from ending when links change faster than we are let run. It is told of them by a netlink
// socket of its own, and takes the word that some were lost for the end of that: the kernel is to lose them without a
// word. Whether its own link is up it sees every second as well.
func outliveEvents() {
	for fd := range 64 { // there are a few yet
		if of, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err == nil && of == unix.AF_NETLINK {
			_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 1)
		}
	}
}

func socketOf(iface string) string { return filepath.Join(sockets, iface+".sock") }

// listen makes the socket, which appears under its name when somebody listens already: wg(8) deletes one on which
// nobody does. It takes the place of one that was left behind, and not of one that is served.
func listen(iface string) (*net.UnixListener, error) {
	if c, err := net.Dial("unix", socketOf(iface)); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("%s: another process serves it", socketOf(iface))
	}
	unix.Umask(0o077)
	if err := os.MkdirAll(sockets, 0o700); err != nil {
		return nil, err
	}
	fresh := filepath.Join(sockets, "."+iface+".new")
	_ = os.Remove(fresh) // left behind
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it would be the old name
	if err := os.Rename(fresh, socketOf(iface)); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}
