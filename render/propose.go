package render

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"wg-kube/internal/atomicfile"
	"wg-kube/render/overlay"
	"wg-kube/render/source/files"
	"wg-kube/templates/wgquick"
)

// view is what the sources know at one moment.
type view struct {
	overlay.Snapshot
	self   overlay.Self
	policy overlay.Policy
	own    *overlay.Node   // nil: it is not there
	unread []string        // names of Nodes that are there, and could not be read since the start
	blind  bool            // what could not be read may be any Node
	denied map[string]bool // kinds of peers that the API server does not show
	static bool            // each fragment has been seen
	synced bool            // and each Node
	waits  string          // what is not there yet; "": nothing
}

func (l *Loop) look() view {
	v := view{self: l.Self, policy: l.Policy, denied: map[string]bool{}}
	v.self.PublicKey, v.Met = l.seeDevice()
	if l.APIServer != nil {
		v.policy.APIServer = slices.Concat(l.Policy.APIServer, l.APIServer())
	}
	v.Fragments, v.static = l.Fragments.Snapshot()
	if source, ok := l.Nodes.(Partial); ok {
		v.unread, v.blind = source.Unread()
	}
	v.Nodes, v.synced = l.Nodes.Snapshot()
	v.synced = v.synced && v.static
	unsynced := ""
	for _, source := range l.Peers {
		peers, synced := source.Snapshot()
		v.Peers = append(v.Peers, peers...)
		switch {
		case synced:
		case source.Denied() != nil:
			v.denied[source.Kind()] = true
		default:
			unsynced = source.Kind() + "s"
		}
	}
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
	case unsynced != "":
		v.waits = "the " + unsynced
	case v.own == nil:
		v.waits = fmt.Sprintf("Node %s, which is this one by --node-name", l.Self.Node)
	}
	return v
}

// mode of a proposal: wg-apply's group may read it.
const mode = 0o640

func (l *Loop) path() string { return filepath.Join(l.Out, l.Self.Interface+".conf") }

// render makes the proposal that v asks for. It is nil if the one on disk must stay, because of what v waits for.
func (l *Loop) render(v *view) (*rendered, error) {
	prev, err := l.onDisk()
	if err != nil {
		return nil, err
	}
	if prev.config == nil { // taken away or spoilt since: that is no reason to forget who holds what
		prev.config = l.held
	}
	if v.waits != "" && (prev.file != nil || prev.config != nil) && !(v.static && withoutNodes(prev.config)) {
		return nil, nil
	}
	in := inputs{v.self, v.Snapshot, v.policy}
	if v.waits != "" {
		// The address must be there before the kubelet starts, and a fragment may be the only way to the cluster.
		in.now.Nodes, in.now.Peers = nil, nil
	}
	in.now.Unread = l.unread(v, prev.config)
	in.now.Met = l.callers(prev.config, v.Met)
	if !l.made.still(in, prev) {
		l.made = l.build(in, prev)
	}
	return l.made, l.made.err
}

// withoutNodes reports whether c owes nothing to any Node: it can be made anew from the flags and the fragments.
func withoutNodes(c *wgquick.Config) bool {
	return c != nil &&
		!slices.ContainsFunc(c.Peers, func(p wgquick.Peer) bool { return p.Origin.Kind != overlay.KindFragment }) &&
		!slices.ContainsFunc(c.Refused, func(r string) bool { return !strings.HasPrefix(r, overlay.KindFragment+"/") })
}

// unread says what is in the proposal, was not seen since the start and may be in what could not be read.
func (l *Loop) unread(v *view, prev *wgquick.Config) (whos []string) {
	for _, n := range v.Nodes {
		l.seen[n.Name] = true
	}
	if prev == nil {
		return nil
	}
	for _, p := range prev.Peers {
		name := p.Origin.Name
		node := p.Origin.Kind == overlay.KindNode && !l.seen[name] && (v.blind || slices.Contains(v.unread, name))
		if node || v.denied[p.Origin.Kind] {
			whos = append(whos, p.Origin.String())
		}
	}
	return whos
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
		return proposal{}, files.Plain(err)
	}
	var b []byte
	if fi.Mode().IsRegular() { // a fifo would be waited for
		if b, err = os.ReadFile(path); err != nil {
			return proposal{}, files.Plain(err)
		}
	}
	l.disk.mode = fi.Mode()
	if l.disk.file != nil && bytes.Equal(b, l.disk.file) {
		return l.disk, nil
	}
	b = append([]byte{}, b...) // not nil, and no larger than it is
	c, err := l.reader.Parse(filepath.Base(path), b)
	if err != nil {
		c = nil
	}
	if l.said.news("disk", text(err)) {
		l.Log.Warn("proposal on disk is of no use; it is made anew without it", "path", path, "err", err)
	}
	l.disk = proposal{b, fi.Mode(), c}
	if c != nil {
		l.held = c
	}
	return l.disk, nil
}

// propose writes r, if it is not what the file held when it was read.
func (l *Loop) propose(r *rendered) error {
	if bytes.Equal(r.file, l.disk.file) && l.disk.mode == mode {
		return nil
	}
	if err := atomicfile.Write(l.path(), r.file, mode); err != nil {
		return files.Plain(err)
	}
	added, removed, changed := compare(r.prev.config, r.config)
	level := slog.LevelInfo
	if was := r.prev.config; was != nil && was.SameMeaning(r.config) && l.disk.mode == mode {
		level = slog.LevelDebug // of its comments alone: who is refused is told as such
	}
	l.disk, l.held, l.changed = r.proposal, r.config, added+removed+changed
	l.Metrics.proposals.Inc()
	l.Log.Log(context.Background(), level, "proposed", "path", l.path(), "peers", len(r.config.Peers), "added", added, "removed", removed, "changed", changed)
	return nil
}

// compare counts the peers that only now has, those that only was has, and those that are not the same in both. was may
// be nil.
func compare(was, now *wgquick.Config) (added, removed, changed int) {
	had := map[wgquick.PublicKey]*wgquick.Peer{}
	if was != nil {
		for i := range was.Peers {
			had[was.Peers[i].PublicKey] = &was.Peers[i]
		}
	}
	removed = len(had)
	for i := range now.Peers {
		p := had[now.Peers[i].PublicKey]
		switch {
		case p == nil:
			added++
			continue
		case !p.SameMeaning(&now.Peers[i]):
			changed++
		}
		removed--
	}
	return added, removed, changed
}

// undisturbed reports whether the proposal on disk is still the one last read or written.
func (l *Loop) undisturbed() bool {
	began := time.Now()
	l.busy.Store(&began)
	defer l.busy.Store(nil)
	was := l.disk
	now, err := l.onDisk()
	return err == nil && now.mode == was.mode && now.file != nil && bytes.Equal(now.file, was.file)
}
