package render

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"wg-kube/internal/atomicfile"
	"wg-kube/render/overlay"
	"wg-kube/templates/wgquick"
)

// view is what the sources know at one moment.
type view struct {
	overlay.Snapshot
	self   overlay.Self
	policy overlay.Policy
	own    *overlay.Node // nil: it is not there
	static bool          // each fragment has been seen
	synced bool          // and each Node
	waits  string        // what is not there yet; "": nothing
}

func (l *Loop) look() view {
	v := view{self: l.Self, policy: l.Policy}
	v.self.PublicKey = l.ownKey()
	if l.APIServer != nil {
		v.policy.APIServer = slices.Concat(l.Policy.APIServer, l.APIServer())
	}
	v.Fragments, v.static = l.Fragments.Snapshot()
	v.Nodes, v.synced = l.Nodes.Snapshot()
	v.synced = v.synced && v.static
	for i := range v.Nodes {
		if v.Nodes[i].Name == l.Self.Node {
			v.own = &v.Nodes[i]
		}
	}
	switch {
	case !v.static:
		v.waits = "the static fragments"
	case !v.synced:
		v.waits = "the Nodes"
	case v.own == nil:
		v.waits = fmt.Sprintf("Node %s, which is this one", l.Self.Node)
	}
	return v
}

// proposal is a file in the folder of proposals.
type proposal struct {
	file   []byte          // nil: there is none
	config *wgquick.Config // nil: there is none, or it is broken
}

// rendered is a proposal to be made.
type rendered struct {
	proposal
	prev    *wgquick.Config // the one before; nil: there is none that could be read
	refused []overlay.Rejection
}

func (l *Loop) path() string { return filepath.Join(l.Out, l.Self.Interface+".conf") }

// render makes the proposal that v asks for. It is nil if the one on disk must stay, because of what v waits for.
func (l *Loop) render(v *view) (*rendered, error) {
	prev, err := l.onDisk()
	if err != nil {
		return nil, err
	}
	if l.unseen(v.Nodes, prev.config) && v.waits == "" {
		v.waits = "a manifest that can be read"
	}
	if v.waits != "" && prev.file != nil && !(v.static && withoutNodes(prev.config)) {
		return nil, nil
	}
	now := v.Snapshot
	if v.waits != "" {
		// The address must be there before the kubelet starts, and a fragment may be the only way to the cluster.
		now.Nodes = nil
	}
	r := &rendered{prev: prev.config}
	r.config, r.refused = overlay.Build(v.self, now, prev.config, v.policy)
	r.file, err = r.config.Marshal()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.path(), err)
	}
	return r, nil
}

// withoutNodes reports whether c owes nothing to any Node: it can be made anew from the flags and the fragments.
func withoutNodes(c *wgquick.Config) bool {
	return c != nil &&
		!slices.ContainsFunc(c.Peers, func(p wgquick.Peer) bool { return p.Origin.Kind != overlay.KindFragment }) &&
		!slices.ContainsFunc(c.Refused, func(r string) bool { return !strings.HasPrefix(r, overlay.KindFragment+"/") })
}

// unseen reports whether c has a peer whose Node may be in what a partial source could not read.
func (l *Loop) unseen(nodes []overlay.Node, c *wgquick.Config) bool {
	for _, n := range nodes {
		l.seen[n.Name] = true
	}
	source, ok := l.Nodes.(Partial)
	return ok && c != nil && source.Partial() && slices.ContainsFunc(c.Peers, func(p wgquick.Peer) bool {
		return p.Origin.Kind == overlay.KindNode && !l.seen[p.Origin.Name]
	})
}

// onDisk reads the proposal that is there. One that is broken is as none, but for its being there.
func (l *Loop) onDisk() (proposal, error) {
	path := l.path()
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		l.disk = proposal{}
		return l.disk, nil
	}
	if err != nil {
		return proposal{}, err
	}
	var b []byte
	if fi.Mode().IsRegular() { // a fifo would be waited for
		if b, err = os.ReadFile(path); err != nil {
			return proposal{}, err
		}
	}
	if l.disk.file != nil && bytes.Equal(b, l.disk.file) {
		return l.disk, nil
	}
	c, err := wgquick.Parse(filepath.Base(path), b)
	if err != nil {
		c = nil
	}
	if l.said.news("disk", text(err)) {
		l.Log.Warn("proposal on disk is of no use; it is made anew without it", "path", path, "err", err)
	}
	l.disk = proposal{append([]byte{}, b...), c}
	return l.disk, nil
}

// propose writes r, if it is not what the file holds.
func (l *Loop) propose(r *rendered) error {
	changed, err := atomicfile.WriteIfChanged(l.path(), r.file, 0o640)
	if err != nil {
		return err
	}
	l.disk = r.proposal
	if changed {
		l.Metrics.proposals.Inc()
		added, removed := gained(r.prev, r.config), gained(r.config, r.prev)
		l.Log.Info("proposed", "path", l.path(), "peers", len(r.config.Peers), "added", added, "removed", removed)
	}
	return nil
}

// gained counts the peers of now that was does not have.
func gained(was, now *wgquick.Config) (n int) {
	had := map[wgquick.PublicKey]bool{}
	if was != nil {
		for _, p := range was.Peers {
			had[p.PublicKey] = true
		}
	}
	if now != nil {
		for _, p := range now.Peers {
			if !had[p.PublicKey] {
				n++
			}
		}
	}
	return n
}
