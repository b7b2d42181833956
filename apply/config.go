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
	"regexp"
	"slices"
	"strings"
	"time"

	"wg-kube/apply/hints"
	"wg-kube/templates/wgquick"
)

// Config is where the files are, and how far a proposal is believed. The folders, System and Log are needed.
type Config struct {
	Dir       string // of the files in force and the keys
	Proposals string
	RunDir    string   // of the status files
	Proposed  []string // the interfaces that take proposals

	MaxShrink      float64       // see Guard
	Resync         time.Duration // how often a device is looked at when nothing happens; zero: never
	Settle         time.Duration // how long a file without an end mark has to be quiet
	GoneAfter      time.Duration // how long a file in force is missing before the interface goes; zero: it stays
	PrivateKeyFile string        // a key that is taken instead of making one; empty: none
	Hooks          bool          // the hooks of a file made by hand are run; see commands.go
	DNS            bool          // its DNS is given to resolvconf; see commands.go

	System System
	// Events signals when something that may concern one of the interfaces has changed in the kernel. Nil: it is
	// found at the next resync.
	Events func(ctx context.Context, concerns func(iface string) bool) <-chan struct{}
	// Surroundings observes what hints are made of. What it could not see is no reason to fail. Nil: there are none.
	Surroundings func(ctx context.Context, iface string, ask hints.Ask) (hints.Seen, error)
	Lookup       func(ctx context.Context, host string) ([]netip.Addr, error) // nil: the system's resolver
	Log          *slog.Logger
}

// validName is what wg-quick takes for an interface. The kernel takes all of these but the two that name folders.
var validName = regexp.MustCompile(`^[a-zA-Z0-9_=+.-]{1,15}$`)

// CheckName says what is wrong with the name of an interface.
func CheckName(iface string) error {
	if !validName.MatchString(iface) || iface == "." || iface == ".." {
		return fmt.Errorf("%q: not the name of an interface: 1 to 15 letters, digits or _=+.- are wanted", iface)
	}
	return nil
}

// Interfaces are all that there are: those with a file in force and those that take proposals, by name.
func (c Config) Interfaces() ([]string, error) {
	names := slices.Clone(c.Proposed)
	entries, err := os.ReadDir(c.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, plain(c.Dir, err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".conf")
		if ok && !strings.HasPrefix(name, ".") && CheckName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (c Config) takesProposals(iface string) bool { return slices.Contains(c.Proposed, iface) }

// Keys is where the private keys of an interface are.
func (c Config) Keys(iface string) Keys { return Keys{Dir: filepath.Join(c.Dir, "keys", iface)} }

// key returns the private key of an interface that takes proposals, and makes or imports it where there is none.
func (c Config) key(f *files, published wgquick.PublicKey) (wgquick.SecretKey, error) {
	keys := c.Keys(f.name)
	var inForce wgquick.SecretKey
	switch {
	case f.inForce.config != nil:
		inForce = f.inForce.config.Interface.PrivateKey
	case !f.inForce.missing():
		return wgquick.SecretKey{}, nil // the file holds the key, and cannot be read as it is now
	case c.PrivateKeyFile != "":
		key, err := ReadKey(c.PrivateKeyFile)
		if err != nil {
			return wgquick.SecretKey{}, fmt.Errorf("--private-key-file: %w", err)
		}
		return key, keys.Keep(key)
	}
	key, err := keys.Current(inForce, published)
	switch {
	case err != nil:
		return wgquick.SecretKey{}, err
	case key.IsZero():
		return keys.Make()
	case key == inForce:
		return key, keys.Keep(key) // it outlives the file
	}
	return key, nil
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
