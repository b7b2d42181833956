package render

import (
	"encoding/json"
	"path/filepath"
	"time"

	"wg-kube/render/source/files"
	"wg-kube/templates/status"
	"wg-kube/templates/wgquick"
)

// watchKey watches the status file of wg-apply for the public key of the interface. Nothing else of it is read.
func watchKey(c Config) (*files.Files[wgquick.PublicKey], error) {
	return files.New(files.Config[wgquick.PublicKey]{
		Path:     filepath.Join(c.RunDir, c.Self.Interface+".json"),
		Optional: true,
		Quiet:    100 * time.Millisecond,
		MaxSize:  16 << 20, // bytes
		Complete: json.Valid,
		Same:     func(a, b wgquick.PublicKey) bool { return a == b },
		Parse: func(path string, b []byte, last wgquick.PublicKey) (wgquick.PublicKey, error) {
			s, err := status.Parse(path, b)
			if err != nil || s.PublicKey.IsZero() {
				return last, err // wg-apply makes a key before it says that there is another one
			}
			return s.PublicKey, nil
		},
		Report: func(path string, err error) {
			if err != nil {
				c.Log.Warn("public key cannot be read", "path", path, "err", err)
			}
		},
		Log: c.Log,
	})
}

// ownKey returns the public key as it was last known, zero if it never was.
func (l *Loop) ownKey() wgquick.PublicKey {
	seen, _ := l.key.Snapshot()
	for _, f := range seen {
		if !f.Value.IsZero() {
			l.Self.PublicKey = f.Value
		}
	}
	return l.Self.PublicKey
}
