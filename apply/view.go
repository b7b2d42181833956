package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"wg-kube/apply/plan"
	"wg-kube/templates/status"
	"wg-kube/templates/wgquick"
)

// View is one interface as "wg-apply status" shows it: what was last written of it, brought up to date as far as the
// caller may look, and the device as it is now.
type View struct {
	status.Status
	Down      bool     `json:"down,omitempty"`      // somebody said so
	Changes   *int     `json:"changes,omitempty"`   // steps from the device to its file, as in a plan; nil: it cannot be told
	LeftOut   []string `json:"leftOut,omitempty"`   // whom wg-render refused, and why, as the proposal says
	Live      *Device  `json:"live,omitempty"`      // nil: there is no device, or LiveError
	LiveError string   `json:"liveError,omitempty"` // why the device could not be read
}

// ErrNoInterface is the error of a name that is nothing's.
var ErrNoInterface = errors.New("no such interface: there is neither a file for it nor a device")

// Device is a live device, without its secrets.
type Device struct {
	Userspace  bool           `json:"userspace,omitempty"`
	Up         bool           `json:"up"`
	MTU        int            `json:"mtu"`
	ListenPort uint16         `json:"listenPort"`
	FwMark     uint32         `json:"fwMark,omitempty"`
	Addresses  []netip.Prefix `json:"addresses"`
	Peers      []LivePeer     `json:"livePeers"`
}

// LivePeer is a peer of a live device.
type LivePeer struct {
	PublicKey     wgquick.PublicKey `json:"publicKey"`
	Name          string            `json:"name,omitempty"`
	Endpoint      netip.AddrPort    `json:"endpoint,omitzero"`
	AllowedIPs    []netip.Prefix    `json:"allowedIPs"`
	LastHandshake time.Time         `json:"lastHandshake,omitzero"`
	RxBytes       int64             `json:"rxBytes"`
	TxBytes       int64             `json:"txBytes"`
}

// View reads what there is to know of an interface, as far as the caller may. It changes nothing.
func (c Config) View(ctx context.Context, name string) (View, error) {
	s, err := c.ReadStatus(name)
	if err != nil {
		return View{}, err
	}
	i := c.newIface(name, func() {})
	f := i.files
	f.takesProposals = true // for now: it is looked at
	if err := f.readQuiet(ctx); err != nil {
		return View{}, err
	}
	live, err := c.System.Observe(ctx, name)
	switch {
	case err == nil && !live.Exists && !c.takesProposals(name) && f.inForce.missing() && f.proposal.missing() && !isThere(c.Keys(name).Dir):
		return View{}, fmt.Errorf("%s: %w", name, ErrNoInterface)
	case errors.Is(f.inForce.err, fs.ErrPermission) && saysNothing(s):
		return View{}, f.inForce.err
	}
	v := View{Status: s, Down: isThere(c.downFile(name))}
	i.viewFiles(ctx, &v)
	if err != nil {
		v.LiveError = err.Error()
		return v, nil
	}
	if live.Exists {
		i.viewDevice(ctx, &v, live)
	}
	return v, nil
}

// viewFiles brings v up to date with the files.
func (i *iface) viewFiles(ctx context.Context, v *View) {
	f := i.files
	inForce := f.inForce.config
	ours := inForce != nil && Ours(inForce)
	// Whoever asks need not say --proposed again. That a file was written from a proposal once tells only that
	// somebody may have taken it over by hand since.
	f.takesProposals = i.takesProposals(i.name) || v.Proposed != "" || ours && saysNothing(v.Status)
	if f.takesProposals && f.proposal.config != nil {
		v.LeftOut = passedOn(f.proposal.config.Refused)
	}
	if f.proposal.missing() && ours {
		v.Warnings = append(v.Warnings, f.proposalPath+": there is no such proposal; the interface stays as it is")
	}
	if errors.Is(f.inForce.err, fs.ErrPermission) {
		return // the status has the last word
	}
	was := v.Status
	v.InForce, v.Proposed, v.Waiting = "", "", ""
	if inForce != nil {
		v.InForce = f.inForce.hash
	}
	if f.takesProposals {
		v.Proposed = f.proposal.hash
	}
	if v.InForce != was.InForce || v.Proposed != was.Proposed {
		v.Errors, v.Held, v.Refused = nil, f.held(was), f.inForce.faults()
		if f.takesProposals {
			i.viewProposal(ctx, v)
		}
	}
	if f.inForce.missing() && v.Applied == "" && len(v.Refused) == 0 {
		v.Waiting = f.waitsFor()
	}
}

// viewProposal says what would come of the proposal.
func (i *iface) viewProposal(ctx context.Context, v *View) {
	f := i.files
	v.Refused = append(v.Refused, f.proposal.faults()...)
	next, err := i.draft(ctx, wgquick.SecretKey{}, nil, nil)
	if err == nil && next != nil {
		err = f.writeDown(next)
	}
	v.Refused = append(v.Refused, faults(err)...)
	if err != nil || next == nil {
		return
	}
	// Only what the file marks can be accepted: what would be held waits until a wg-apply has seen it, and plan shows it.
	waits := map[wgquick.PublicKey]bool{}
	for _, h := range v.Held {
		waits[h.PublicKey] = true
	}
	v.Held = slices.DeleteFunc(next.held, func(h Held) bool { return !waits[h.PublicKey] })
	v.Refused, v.Errors = append(v.Refused, next.refused...), append(v.Errors, faults(next.keeps)...)
	if f.inForce.config != nil && len(changes(f, next)) > 0 {
		v.Warnings = append(v.Warnings, f.proposalPath+": not in force yet; what it changes is shown by: wg-apply plan --proposed "+i.name)
	}
}

// held is what waits for a person, as far as that is known without a proposal: the file marks the peers.
func (f *files) held(was status.Status) (held []Held) {
	if f.inForce.config == nil {
		return was.Held
	}
	for _, p := range f.inForce.config.Peers {
		if p.Held.IsZero() {
			continue
		}
		h := Held{PublicKey: p.PublicKey, Peer: p.Origin.String(), Since: p.Held}
		if n := slices.IndexFunc(was.Held, func(h Held) bool { return h.PublicKey == p.PublicKey }); n >= 0 {
			h.Prefixes = was.Held[n].Prefixes
		}
		held = append(held, h)
	}
	return held
}

// viewDevice adds the device, and how far it is from its file. It asks no resolver: at worst that is what is broken.
func (i *iface) viewDevice(ctx context.Context, v *View, live plan.Live) {
	names := map[wgquick.PublicKey]string{}
	if c := i.files.inForce.config; c != nil {
		for _, p := range c.Peers {
			names[p.PublicKey] = p.Origin.String()
		}
		if most, err := i.means(ctx, c, nil, nil, i.files.path); err == nil {
			p := i.compare(most.Want, &live, v.Peers)
			v.Changes = new(len(p.Steps))
		} else if len(v.Errors)+len(v.Refused) == 0 {
			v.Errors = faults(err)
		}
	}
	v.Live = &Device{live.Userspace, live.Up, live.MTU, live.ListenPort, live.FwMark, live.Addresses, nil}
	for _, p := range live.Peers {
		v.Live.Peers = append(v.Live.Peers, LivePeer{p.PublicKey, names[p.PublicKey], p.Endpoint, p.AllowedIPs, p.LastHandshake, p.RxBytes, p.TxBytes})
	}
	if v.PublicKey.IsZero() {
		v.PublicKey = live.PrivateKey.Public()
	}
}
