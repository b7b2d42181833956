// Package fragments is the source of static peers: files of [Peer] sections, written by a person, by git or mounted
// from a ConfigMap. What they say is the owner's word; this package only sees to it that it is read whole.
// A fragment that says anything about the interface is refused.
package fragments

import (
	"log/slog"
	"path/filepath"
	"time"

	"wg-kube/render/overlay"
	"wg-kube/render/source/files"
	"wg-kube/templates/wgquick"
)

const quiet = 100 * time.Millisecond // a file without an end mark is read when nobody has touched it for this long

// Source is a folder of fragments. It is synced when each that is there has been read once; a folder that was never
// there holds none.
type Source struct {
	*files.Files[[]wgquick.Peer]
}

// New starts to watch dir, which need not exist. Run reads it.
func New(dir string, log *slog.Logger) (Source, error) {
	f, err := files.New(files.Config[[]wgquick.Peer]{
		Path:     dir,
		Suffixes: []string{".conf"},
		Quiet:    quiet,
		Complete: wgquick.Complete,
		Optional: true,
		MaxSize:  wgquick.MaxSize,
		Parse:    parse,
		Report: func(path string, err error) {
			if path == dir && err != nil { // what is wrong with a fragment, Build says
				log.Warn("fragments cannot be listed", "path", dir, "err", err)
			}
		},
		Log: log,
	})
	return Source{f}, err
}

// Snapshot returns the fragments by name. A broken one has its error and no peers: Build knows its former ones.
func (s Source) Snapshot() (fragments []overlay.Fragment, synced bool) {
	all, synced := s.Files.Snapshot()
	for _, f := range all {
		one := overlay.Fragment{Name: filepath.Base(f.Path), Err: f.Err}
		if f.Err == nil {
			one.Peers = f.Value
		}
		fragments = append(fragments, one)
	}
	return fragments, synced
}

func parse(path string, b []byte, _ []wgquick.Peer) ([]wgquick.Peer, error) {
	c, err := wgquick.ParseAllowed(filepath.Base(path), b, wgquick.Allow{Interface: []string{}})
	if err != nil {
		return nil, err
	}
	return c.Peers, nil
}
