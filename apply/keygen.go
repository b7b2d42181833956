package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"wg-kube/templates/wgquick"
)

// Keygen returns the public key of an interface. Where there is no key yet it makes one, or takes the one in the
// file imported. One that is there is never replaced: the file in force says which key is current.
func (c Config) Keygen(ctx context.Context, name, imported string) (wgquick.PublicKey, error) {
	c.PrivateKeyFile = imported
	i, unlock, err := c.alone(ctx, name)
	if err != nil {
		return wgquick.PublicKey{}, err
	}
	defer unlock()
	f := i.files
	if lines := f.inForce.faults(); len(lines) > 0 {
		return wgquick.PublicKey{}, errors.New(strings.Join(lines, "\n"))
	}
	if imported != "" && f.inForce.config != nil {
		key, err := ReadKey(imported)
		if err != nil {
			return wgquick.PublicKey{}, err
		}
		if has := f.inForce.config.Interface.PrivateKey; !has.IsZero() && has.Clamped() != key.Clamped() {
			return wgquick.PublicKey{}, fmt.Errorf("%s: not imported: %s holds another key, that of %s; write the new one there", imported, f.path, has.Public())
		}
		if err := c.Keys(name).Keep(key); err != nil {
			return wgquick.PublicKey{}, err
		}
	}
	key, err := c.key(f, i.status.PublicKey)
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
