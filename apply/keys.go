package apply

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"wg-kube/internal/atomicfile"
	"wg-kube/templates/wgquick"
)

// Keys is the folder that holds the private keys of one interface, each in a file that is named after its public
// half. No key in it is ever changed or removed. The zero value is of no use.
type Keys struct {
	Dir string // such as /etc/wireguard/keys/wg0
}

// Current returns the key that the interface has: the one in its file in force; else the one whose public half was
// published; else, if none was, the only one there is, or the newest. Zero: it is not here.
func (k Keys) Current(inForce wgquick.SecretKey, published wgquick.PublicKey) (wgquick.SecretKey, error) {
	if !inForce.IsZero() {
		return inForce, nil
	}
	if !published.IsZero() {
		key, err := k.load(k.path(published))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return key, err
	}
	entries, err := os.ReadDir(k.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wgquick.SecretKey{}, plain(k.Dir, err)
	}
	var newest fs.FileInfo
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), keySuffix) || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if newest == nil || fi.ModTime().After(newest.ModTime()) {
			newest = fi
		}
	}
	if newest == nil {
		return wgquick.SecretKey{}, nil
	}
	return k.load(filepath.Join(k.Dir, newest.Name()))
}

// Make makes a new key and keeps it.
func (k Keys) Make() (wgquick.SecretKey, error) {
	key, err := wgquick.NewPrivateKey()
	if err != nil {
		return wgquick.SecretKey{}, err
	}
	return key, k.Keep(key)
}

// Keep stores a key, unless it is there.
func (k Keys) Keep(key wgquick.SecretKey) error {
	path := k.path(key.Public())
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(k.Dir, 0o700); err != nil {
		return plain(k.Dir, err)
	}
	return atomicfile.Write(path, []byte(key.Reveal()+"\n"), 0o600)
}

// ReadKey reads a private key from a file such as "wg genkey" writes.
func ReadKey(path string) (wgquick.SecretKey, error) {
	f, _, err := open(path, 0)
	if err != nil {
		return wgquick.SecretKey{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 128))
	if err != nil {
		return wgquick.SecretKey{}, plain(path, err)
	}
	key, err := wgquick.ParseSecretKey(strings.TrimSpace(string(b)))
	if err == nil && key.IsZero() {
		err = errors.New("the zero key belongs to nobody")
	}
	if err != nil {
		return wgquick.SecretKey{}, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// tidy removes what a killed Keep has left. The interface is locked.
func (k Keys) tidy() error { return atomicfile.RemoveLeftovers(filepath.Join(k.Dir, "*"+keySuffix)) }

const keySuffix = ".key"

// path of the key with that public half.
func (k Keys) path(p wgquick.PublicKey) string {
	sum := sha256.Sum256(p[:])
	return filepath.Join(k.Dir, fmt.Sprintf("%x%s", sum[:8], keySuffix))
}

// load reads a key of ours, which nobody else may have been able to put there.
func (k Keys) load(path string) (wgquick.SecretKey, error) {
	fi, err := os.Lstat(path)
	if err == nil {
		err = errors.Join(regular(fi), trusted(fi))
	}
	if err != nil {
		return wgquick.SecretKey{}, plain(path, err)
	}
	return ReadKey(path)
}
