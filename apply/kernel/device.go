package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"wg-kube/apply/plan"
)

var errNoDevice = errors.New("no WireGuard device")

// wireGuard is what devices are asked through: a wgctrl.Client, and in a test one whose calls fail.
type wireGuard interface {
	Device(name string) (*wgtypes.Device, error)
	ConfigureDevice(name string, cfg wgtypes.Config) error
	Close() error
}

// device reads the WireGuard device.
func (s *System) device(ctx context.Context, iface string) (*wgtypes.Device, error) {
	return call(ctx, s, iface, func(c wireGuard) (*wgtypes.Device, error) { return c.Device(iface) })
}

// configure sends one message's worth of changes.
func (s *System) configure(ctx context.Context, iface string, cfg wgtypes.Config) error {
	_, err := call(ctx, s, iface, func(c wireGuard) (struct{}, error) {
		return struct{}{}, c.ConfigureDevice(iface, cfg)
	})
	return err
}

// call runs f with a new client, since a client decides once whether the kernel knows WireGuard, which may change
// with the first link. It gives up when ctx is done or the time is out. Then the client is closed: that ends the wait
// for an answer of the kernel that was lost. A userspace device that hangs blocks f all the same, and later calls wait
// behind the one that hangs instead of adding to it.
func call[T any](ctx context.Context, s *System, iface string, f func(wireGuard) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	type result struct {
		v   T
		err error
	}
	turn, done := s.turn(iface), make(chan result, 1)
	go func() {
		c, err := s.open() // asks the kernel too, and nobody waits behind that
		if err != nil {
			done <- result{err: err}
			return
		}
		defer c.Close()
		select {
		case turn <- struct{}{}:
		case <-ctx.Done():
			return
		}
		defer func() { <-turn }()
		defer context.AfterFunc(ctx, func() { _ = c.Close() })()
		v, err := f(c)
		if errors.Is(err, fs.ErrNotExist) {
			err = errNoDevice
		}
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		return result{}.v, fmt.Errorf("the device does not answer: %w", ctx.Err())
	}
}

// turn is held by the one call that talks to the device.
func (s *System) turn(iface string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turns[iface] == nil {
		s.turns[iface] = make(chan struct{}, 1)
	}
	return s.turns[iface]
}

// setDevice sends the fields that differ, and no peers with them.
func (a *applying) setDevice(ctx context.Context, st plan.SetDevice) error {
	cfg := wgtypes.Config{PrivateKey: (*wgtypes.Key)(st.PrivateKey)}
	if st.ListenPort != nil {
		if taken(*st.ListenPort) {
			return errTaken(*st.ListenPort)
		}
		port := int(*st.ListenPort)
		cfg.ListenPort = &port
	}
	if st.FwMark != nil {
		mark := int(*st.FwMark)
		cfg.FirewallMark = &mark
	}
	err := a.configure(ctx, a.iface, cfg)
	// wgctrl passes a userspace device's errno on as text.
	if number := fmt.Sprintf("errno=-%d", unix.EADDRINUSE); err != nil && cfg.ListenPort != nil &&
		(errors.Is(err, unix.EADDRINUSE) || strings.Contains(err.Error(), number)) {
		return errTaken(*st.ListenPort) // in the last moment
	}
	return err
}

func errTaken(port uint16) error {
	return fmt.Errorf("listen port %d is taken by another socket", port)
}

// awaitPort waits until a device in user space has heard that its link is up, which it does by itself, and has opened
// its port: before that it calls nobody. One that does not in time says why elsewhere.
func (s *System) awaitPort(ctx context.Context, iface string) {
	port := 0
	for end := time.Now().Add(appearing); time.Now().Before(end); time.Sleep(appearing / 200) {
		if port == 0 {
			dev, err := s.device(ctx, iface)
			if err != nil {
				return
			}
			port = dev.ListenPort // zero until it is open, unless it was asked for
		}
		if port != 0 && taken(uint16(port)) {
			return
		}
	}
}

// taken reports whether some socket has the port. A device is not left to find that out: one in user space first
// gives up the port that it has, and is deaf from then on.
func taken(port uint16) bool {
	for _, network := range []string{"udp4", "udp6"} {
		c, err := net.ListenPacket(network, fmt.Sprintf(":%d", port))
		if errors.Is(err, unix.EADDRINUSE) {
			return true
		}
		if err == nil {
			_ = c.Close()
		}
	}
	return false
}
