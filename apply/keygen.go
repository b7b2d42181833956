package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"wg-kube/templates/wgquick"
)

// Keygen returns the public key of an interface. Where there is no key yet it makes one, or takes the one in the
// file imported. One that is there is never replaced: the file in force says which key is current, and where the folder
// of all is empty, the device. Who may not look at the device makes none in the place of one that was published.
func (c Config) Keygen(ctx context.Context, name, imported string) (wgquick.PublicKey, error) {
	i, unlock, err := c.alone(ctx, name)
	if err != nil {
		return wgquick.PublicKey{}, err
	}
	defer unlock()
	f := i.files
	if lines := f.inForce.faults(); len(lines) > 0 {
		return wgquick.PublicKey{}, errors.New(strings.Join(lines, "\n"))
	}
	var key wgquick.SecretKey
	if imported == "" {
		published := i.status.PublicKey
		key, err = c.key(ctx, f, published)
		switch {
		case errors.Is(err, errKeyLost): // a person says so
			key, err = c.key(ctx, f, wgquick.PublicKey{})
		case errors.Is(err, fs.ErrPermission) && published.IsZero():
			c.System = nil
			key, err = c.key(ctx, f, published)
		}
	} else {
		key, err = c.importKey(f, imported)
	}
	if err != nil {
		return wgquick.PublicKey{}, err
	}
	public := key.Public()
	if i.status.PublicKey != public {
		i.status.PublicKey = public
		err = i.save(i.status)
	}
	return public, err
}

// importKey keeps the key in the file at path, unless the file in force holds another one.
func (c Config) importKey(f *files, path string) (wgquick.SecretKey, error) {
	key, err := ReadKey(path)
	if err != nil {
		return key, fmt.Errorf("--import: %w", err)
	}
	if f.inForce.config != nil {
		if has := f.inForce.config.Interface.PrivateKey; !has.IsZero() && has.Clamped() != key.Clamped() {
			return key, fmt.Errorf("--import: %s: not taken: %s holds another key, that of %s; write the new one there", path, f.path, has.Public())
		}
	}
	return key, c.Keys(f.name).Keep(key)
}
