package pipeline

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
)

// hub is a machine with many peers whose wg-apply reads one file.
type hub struct {
	machine
	apply *daemon
	path  string    // of the file, in force or proposed
	texts [2][]byte // without and with one peer more
}

// newHub brings a hub up with n peers, and says how long that took: from the rename of its first file to the last
// route, which is the last step. wg-apply runs already.
func (m *measuring) newHub(ctx context.Context, n int, proposed bool) (h *hub, took time.Duration, err error) {
	h = &hub{path: inForce}
	args := []string{"run"}
	if proposed {
		h.path = proposal
		args = append(args, "--proposed", iface, "--proposals", proposals)
	}
	if h.texts, err = texts(n, proposed); err != nil {
		return nil, 0, err
	}
	if h.machine, err = m.boot("hub"); err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			h.Close()
		}
	}()
	if h.apply, err = h.start("wg-apply", args...); err != nil {
		return nil, 0, err
	}
	if err := h.apply.untilQuiet(ctx); err != nil {
		return nil, 0, err
	}
	if took, err = h.change(ctx, h.texts[0], unix.RTM_NEWROUTE, n); err != nil {
		return nil, 0, err
	}
	return h, took, h.has(n)
}

// folders are those in which a hub at rest writes nothing.
func (h *hub) folders() (paths []string) {
	for _, dir := range []string{filepath.Dir(inForce), filepath.Dir(h.path)} {
		paths = append(paths, h.Path(dir))
	}
	return slices.Compact(paths)
}

// add and remove change the file by one peer, and say how long it took until the device and the routes had followed.
func (h *hub) add(ctx context.Context) (time.Duration, error) {
	return h.change(ctx, h.texts[1], unix.RTM_NEWROUTE, 1)
}

func (h *hub) remove(ctx context.Context) (time.Duration, error) {
	return h.change(ctx, h.texts[0], unix.RTM_DELROUTE, 1)
}

// change puts a file in place that makes so many messages about routes, and returns when wg-apply is at rest again.
// The time is from the rename of the file to the last of these messages.
func (h *hub) change(ctx context.Context, text []byte, kind uint16, messages int) (time.Duration, error) {
	a, err := h.routes(kind, messages)
	if err != nil {
		return 0, err
	}
	began, err := h.replace(h.path, text)
	if err != nil {
		return 0, err
	}
	at, err := a.wait(ctx)
	if err != nil {
		return 0, fmt.Errorf("%w; %s", err, h.apply.said())
	}
	return at.Sub(began), h.apply.untilQuiet(ctx)
}

// replace writes a file as programs do that mean well: beside it, then renamed over it. It returns the moment before
// the rename.
func (m machine) replace(name string, text []byte) (time.Time, error) {
	path := m.Path(name)
	fresh := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return time.Time{}, err
	}
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return time.Time{}, err
	}
	began := time.Now()
	return began, os.Rename(fresh, path)
}

// has makes sure that it is true what is measured: that the device has n peers.
func (m machine) has(n int) error {
	return m.in(func() error {
		c, err := wgctrl.New()
		if err != nil {
			return err
		}
		defer c.Close()
		d, err := c.Device(iface)
		if err == nil && len(d.Peers) != n {
			err = fmt.Errorf("%d peers, want %d", len(d.Peers), n)
		}
		return err
	})
}
