package render

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"time"

	"wg-kube/render/overlay"
	"wg-kube/render/source/files"
	"wg-kube/templates/status"
	"wg-kube/templates/wgquick"
)

// device is what wg-apply says of the interface.
type device struct {
	key wgquick.PublicKey
	met []overlay.Met // the peers that call; by public key, as the status has them
}

// watchDevice watches the status file of wg-apply.
func watchDevice(c Config) (*files.Files[device], error) {
	return files.New(files.Config[device]{
		Path:     filepath.Join(c.RunDir, c.Self.Interface+".json"),
		Optional: true,
		Quiet:    100 * time.Millisecond,
		MaxSize:  16 << 20, // bytes
		Complete: json.Valid,
		Same:     func(a, b device) bool { return a.key == b.key && slices.Equal(a.met, b.met) },
		Parse: func(path string, b []byte, last device) (device, error) {
			s, err := status.Parse(path, b)
			if err != nil {
				return last, err
			}
			now := device{key: s.PublicKey}
			if now.key.IsZero() {
				now.key = last.key // wg-apply makes a key before it says that there is another one
			}
			for _, p := range s.Peers {
				if p.Roamed.IsValid() {
					now.met = append(now.met, overlay.Met{PublicKey: p.PublicKey, Addr: p.Roamed.Addr().WithZone("")})
				}
			}
			return now, nil
		},
		Report: func(path string, err error) {
			if err != nil {
				c.Log.Warn("the status of the interface cannot be read", "path", path, "err", err)
			}
		},
		Log: c.Log,
	})
}

// callers says of met which objects of the last proposal they are. One that has changed its key since it called is where
// it was, until it calls with the new one.
func (l *Loop) callers(prev *wgquick.Config, met []overlay.Met) []overlay.Met {
	if prev == nil || len(met)+len(l.called) == 0 {
		return met
	}
	calls, called := make(map[wgquick.PublicKey]overlay.Met, len(met)), map[wgquick.Origin]overlay.Met{}
	all := slices.Clip(met)
	for _, m := range met {
		calls[m.PublicKey] = m
	}
	for _, p := range prev.Peers {
		if p.Origin.Kind == overlay.KindFragment {
			continue // which may have several
		}
		m, ok := calls[p.PublicKey]
		if !ok {
			m, ok = l.called[p.Origin]
			ok = ok && m.PublicKey != p.PublicKey
		}
		if ok {
			m.Origin = p.Origin
			called[p.Origin] = m
			all = append(all, m)
		}
	}
	l.called = called
	return all
}

// seeDevice returns what is known of the interface: the public key as it was last known, zero if it never was.
func (l *Loop) seeDevice() (wgquick.PublicKey, []overlay.Met) {
	var met []overlay.Met
	seen, _ := l.device.Snapshot()
	for _, f := range seen {
		met = f.Value.met
		if !f.Value.key.IsZero() {
			l.Self.PublicKey = f.Value.key
		}
	}
	return l.Self.PublicKey, met
}
