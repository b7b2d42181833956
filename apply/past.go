package apply

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"wg-kube/internal/atomicfile"
	"wg-kube/templates/status"
	"wg-kube/templates/wgquick"
)

// past is what was in force within a window: many small removals, one after the other, are measured like a great one,
// and what came a moment ago does not make what was there before any less.
//
// Not every file is kept. One is when it ceases to be in force, if the one kept before it is half a window old, or if
// it has a quarter more peers or prefixes than any that is kept. It counts for a window and a half. So a removal counts
// for a window at least, and there are no more than a few to measure. They are on disk as well, in /run: commands that
// come and go go by them, and a wg-apply that is started again. Once a person has accepted something there is no past.
//
// A file is named by its hash. The clock is one that nobody sets; what it would have yet to come is of another boot.
type past struct {
	path    string
	window  time.Duration // zero: there is none
	most    int           // bytes that moments may take on disk; zero: mostPast
	moments []moment      // the oldest first
	voidBy  string        // the file in force that makes them count no more; empty: there is none
	read    fs.FileInfo   // of the file, when it was last read or written; nil: there was none
	behind  bool          // the file does not say this yet
}

// moment is the peers of a file in force.
type moment struct {
	until time.Time
	peers []wgquick.Peer // only who they are, and their prefixes
}

// at is what counts now, with that file in force. What would be yet to come has just been.
func (p *past) at(inForce string, now time.Time) (all [][]wgquick.Peer, err error) {
	if p.window == 0 {
		return nil, nil
	}
	if err := p.reread(); err != nil {
		return nil, err
	}
	if p.voidBy != "" {
		if p.voidBy == inForce {
			p.moments = nil
		}
		p.voidBy, p.behind = "", true
	}
	for i := range p.moments {
		if m := &p.moments[i]; m.until.After(now) {
			m.until, p.behind = now, true
		}
	}
	p.moments = slices.DeleteFunc(p.moments, func(m moment) bool { return now.Sub(m.until) > p.window*3/2 })
	for _, m := range p.moments {
		all = append(all, m.peers)
	}
	return all, nil
}

// reread reads what another command has written, or taken away. What we could not have written is of no use to anybody.
func (p *past) reread() error {
	fi, err := os.Lstat(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && (!fi.Mode().IsRegular() || fi.Size() > 2*mostPast):
		if p.read != nil {
			*p = p.anew()
		}
		return nil
	case err != nil:
		return plain(p.path, err)
	case p.read != nil && os.SameFile(fi, p.read) && fi.Size() == p.read.Size() && fi.ModTime().Equal(p.read.ModTime()):
		return nil
	}
	b, err := os.ReadFile(p.path)
	if err != nil {
		return plain(p.path, err)
	}
	was, _ := status.ParsePast(p.path, b)
	*p = p.anew()
	p.read = fi
	for _, w := range was {
		if w.VoidBy != "" {
			p.voidBy = w.VoidBy
			break
		}
		m := moment{w.Until, make([]wgquick.Peer, len(w.Peers))}
		for i, peer := range w.Peers {
			m.peers[i] = wgquick.Peer{PublicKey: peer.PublicKey, Origin: peer.Origin, AllowedIPs: peer.AllowedIPs}
		}
		p.moments = append(p.moments, m)
	}
	return nil
}

// anew is p before anything was.
func (p *past) anew() past { return past{path: p.path, window: p.window, most: p.most} }

// leave keeps the peers of a file that is about to be replaced, if it is to be kept. What could not be written is still
// known, and written with what comes next, or by save. What would be too much is not kept, and is an error until some of
// it is over: nothing that was is forgotten to make room for a crowd.
func (p *past) leave(inForce string, peers []wgquick.Peer, now time.Time) error {
	if _, err := p.at(inForce, now); err != nil || p.window == 0 {
		return err
	}
	if p.tells(peers, now) {
		m := moment{now, make([]wgquick.Peer, len(peers))} // also what is held: it may come back, and go again
		for i := range peers {
			m.peers[i] = wgquick.Peer{PublicKey: peers[i].PublicKey, Origin: peers[i].Origin, AllowedIPs: peers[i].AllowedIPs}
		}
		behind := p.behind
		p.moments, p.behind = append(p.moments, m), true
		b, err := p.marshal()
		if most := cmp.Or(p.most, mostPast); err == nil && len(b) > most {
			p.moments, p.behind = p.moments[:len(p.moments)-1], behind
			return fmt.Errorf("%s: too many and too long for the %d bytes that are kept of what was in force", p.path, most)
		}
	}
	return p.save()
}

// void has nothing count any more as soon as the file with that hash is in force, and not before. at has been called.
func (p *past) void(by string) error {
	if len(p.moments) > 0 {
		p.voidBy, p.behind = by, true
	}
	return p.save()
}

// save writes what the file does not say yet.
func (p *past) save() error {
	if !p.behind {
		return nil
	}
	b, err := p.marshal()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(p.path, b, 0o640); err != nil {
		return err
	}
	p.behind = false
	p.read, err = os.Lstat(p.path)
	return err
}

// marshal is what the file should say.
func (p *past) marshal() ([]byte, error) {
	var was status.Past
	for _, m := range p.moments {
		w := status.Moment{Until: m.until.UTC(), Peers: make([]status.Was, len(m.peers))}
		for i := range m.peers {
			w.Peers[i] = status.Was{PublicKey: m.peers[i].PublicKey, Origin: m.peers[i].Origin, AllowedIPs: m.peers[i].AllowedIPs}
		}
		was = append(was, w)
	}
	if p.voidBy != "" {
		was = append(was, status.Moment{VoidBy: p.voidBy})
	}
	return was.Marshal()
}

// mostPast is how large the file may be, in bytes: that of the most peers that there may be is less than half of it.
const mostPast = 1 << 26

// tells reports whether these peers tell more of the past than what is kept.
func (p *past) tells(peers []wgquick.Peer, now time.Time) bool {
	if n := len(p.moments); n == 0 || now.Sub(p.moments[n-1].until) >= p.window/2 {
		return len(peers) > 0
	}
	var most, mostPrefixes int
	for _, m := range p.moments {
		most, mostPrefixes = max(most, len(m.peers)), max(mostPrefixes, prefixes(m.peers))
	}
	return len(peers) > most*5/4 || prefixes(peers) > mostPrefixes*5/4
}

// prefixes is how many all peers have together.
func prefixes(peers []wgquick.Peer) (n int) {
	for i := range peers {
		n += len(peers[i].AllowedIPs)
	}
	return n
}

// forget begins anew. void has been called, so it does no harm if the file stays.
func (p *past) forget() {
	*p = p.anew()
	_ = os.Remove(p.path)
}
