package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"wg-kube/apply/plan"
	"wg-kube/internal/atomicfile"
	"wg-kube/internal/watch"
	"wg-kube/templates/wgquick"
)

// files are the two files of an interface, and what they say. The proposal is looked at only if takesProposals.
type files struct {
	name           string
	path           string // of the file in force
	proposalPath   string
	takesProposals bool
	guard          Guard // but for what a person says, and what was
	past           past
	now, uptime    func() time.Time

	settle         watch.Settler
	inForce        parsed
	proposal       parsed
	inForceReader  wgquick.Reader
	proposalReader wgquick.Reader
}

// parsed is a file that need not be parsed again until it changes.
type parsed struct {
	text
	version version         // of the file, before it was read; zero: it was not there, or is to be read again
	unsure  bool            // the version was so young that the file may have become another one since
	changed bool            // by the last fetch: not parsed yet
	config  *wgquick.Config // nil: there is no file, or it has faults
	err     error
}

func (c Config) files(iface string) *files {
	window := c.ShrinkWindow
	if c.MaxShrink >= 1 {
		window = 0
	}
	allow := Allowed()
	allow.Peers = c.MaxPeers
	return &files{
		name:           iface,
		path:           filepath.Join(c.Dir, iface+".conf"),
		proposalPath:   filepath.Join(c.Proposals, iface+".conf"),
		takesProposals: c.takesProposals(iface),
		guard:          Guard{From: filepath.Join(c.Proposals, iface+".conf"), MaxShrink: c.MaxShrink, MaxPeers: c.MaxPeers, Window: window},
		past:           past{path: filepath.Join(c.RunDir, iface+".past"), window: window},
		now:            c.now,
		uptime:         c.uptime,
		settle:         watch.Settler{Quiet: c.Settle, Moved: c.moved},
		proposalReader: wgquick.Reader{Allow: allow},
	}
}

// read fetches both files and parses them.
func (f *files) read() (wait time.Duration, err error) {
	if wait, err = f.fetch(true); err == nil {
		f.parse()
	}
	return wait, err
}

// fetch reads both files, which are to be parsed then; unless all is set, not one that looks as it did: on some file
// systems the clock is coarse. The error is notYet, and nothing has changed, while the file in force is being written.
// A proposal that is being written is left alone; wait is when to look again.
func (f *files) fetch(all bool) (wait time.Duration, err error) {
	var soon notYet
	err = f.inForce.fetch(all, f.path, versionOf(f.path), &f.settle, readInForce)
	if errors.As(err, &soon) {
		return time.Duration(soon), soon
	}
	if !f.takesProposals {
		return 0, nil
	}
	err = f.proposal.fetch(all, f.proposalPath, versionAt(f.proposalPath), &f.settle, readProposal)
	if errors.As(err, &soon) {
		return time.Duration(soon), nil
	}
	return 0, nil
}

// touched reports whether the file that others write is another one than when it was last read.
func (f *files) touched() bool {
	if f.takesProposals {
		return versionAt(f.proposalPath) != f.proposal.version
	}
	return versionOf(f.path) != f.inForce.version
}

// changed reports whether a file that was fetched is another one than before.
func (f *files) changed() bool { return f.inForce.changed || f.proposal.changed }

// parse reads what the files say that have changed.
func (f *files) parse() {
	f.inForce.parse(f.path, &f.inForceReader)
	f.proposal.parse(f.proposalPath, &f.proposalReader)
}

// readQuiet reads both files when they are quiet.
func (f *files) readQuiet(ctx context.Context) error {
	for {
		wait, _ := f.read()
		if wait == 0 || ctx.Err() != nil {
			return ctx.Err()
		}
		sleep(ctx, wait)
	}
}

// fetch reads the file, which looked like is a moment ago; unless always is set, not if it looks as it did. The error is
// notYet, and nothing has changed, while it is being written.
func (p *parsed) fetch(always bool, path string, is version, settle *watch.Settler, read func(string, *watch.Settler) (*text, error)) error {
	young := is.young()
	if !always && p.hash != "" && is == p.version && is != (version{}) && !p.unsure && !young {
		return nil
	}
	t, err := read(path, settle)
	switch {
	case errors.As(err, new(notYet)):
		return err
	case err != nil:
		*p = parsed{err: err}
	default:
		p.changed = p.hash != t.hash
		p.text = *t
	}
	p.version, p.unsure = is, young
	return nil
}

// parse parses what was taken in, unless it is what was parsed before.
func (p *parsed) parse(name string, r *wgquick.Reader) {
	if p.changed {
		if p.config, p.err = parse(name, p.b, r); p.err != nil {
			p.config = nil
		}
	}
	p.changed, p.b = false, nil // the reader keeps it, if it is of use
}

// missing reports whether there is no file.
func (p *parsed) missing() bool { return errors.Is(p.err, fs.ErrNotExist) }

// faults are those of a file that is there.
func (p *parsed) faults() []string {
	if p.missing() {
		return nil
	}
	return faults(p.err)
}

// draft is what the file in force should be.
type draft struct {
	config  *wgquick.Config
	want    plan.Desired // what it means
	held    []Held
	why     string   // of held; empty: nothing is held anew
	refused []string // what the machine cannot have, or nobody can, and is left out
	b       []byte   // config as a file; nil: not written down yet
	accepts bool     // something that was held goes
	keeps   error    // why nothing goes otherwise; nil: it may

	was [][]wgquick.Peer // what is there that it may cost something: what was in force lately, and last what is
}

// heldWhy is why something is held, where before was the reason so far.
func (d *draft) heldWhy(before string) string {
	if len(d.held) == 0 {
		return ""
	}
	return cmp.Or(d.why, before)
}

// unrecorded is why it is not known what is in force, or was, or why that cannot be kept for the next time. Until it is
// over nothing is taken away from anybody, and what takes nothing away goes on.
type unrecorded struct{ error }

func (u unrecorded) Error() string {
	return u.error.Error() + "; until what was in force can be measured by, nothing of it goes"
}

func (u unrecorded) Unwrap() error { return u.error }

// next drafts the next file in force, as far as files can tell; nil: there is no proposal to make it of. key is the
// interface's own, seen is what a person accepts, and keeps why nothing may go otherwise. was is the last file in force,
// nil if it is not known: where there is none any more, it did not take its peers with it, nor what is held.
func (f *files) next(key wgquick.SecretKey, was *wgquick.Config, seen []Held, keeps error) (*draft, error) {
	if f.proposal.config == nil {
		return nil, nil
	}
	base := &wgquick.Config{}
	switch {
	case f.inForce.missing():
		if was != nil && Ours(was) {
			*base = *was
			base.Interface.PrivateKey = key
		}
	case f.inForce.config == nil:
		return nil, fmt.Errorf("%s: waits until %s can be read", f.proposalPath, f.path)
	case !Ours(f.inForce.config):
		return nil, fmt.Errorf("%s: not taken: %s was made by hand, and is not overwritten. Remove it, or take the interface out of --proposed",
			f.proposalPath, f.path)
	default:
		*base = *f.inForce.config
	}
	if base.Interface.PrivateKey.IsZero() {
		base.Interface.PrivateKey = key
	}
	d, g := &draft{keeps: keeps}, f.guard
	var err error
	if g.Past, err = f.past.at(f.inForce.hash, f.uptime()); err != nil {
		d.keeps = unrecorded{err}
	}
	proposal, refused := butOurselves(f.proposal.config, base.Interface.PrivateKey)
	d.refused = faultLines(inFile(f.proposalPath, refused))
	if len(seen) > 0 {
		if base, d.accepts = accepted(base, proposal, seen); d.accepts {
			g.Past = nil
		}
	}
	d.was = append(slices.Clip(g.Past), base.Peers)
	g.Keep, g.Now = d.keeps != nil, f.now()
	d.config, d.held, d.why, err = Promote(base, proposal, g)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// letGo takes out of what is held what the machine cannot have, and is no longer in the file for that: wg-quick could
// not bring it up.
func (d *draft) letGo(proposal string) {
	has := make(map[wgquick.PublicKey][]netip.Prefix, len(d.config.Peers))
	for _, p := range d.config.Peers {
		has[p.PublicKey] = p.AllowedIPs
	}
	var still []Held
	for _, h := range d.held {
		prefixes, stays := has[h.PublicKey]
		here, left, gone := set(prefixes), h, h
		left.Prefixes, gone.Prefixes = nil, nil
		for _, a := range h.Prefixes {
			if here[a] {
				left.Prefixes = append(left.Prefixes, a)
			} else {
				gone.Prefixes = append(gone.Prefixes, a)
			}
		}
		if !stays || len(gone.Prefixes) > 0 {
			d.refused = append(d.refused, fmt.Sprintf("%s: %s: was held, and is let go: this machine cannot have it", proposal, gone))
		}
		if stays && len(gone.Prefixes) < max(1, len(h.Prefixes)) {
			still = append(still, left)
		}
	}
	d.held = still
}

// writeDown gives a draft the form of a file, if that is one that can be read again: it is larger than the proposal.
func (f *files) writeDown(d *draft) (err error) {
	if d.b, d.config, err = f.inForceReader.Marshal(d.config); err != nil {
		return fmt.Errorf("%s: %w", f.proposalPath, err)
	}
	if len(d.b) > wgquick.MaxSize {
		return fmt.Errorf("%s: not taken: with what is held the file in force has %d bytes, more than the %d that are read",
			f.proposalPath, len(d.b), wgquick.MaxSize)
	}
	return nil
}

// write puts a draft in force, and reports whether that changed a byte. A link that stands at the path stays. A draft
// that takes something away is not written while that is unrecorded, unless keeps is set, and none over a file that
// somebody has written since it was read.
func (f *files) write(d *draft) (changed bool, err error) {
	was, h := f.inForce.config, hash(d.b)
	if h == f.inForce.hash {
		return false, recorded(f.past.save())
	}
	path, err := f.target()
	if err != nil {
		return false, err
	}
	switch {
	case was == nil:
	case d.accepts:
		if err := f.past.void(h); err != nil {
			return false, err
		}
	default:
		err = recorded(f.past.leave(f.inForce.hash, was.Peers, f.uptime()))
		if err != nil && d.keeps == nil && len(takenBy(d.config).from(was.Peers)) > 0 {
			return false, err
		}
	}
	if versionOf(f.path) != f.inForce.version { // it may be a person's by now
		return false, unseen{fmt.Errorf("%s: changed while the proposal was compared with it: not written", f.path)}
	}
	if err := atomicfile.Write(path, d.b, 0o600); err != nil {
		return false, err
	}
	f.inForce = parsed{text: text{hash: h, mode: 0o600}, config: d.config}
	if d.accepts {
		f.past.forget()
	}
	return true, err
}

// recorded is err as that of the past.
func recorded(err error) error {
	if err != nil {
		return unrecorded{err}
	}
	return nil
}

// target is where the file in force is written: at its path, or where a link that stands there leads.
func (f *files) target() (string, error) {
	path, err := filepath.EvalSymlinks(f.path)
	if to, noLink := os.Readlink(f.path); err != nil && noLink == nil {
		return "", fmt.Errorf("%s: a link to %s, where nothing is: not written. Remove the link, or bring back what it leads to", f.path, to)
	}
	if err != nil {
		return f.path, nil
	}
	return path, nil
}

// tidy removes what a killed write of the file in force has left: it holds the private key. The interface is locked.
func (f *files) tidy() error {
	path, err := f.target()
	if err != nil {
		return nil // nothing was written there
	}
	return atomicfile.RemoveLeftovers(path)
}

// stamp tells one state of the files that others change from another. What is written beside them, also by a look of
// ours that takes it away again when it fails, is no other state. But one that is so young that another may follow at
// the same tick of the clock is like no other.
func (i *iface) stamp() (now [6]version) {
	now = [6]version{versionOf(i.files.path), versionAt(i.files.proposalPath), versionOf(i.downFile(i.name)),
		versionOf(i.PrivateKeyFile), versionOf(i.RunDir)}
	for n := range now {
		if now[n].young() {
			now[n].changed = time.Now()
		}
	}
	if isThere(i.statusFile(i.name)) { // which is ours alone: what counts is that nobody takes it away
		now[5].ino = 1
	}
	return now
}

// tick is longer than any of a clock that files are stamped by.
const tick = 20 * time.Millisecond

// version tells one state of a file, or a folder, from another. The zero value: it is not there.
type version struct {
	ino     uint64
	size    int64     // of a folder: zero
	changed time.Time // of a folder: zero
}

// versionOf is that of what path leads to.
func versionOf(path string) version { return versionBy(os.Stat(path)) }

// versionAt is that of what stands at path, be it a link. Where strangers write no link is followed: it may lead to what
// does not answer, and whoever put it there would see from the status whether something is where it leads.
func versionAt(path string) version { return versionBy(os.Lstat(path)) }

func versionBy(fi fs.FileInfo, err error) version {
	if err != nil {
		return version{}
	}
	st := fi.Sys().(*syscall.Stat_t)
	if fi.IsDir() {
		return version{ino: st.Ino}
	}
	return version{st.Ino, st.Size, time.Unix(st.Ctim.Unix())}
}

// young reports whether another state may follow that looks the same.
func (v version) young() bool { return !v.changed.IsZero() && time.Since(v.changed) < tick }
