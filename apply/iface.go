package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"wg-kube/apply/plan"
	"wg-kube/internal/atomicfile"
	"wg-kube/templates/status"
	"wg-kube/templates/wgquick"
)

// iface is one interface: its files, its device, and what is known of both. All that happens to it is one look
// after the other.
type iface struct {
	Config
	name  string
	log   *slog.Logger
	files *files
	names *names
	wait  time.Duration // for the first answers about names; zero: a look goes on without them
	quiet silence

	othersUp func() bool // the files in force of other interfaces are in effect, as far as they can be

	status   status.Status // as it was last to be written, by us, or was by another command
	written  fs.FileInfo   // of the status file then; nil: not read or written yet
	tidied   bool          // nothing is left of what was killed before we began
	promoted promotion
	meaning  meaning
	observed func() (plan.Live, error) // what was read of the device ahead of its turn; nil: nothing
	right    bool                      // at the last look at the device it was as the file in force says
	half     bool                      // the last plan stopped half way: what differs may be our own doing
	voice    voice
	silent   bool            // the caller has it from the look
	gone     time.Time       // since when the file in force is missing; zero: it is there, or never was
	was      *wgquick.Config // the last file in force that could be read, for when it is gone; nil: none since we began
	failed   failure
	around   around
}

// promotion is a proposal and a file in force that have been compared, by hash, and what came of it.
type promotion struct {
	proposal, inForce string
	resolved          map[string]netip.AddrPort // the names in the proposal
	held              []Held
	why               string   // of held; empty: it is not known any more
	refused           []string // what the machine cannot have of the proposal
	err               error
}

// again reports whether a and b compare the same.
func (a promotion) again(b promotion) bool {
	return a.proposal == b.proposal && a.inForce == b.inForce && maps.Equal(a.resolved, b.resolved)
}

// look is what came of one look.
type look struct {
	status  status.Status
	again   time.Duration // when to look again, for a file is being written or a deadline is near; zero: no need
	early   bool          // nothing was done: the file in force is being written, or somebody else is at work
	changed bool          // the files are not what they were
	idle    bool          // the files are what they were, and the device was not looked at
	took    time.Duration
	peers   int                // in the file in force
	steps   int                // done
	drift   bool               // though the file has not changed
	repairs kinds              // the steps done, if it was drift
	live    *plan.Live         // nil: the device was not looked at
	refused [len(refusals)]int // lines of the status, each of a file and for a reason
	err     error              // why it has to be tried again
}

func (c Config) newIface(name string, wake func()) *iface {
	files := c.files(name)
	i := &iface{
		Config:   c,
		name:     name,
		log:      c.Log.With("iface", name),
		files:    files,
		names:    &names{file: files.path, lookup: c.lookup(), wake: wake},
		quiet:    silence{},
		othersUp: func() bool { return true },
		status:   status.Status{Interface: name},
	}
	i.voice = newVoice(i.log, c.now)
	i.remembered()
	i.promoted.held, i.promoted.why = i.status.Held, i.status.HeldWhy
	i.names.last = resolvedBefore(i.status.Peers)
	return i
}

// look reads the files, promotes the proposal, and makes the device what the file in force says. Unless device is
// set, a device that was right is looked at only if the file has changed.
func (i *iface) look(ctx context.Context, device bool) look {
	if ctx.Err() != nil {
		return look{status: i.status, early: true}
	}
	waiting, cancel := context.WithTimeoutCause(ctx, lockWait, errors.New("for too long"))
	defer cancel()
	unlock, err := lock(waiting, i.lockFile(i.name))
	if err != nil {
		l := look{status: i.status, early: true}
		l.fail(err)
		if !i.silent && ctx.Err() == nil {
			i.voice.say(l.status, nil)
		}
		return l
	}
	defer unlock()
	i.tidy()
	i.observed = nil
	if device || i.files.touched() {
		i.observe(ctx) // while the files are read
	}
	wait, err := i.files.fetch(device)
	if err != nil { // the file in force is being written
		if i.observed != nil {
			_, _ = i.observed() // it is in the way of the next one
		}
		return look{status: i.status, again: wait, early: true}
	}
	changed := i.files.changed()
	if changed && i.observed == nil {
		i.observe(ctx) // while the files are parsed
	}
	i.files.parse()
	i.remembered()
	before := i.status
	l := look{again: wait, changed: changed, status: status.Status{
		Interface: i.name,
		PublicKey: before.PublicKey,
		Proposed:  i.files.proposal.hash,
		Applied:   before.Applied,
		DNS:       before.DNS,
		Peers:     before.Peers,
	}}
	i.all(ctx, &l, device)
	if ctx.Err() != nil && l.steps == 0 { // told to stop before it was done: no fault of the files or the device
		return look{status: i.status, early: true}
	}
	err = i.save(l.status)
	if !i.silent {
		i.voice.say(l.status, err)
	}
	l.err = cmp.Or(l.err, err)
	l.idle = !changed && l.err == nil && l.live == nil
	return l
}

// all is the way from the files to the device.
func (i *iface) all(ctx context.Context, l *look, device bool) {
	inForce := &i.files.inForce
	i.names.ask(ctx, inForce.config, i.files.proposal.config)
	if i.wait > 0 {
		i.names.first(ctx, i.wait)
	}
	if i.files.takesProposals {
		if key, err := i.publishKey(ctx, l); err != nil {
			l.fail(err)
		} else {
			i.promote(ctx, l, key, device)
		}
	} else if i.silent { // a person who did not say --proposed: what a daemon has said of the proposal stays
		l.status.Proposed = i.status.Proposed
		if l.status.Held = i.files.held(i.status); len(l.status.Held) > 0 {
			l.status.HeldWhy = i.status.HeldWhy
		}
	}
	if ctx.Err() != nil {
		return
	}
	l.refuse(badProposal, i.files.proposal.faults())
	l.refuse(badFile, inForce.faults())
	switch {
	case inForce.missing():
		i.missing(ctx, l)
		return
	case inForce.config == nil:
		return
	}
	i.gone, i.was = time.Time{}, inForce.config
	l.status.InForce = inForce.hash
	l.peers = len(inForce.config.Peers)
	if key := inForce.config.Interface.PrivateKey; !key.IsZero() {
		l.status.PublicKey = key.Public()
	}
	l.status.Warnings = append(l.status.Warnings, i.notDone(i.files.path, inForce)...)
	if _, err := os.Lstat(i.downFile(i.name)); err == nil {
		l.status.Warnings = append(l.status.Warnings, "down, because somebody said so; up again with: wg-apply once "+i.name)
		l.status.Applied = ""
		i.right = false
		return
	}
	if device || !i.right || l.status.Applied != inForce.hash {
		i.right = false
		i.device(ctx, l)
	}
	if i.meaning.hash == inForce.hash {
		l.refuse(notForFile, i.meaning.refused)
		if len(i.meaning.refused) > 0 && !Ours(inForce.config) {
			l.status.Warnings = append(l.status.Warnings, i.files.path+
				": the machine could not have all of it any more; as it was in use before, it is kept up")
		}
	}
	l.status.Warnings = append(l.status.Warnings, i.around.hints...)
	if _, unknown := i.names.resolved(inForce.config); i.right {
		l.status.Errors = append(l.status.Errors, unknown...)
	}
}

// publishKey makes sure that there is a private key. Its public half is published at once: others wait for it, and
// need nothing else.
func (i *iface) publishKey(ctx context.Context, l *look) (wgquick.SecretKey, error) {
	key, err := i.key(ctx, i.files, l.status.PublicKey)
	if err != nil || key.IsZero() || i.status.PublicKey == key.Public() {
		return key, err
	}
	l.status.PublicKey = key.Public()
	early := i.status
	early.PublicKey = key.Public()
	_ = i.save(early) // where that fails, so does it at the end of the look
	return key, nil
}

// refuse says what is wrong with one of the files, and counts it.
func (l *look) refuse(refusal int, lines []string) {
	l.status.Refused = append(l.status.Refused, lines...)
	l.refused[refusal] += len(lines)
}

// fail says why the device is not as it should be, and asks for another try.
func (l *look) fail(err error) {
	l.status.Errors = slices.Concat(l.status.Errors, faults(err)) // the former may be those of the last look
	l.err = err
}

// remembered reads the status that another command has written since.
func (i *iface) remembered() {
	fi, err := os.Stat(i.statusFile(i.name))
	if err != nil || i.written != nil && os.SameFile(fi, i.written) && fi.ModTime().Equal(i.written.ModTime()) {
		return
	}
	s, err := i.ReadStatus(i.name)
	if err != nil {
		i.log.Warn("what was remembered is lost", "err", err)
		return
	}
	i.status, i.written = s, fi
}

// save writes the status. What cannot be written we know all the same.
func (i *iface) save(s status.Status) error {
	i.status = s
	if err := i.writeStatus(s); err != nil {
		return err
	}
	i.written, _ = os.Stat(i.statusFile(i.name))
	return nil
}

// tidy removes, once, what was left by one of us that was killed in the middle of writing: it may hold a secret.
func (i *iface) tidy() {
	if i.tidied {
		return
	}
	i.tidied = true
	err := errors.Join(i.files.tidy(), i.Keys(i.name).tidy(),
		atomicfile.RemoveLeftovers(i.statusFile(i.name)), atomicfile.RemoveLeftovers(i.files.past.path), atomicfile.RemoveLeftovers(i.downFile(i.name)))
	if err != nil {
		i.log.Warn("note", "err", err)
	}
}

// promote puts the proposal in force, as far as the guards and the machine let it.
func (i *iface) promote(ctx context.Context, l *look, key wgquick.SecretKey, device bool) {
	f := i.files
	now := promotion{proposal: f.proposal.hash, inForce: f.inForce.hash}
	if f.proposal.config != nil {
		now.resolved, _ = i.names.resolved(f.proposal.config)
	}
	leftOut := len(i.promoted.refused) + len(i.meaning.refused)
	unanswered := i.names.unanswered(f.proposal.config)
	switch {
	case f.inForce.config != nil && i.wait == 0 && unanswered > 0:
		// In seconds it will show whether a claim swallows the peer with that name. Until then what works stays.
		l.again = cmp.Or(min(l.again, unanswered), unanswered)
	case f.inForce.config != nil && !i.othersUp():
		// What is in force comes up first, everywhere: no claim that was refused for a route of another interface is to
		// have it for being quicker at a boot.
		l.again = cmp.Or(min(l.again, othersCheck), othersCheck)
	case f.proposal.config == nil, i.promoted.err != nil, !now.again(i.promoted), device && leftOut > 0:
		i.promoted = i.tryPromote(ctx, key, now, nil)
	}
	l.status.Held, l.status.HeldWhy = i.promoted.held, i.promoted.why
	l.refuse(notForProposal, i.promoted.refused)
	if errors.As(i.promoted.err, new(syscall.Errno)) || errors.As(i.promoted.err, new(unseen)) { // no fault of the proposal
		l.fail(i.promoted.err)
		return
	}
	why := unguarded
	if errors.As(i.promoted.err, new(wgquick.Faults)) {
		why = notForProposal
	}
	l.refuse(why, faults(i.promoted.err))
}

// tryPromote is promote, whatever came of it before. now is what there is to compare, and keeps why nothing may go.
func (i *iface) tryPromote(ctx context.Context, key wgquick.SecretKey, now promotion, keeps error) promotion {
	f, was := i.files, i.promoted
	now.held, now.why = i.status.Held, i.status.HeldWhy
	next, err := i.draft(ctx, key, nil, keeps)
	if err = cmp.Or(err, ctx.Err()); err != nil || next == nil {
		now.err = err
		return now
	}
	now.held, now.why, now.refused = next.held, next.heldWhy(now.why), next.refused
	if was.err == nil && now.again(was) && slices.Equal(now.refused, was.refused) {
		return was // the machine has not changed either
	}
	var changed bool
	before := f.inForce.config
	if err = f.writeDown(next); err == nil {
		changed, err = f.write(next)
	}
	if keeps == nil && !changed && errors.As(err, new(unrecorded)) {
		return i.tryPromote(ctx, key, now, err)
	}
	if changed {
		if len(next.refused) == 0 {
			i.meaning = meaning{hash: f.inForce.hash, resolved: now.resolved, want: next.want, at: i.now()}
		}
		level := slog.LevelInfo
		if before != nil && before.SameMeaning(next.config) && len(next.held) == 0 && len(i.status.Held) == 0 {
			level = slog.LevelDebug // of its comments alone, and wg-render has told what they tell
		}
		i.voice.tell(level, "promoted", 1, func(int) []any {
			return []any{"path", f.path, "peers", len(next.config.Peers), "held", len(next.held), "refused", len(next.refused)}
		})
		if before != nil {
			i.voice.replaced(before.Peers, next.config.Peers)
		}
	}
	now.inForce, now.err = f.inForce.hash, cmp.Or(err, next.keeps)
	return now
}

// keepPort leaves the port in force in next, if somebody else has the one that is proposed: at the next boot we might be
// quicker, and an interface that a person made would lack it. One that we may not ask for is let pass.
func (i *iface) keepPort(ctx context.Context, next *draft) {
	port, was := next.config.Interface.ListenPort, i.files.inForce.config
	if port == 0 || was == nil || was.Interface.ListenPort == port {
		return
	}
	c, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
	switch {
	case err == nil:
		_ = c.Close()
	case errors.Is(err, syscall.EADDRINUSE) && !i.listensOn(ctx, port):
		next.config.Interface.ListenPort = was.Interface.ListenPort
		next.refused = append(next.refused, wgquick.Fault{File: i.files.proposalPath, Line: next.config.Interface.Line,
			Section: "Interface", Key: "ListenPort", Msg: fmt.Sprintf("%d: another socket has it; the one in force stays", port)}.Error())
	}
}

// listensOn reports whether our own device has the port: of a file without one it has any.
func (i *iface) listensOn(ctx context.Context, port uint16) bool {
	if i.observed == nil {
		i.observe(ctx)
	}
	live, err := i.observed()
	return err == nil && live.ListenPort == port
}

// draft drafts the next file in force, as next does. What the machine cannot have is left out of it.
func (i *iface) draft(ctx context.Context, key wgquick.SecretKey, seen []Held, keeps error) (*draft, error) {
	next, err := i.files.next(key, i.was, seen, keeps)
	if err != nil || next == nil {
		return nil, err
	}
	i.keepPort(ctx, next)
	resolved, unknown := i.names.resolved(next.config)
	most, err := i.means(ctx, next.config, next.was, resolved, i.files.proposalPath)
	if err != nil {
		return nil, err
	}
	next.config, next.want, next.refused = most.Config, most.Want, append(next.refused, faultLines(most.Refused)...)
	if len(most.Refused) > 0 {
		next.letGo(i.files.proposalPath)
	}
	if len(unknown) > 0 {
		markUnjudged(next.config.Peers, next.was[len(next.was)-1])
	}
	return next, nil
}
