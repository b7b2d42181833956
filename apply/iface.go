package apply

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"wg-kube/apply/plan"
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
	quiet silence

	status   status.Status // as it was last written, by us or by another command
	written  fs.FileInfo   // of the status file then; nil: not read or written yet
	promoted promotion
	meaning  meaning
	right    bool // at the last look at the device it was as the file in force says
	half     bool // the last plan stopped half way: what differs may be our own doing
	said     said
	silent   bool            // the caller has it from the look
	gone     time.Time       // since when the file in force is missing; zero: it is there, or never was
	was      *wgquick.Config // the last file in force that could be read, for when it is gone; nil: none since we began
	failed   failure
	around   around
}

// promotion is a proposal and a file in force that have been compared, by hash, and what came of it.
type promotion struct {
	proposal, inForce string
	held              []Held
	err               error
}

// look is what came of one look.
type look struct {
	status status.Status
	again  time.Duration // when to look again, for a file is being written or a deadline is near; zero: no need
	early  bool          // nothing was done: the file in force is being written, or somebody else is at work
	peers  int           // in the file in force
	steps  int           // done
	drift  bool          // though the file has not changed
	live   *plan.Live    // nil: the device was not looked at
	err    error         // why it has to be tried again
}

func (c Config) newIface(name string, wake func()) *iface {
	files := c.files(name)
	i := &iface{
		Config: c,
		name:   name,
		log:    c.Log.With("iface", name),
		files:  files,
		names:  &names{file: files.path, lookup: c.lookup(), wake: wake},
		quiet:  silence{},
		status: status.Status{Interface: name},
	}
	i.remembered()
	return i
}

// look reads the files, promotes the proposal, and makes the device what the file in force says. Unless device is
// set, a device that was right is looked at only if the file has changed.
func (i *iface) look(ctx context.Context, device bool) look {
	waiting, cancel := context.WithTimeoutCause(ctx, lockWait, errors.New("for too long"))
	defer cancel()
	unlock, err := lock(waiting, i.lockFile(i.name))
	if err != nil {
		if !i.silent {
			i.log.Error("nothing is done", "err", err)
		}
		return look{status: i.status, early: true, err: err}
	}
	defer unlock()
	wait, err := i.files.read()
	if err != nil { // the file in force is being written
		return look{status: i.status, again: wait, early: true}
	}
	i.remembered()
	before := i.status
	l := look{again: wait, status: status.Status{
		Interface: i.name,
		PublicKey: before.PublicKey,
		Proposed:  i.files.proposal.hash,
		Applied:   before.Applied,
		DNS:       before.DNS,
		Peers:     before.Peers,
	}}
	i.all(ctx, &l, device)
	if ctx.Err() != nil && l.err != nil && l.steps == 0 { // told to stop before it was done: no fault of the device
		return look{status: i.status, early: true}
	}
	if !i.silent {
		i.said.say(i.log, l.status)
	}
	if err := i.save(l.status); err != nil {
		i.log.Error("the status is not written", "err", err)
		l.err = cmp.Or(l.err, err)
	}
	return l
}

// all is the way from the files to the device.
func (i *iface) all(ctx context.Context, l *look, device bool) {
	if i.files.takesProposals {
		if key, err := i.publishKey(l); err != nil {
			l.fail(err)
		} else {
			i.promote(ctx, l, key)
		}
	}
	inForce := &i.files.inForce
	l.status.Refused = append(l.status.Refused, i.files.proposal.faults()...)
	l.status.Refused = append(l.status.Refused, inForce.faults()...)
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
	l.status.Warnings = append(l.status.Warnings, i.around.hints...)
	if _, unknown := i.names.resolved(inForce.config); i.right {
		l.status.Errors = append(l.status.Errors, unknown...)
	}
}

// publishKey makes sure that there is a private key. Its public half is published at once: others wait for it, and
// need nothing else.
func (i *iface) publishKey(l *look) (wgquick.SecretKey, error) {
	key, err := i.key(i.files, l.status.PublicKey)
	if err != nil || key.IsZero() || i.status.PublicKey == key.Public() {
		return key, err
	}
	l.status.PublicKey = key.Public()
	early := i.status
	early.PublicKey = key.Public()
	return key, i.save(early)
}

// fail says why the device is not as it should be, and asks for another try.
func (l *look) fail(err error) {
	l.status.Errors = append(l.status.Errors, faults(err)...)
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

func (i *iface) save(s status.Status) error {
	if err := i.writeStatus(s); err != nil {
		return err
	}
	i.status = s
	i.written, _ = os.Stat(i.statusFile(i.name))
	return nil
}

// promote puts the proposal in force, as far as the guards let it.
func (i *iface) promote(ctx context.Context, l *look, key wgquick.SecretKey) {
	f := i.files
	if f.proposal.config == nil || f.proposal.hash != i.promoted.proposal || f.inForce.hash != i.promoted.inForce || i.promoted.err != nil {
		i.promoted = i.tryPromote(ctx, key)
	}
	l.status.Held = i.promoted.held
	l.status.Refused = append(l.status.Refused, faults(i.promoted.err)...)
}

func (i *iface) tryPromote(ctx context.Context, key wgquick.SecretKey) promotion {
	f := i.files
	next, err := f.next(key, false)
	if err == nil && next != nil {
		err = i.accepted(ctx, next.config)
	}
	if err != nil || next == nil {
		return promotion{f.proposal.hash, f.inForce.hash, i.status.Held, err}
	}
	changed, err := f.write(next)
	if changed {
		i.log.Info("promoted", "path", f.path, "peers", len(next.config.Peers), "held", len(next.held))
	}
	return promotion{f.proposal.hash, f.inForce.hash, next.held, err}
}

// accepted is the last word on a proposal before it is put in force: what it means must be possible here.
func (i *iface) accepted(ctx context.Context, next *wgquick.Config) error {
	resolved, _ := i.names.resolved(next)
	_, err := i.means(ctx, next, resolved, i.files.proposalPath)
	return err
}
