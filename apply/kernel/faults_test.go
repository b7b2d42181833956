package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"wg-kube/apply/plan"
)

// failing is a wgctrl.Client whose calls fail from one on: so many of them, or all.
type failing struct {
	wireGuard
	calls      *atomic.Int64
	from, upTo int64
	with       error
}

func (f failing) err() error {
	if n := f.calls.Add(1); n > f.from && n <= f.upTo {
		return f.with
	}
	return nil
}

func (f failing) Device(name string) (*wgtypes.Device, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.wireGuard.Device(name)
}

func (f failing) ConfigureDevice(name string, cfg wgtypes.Config) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.wireGuard.ConfigureDevice(name, cfg)
}

// Each call to the device fails, once or from then on, in every way that WireGuard's netlink can. What the old file and
// the new one have in common is there all the time; and afterwards the device gets to where the new one says.
func TestDeviceCallsThatFail(t *testing.T) {
	from := "[Interface]\n" + private + "Address = 10.1.0.1/24, fd00:1::1/64\nListenPort = 51820\n" +
		peerA + "AllowedIPs = 10.2.0.0/24, 10.3.0.0/24, 10.9.0.0/24, fd00:2::/64\nEndpoint = 192.0.2.7:1\n" + peerB + "AllowedIPs = 10.4.0.0/16\n"
	to := "[Interface]\n" + private + "Address = 10.1.0.1/24, fd00:1::1/64\nListenPort = 51821\nFwMark = 9\n" +
		peerA + psk + "AllowedIPs = 10.3.0.0/24, fd00:2::/64\nEndpoint = 192.0.2.7:1\nPersistentKeepalive = 9\n" + peerC + "AllowedIPs = 10.2.0.0/24, 10.5.0.0/24\n"
	errnos := []error{unix.EINTR, unix.EAGAIN, unix.EBUSY, unix.ENOBUFS, unix.ENOMEM, unix.EPERM, unix.EIO, unix.EMSGSIZE, fs.ErrNotExist} // the last is wgctrl's ENODEV
	onHost(t, func(t *testing.T, s *System) {
		real := s.open
		up(t, s, "wg0", from)
		old := observe(t, s, "wg0")
		if _, err := apply(s, "wg0", parse(t, to)); err != nil {
			t.Fatal(err)
		}
		next := observe(t, s, "wg0")
		u, err := s.Underlay(t.Context(), "wg0", parse(t, to))
		if err != nil {
			t.Fatal(err)
		}
		want, err := plan.Want(parse(t, to), "wg0", u)
		if err != nil {
			t.Fatal(err)
		}
		// follow is what the loop of wg-apply does once.
		follow := func() error {
			live, err := s.Observe(t.Context(), "wg0")
			if err != nil {
				return err
			}
			return s.Apply(t.Context(), plan.Diff(want, live))
		}
		// fails lets calls of one change fail, and reports whether there are so many.
		fails := func(t *testing.T, f failing) bool {
			if _, err := apply(s, "wg0", parse(t, from)); err != nil {
				t.Fatal(err)
			}
			f.calls = new(atomic.Int64)
			s.open = func() (c wireGuard, err error) {
				f := f
				f.wireGuard, err = real()
				return f, err
			}
			err := follow()
			s.open = real
			told := errors.Is(err, f.with) || errors.Is(err, errNoDevice) && errors.Is(f.with, fs.ErrNotExist)
			if f.calls.Load() > f.from && !told && (err != nil || f.upTo > f.from+1) { // one peer is tried again by itself
				t.Errorf("says %v", err)
			}
			if lost := lost(old, next, observe(t, s, "wg0")); len(lost) > 0 {
				t.Errorf("lost, though it is there before and after: %v", lost)
			}
			if _, err := apply(s, "wg0", parse(t, to)); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			return f.calls.Load() > f.from
		}
		for _, errno := range errnos {
			t.Run(errno.Error(), func(t *testing.T) {
				n := int64(0)
				for fails(t, failing{from: n, upTo: n + 1, with: errno}) && fails(t, failing{from: n, upTo: 1 << 30, with: errno}) {
					n++
				}
				if n < 4 {
					t.Errorf("a change is %d calls: too few", n)
				}
			})
		}
	})
}

// lost is what is in both of two states and not in a third.
func lost(old, next, is plan.Live) (lost []string) {
	for _, a := range old.Addresses {
		if slices.Contains(next.Addresses, a) && !slices.Contains(is.Addresses, a) {
			lost = append(lost, a.String())
		}
	}
	for _, r := range old.Routes {
		if slices.Contains(next.Routes, r) && !slices.Contains(is.Routes, r) {
			lost = append(lost, fmt.Sprint(r))
		}
	}
	has := func(l plan.Live, p plan.Peer, a netip.Prefix) bool {
		return slices.ContainsFunc(l.Peers, func(q plan.Peer) bool { return q.PublicKey == p.PublicKey && slices.Contains(q.AllowedIPs, a) })
	}
	for _, p := range old.Peers {
		for _, a := range p.AllowedIPs {
			if has(next, p, a) && !has(is, p, a) {
				lost = append(lost, fmt.Sprintf("%s of %s", a, p.PublicKey))
			}
		}
	}
	return lost
}
