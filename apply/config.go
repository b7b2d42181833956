package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"wg-kube/apply/hints"
	"wg-kube/templates/wgquick"
)

// Config is where the files are, and how far a proposal is believed. The folders, System and Log are needed.
type Config struct {
	Dir        string // of the files in force and the keys
	Proposals  string
	RunDir     string   // of the status files
	StatusCopy string   // a folder where they are written as well, for whoever does not see RunDir; empty: none
	Proposed   []string // the interfaces that take proposals

	MaxShrink      float64       // see Guard
	ShrinkWindow   time.Duration // see past; zero: a proposal is measured against what is in force alone
	MaxPeers       int           // see Guard
	Resync         time.Duration // how often a device is looked at when nothing happens; zero: never
	Settle         time.Duration // how long a file without an end mark has to be quiet that was not renamed into its place
	GoneAfter      time.Duration // how long a file in force is missing before the interface goes; zero: it stays
	PrivateKeyFile string        // a key that is taken instead of making one; empty: none
	Hooks          bool          // the hooks of a file made by hand are run; see commands.go
	DNS            bool          // its DNS is given to resolvconf; see commands.go
	PeerMetrics    bool          // what is known of each peer is among the metrics

	System System
	// Events signals when something that may concern one of the interfaces has changed in the kernel. Nil: it is
	// found at the next resync.
	Events func(ctx context.Context, concerns func(iface string) bool) <-chan struct{}
	// Surroundings observes what hints are made of. What it could not see is no reason to fail. Nil: there are none.
	Surroundings func(ctx context.Context, iface string, ask hints.Ask) (hints.Seen, error)
	Lookup       func(ctx context.Context, host string) ([]netip.Addr, error) // nil: the system's resolver
	Log          *slog.Logger

	clock func() time.Time       // nil: the system's
	moved func(fs.FileInfo) bool // see watch.Settler; nil: nobody watches
}

// Interfaces are all that there are: those with a file in force and those that take proposals, by name.
func (c Config) Interfaces() ([]string, error) {
	names, err := named(c.Dir, ".conf")
	if err != nil {
		return nil, err
	}
	return sorted(append(slices.DeleteFunc(names, impossible), c.Proposed...)), nil
}

// Known are those of Interfaces, as far as the caller may look there, and those that have a status. Of the latter not
// every one need still be there.
func (c Config) Known() ([]string, error) {
	all, err := c.Interfaces()
	if _, none := os.Stat(c.RunDir); errors.Is(none, fs.ErrNotExist) {
		return all, err
	}
	if errors.Is(err, fs.ErrPermission) { // only root may look there
		all, err = slices.Clone(c.Proposed), nil
	}
	if err != nil {
		return nil, err
	}
	names, err := named(c.RunDir, ".json")
	return sorted(append(all, slices.DeleteFunc(names, impossible)...)), err
}

// Misnamed says of each file in Dir that could be one in force, but for its name, what is wrong with that. There are
// none where the caller may not look.
func (c Config) Misnamed() (faults []error) {
	names, _ := named(c.Dir, ".conf")
	for _, name := range names {
		if err := wgquick.CheckName(name); err != nil {
			faults = append(faults, fmt.Errorf("%s: left alone: %w", filepath.Join(c.Dir, name+".conf"), err))
		}
	}
	return faults
}

// named are the files in dir with that suffix, without it. Hidden ones are nobody's. A folder that is not there is
// an empty one.
func named(dir, suffix string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, plain(dir, err)
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	return names, nil
}

// impossible reports whether no interface can have that name.
func impossible(name string) bool { return wgquick.CheckName(name) != nil }

func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// now is the time by which proposals are held.
func (c Config) now() time.Time {
	if c.clock != nil {
		return c.clock()
	}
	return time.Now()
}

// uptime is the time by which the past counts: of a clock that nobody sets, and that goes on while the machine sleeps.
func (c Config) uptime() time.Time {
	var since unix.Timespec
	if c.clock != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &since) != nil {
		return c.now()
	}
	return time.Unix(since.Unix())
}

func (c Config) takesProposals(iface string) bool { return slices.Contains(c.Proposed, iface) }

// Keys is where the private keys of an interface are.
func (c Config) Keys(iface string) Keys { return Keys{Dir: filepath.Join(c.Dir, "keys", iface)} }

// choose returns the private key that an interface has, or would get, and whether that is a new one. It keeps nothing.
// Zero: the file in force holds the key, and cannot be read as it is now. Where the key that was published, or any, has
// gone with its folder, the device still has it; else the error is errKeyLost, for nobody would know another one.
func (c Config) choose(ctx context.Context, f *files, published wgquick.PublicKey) (key wgquick.SecretKey, made bool, err error) {
	switch {
	case f.inForce.config != nil:
		key = f.inForce.config.Interface.PrivateKey
	case !f.inForce.missing():
		return key, false, nil
	case c.PrivateKeyFile != "":
		if key, err = ReadKey(c.PrivateKeyFile); err != nil {
			err = fmt.Errorf("--private-key-file: %w", err)
		}
		return key, false, err
	}
	key, err = c.Keys(f.name).Current(key, published)
	if err != nil || !key.IsZero() {
		return key, false, err
	}
	if c.System != nil {
		live, err := c.System.Observe(ctx, f.name)
		if err != nil {
			return wgquick.SecretKey{}, false, err
		}
		if has := live.PrivateKey; !has.IsZero() && (published.IsZero() || has.Public() == published) {
			return has, false, nil
		}
	}
	if !published.IsZero() {
		return wgquick.SecretKey{}, false, fmt.Errorf("%s: the private key of %s, which was published, %w. Bring it back: wg-apply keygen %s --import FILE, or get another: wg-apply keygen %[4]s",
			c.Keys(f.name).Dir, published, errKeyLost, f.name)
	}
	key, err = wgquick.NewPrivateKey()
	return key, true, err
}

var errKeyLost = errors.New("is not here, nor on the device")

// key is choose, and keeps the key: it outlives the file.
func (c Config) key(ctx context.Context, f *files, published wgquick.PublicKey) (wgquick.SecretKey, error) {
	key, _, err := c.choose(ctx, f, published)
	if err != nil || key.IsZero() {
		return key, err
	}
	return key, c.Keys(f.name).Keep(key)
}

// prepare makes the folders that are ours to make.
func (c Config) prepare() error {
	for dir, mode := range map[string]fs.FileMode{c.RunDir: 0o750, c.Dir: 0o700} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return plain(dir, err)
		}
	}
	return nil
}
