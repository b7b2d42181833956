// Package kernel is the one place that touches netlink, wgctrl and nftables. It observes interfaces and carries
// plans out, and decides nothing: what should be is apply/plan's.
//
// It refuses to take a link down, to replace peers or prefixes wholesale on a live device, to touch a route or
// rule without naming its owner's protocol, and to delete a link that is no WireGuard device.
//
// A kernel that has no WireGuard is served by a wg-device, a process of its own that survives this one.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"

	"wg-kube/apply/plan"
)

// Config says what a System may rely on. The zero value works.
type Config struct {
	Userspace Userspace     // who serves where this kernel has no WireGuard; zero: Start
	Device    string        // path of wg-device; empty: beside the running program, else in PATH
	RunDir    string        // for the log of a wg-device, as IFACE.device.log, or to ask for one; empty: it logs to our stderr
	Timeout   time.Duration // longest wait for a device to answer or appear; zero: 10 s
	Log       *slog.Logger  // nil: nothing is logged
}

// System is the kernel of the network namespace in which it was made. It is safe for concurrent use.
type System struct {
	cfg    Config
	handle *netlink.Handle
	ways   *ways
	dumps  map[int]*nl.SocketHandle  // a socket of its own, with strict checks: the kernel filters what it dumps
	unread int                       // bytes of events that the kernel may queue
	open   func() (wireGuard, error) // a new client

	mu    sync.Mutex
	turns map[string]chan struct{} // one call at a time to a device that may hang
}

// answering is how long the kernel may take for an answer. One that is lost is waited for no longer: the next question,
// of another interface as well, would wait behind it.
const answering = 10 * time.Second

// New opens the kernel. Close releases it.
func New(cfg Config) (*System, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	sock, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("netlink: %w", err)
	}
	ways, err := openWays()
	if err != nil {
		h.Close()
		sock.Close()
		return nil, fmt.Errorf("netlink: %w", err)
	}
	limit := unix.NsecToTimeval(answering.Nanoseconds())
	_ = h.SetSocketTimeout(answering) // it fails for a limit below a microsecond alone
	_ = sock.SetReceiveTimeout(&limit)
	// A kernel before 4.20 does not know it and dumps everything; what is read is filtered here as well.
	_ = unix.SetsockoptInt(sock.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	return &System{
		cfg:    cfg,
		handle: h,
		ways:   ways,
		dumps:  map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: sock}},
		unread: maxUnread,
		open:   func() (wireGuard, error) { return wgctrl.New() },
		turns:  map[string]chan struct{}{},
	}, nil
}

// Close releases the sockets. Interfaces stay as they are.
func (s *System) Close() {
	s.handle.Close()
	s.ways.close()
	for _, sh := range s.dumps {
		sh.Close()
	}
}

// Apply carries the plan out, in its order, and stops where something fails. Not so where one thing among many does:
// a route that cannot be added keeps nothing else from being done, and of the peers that go in one message the sound
// ones are set. An interface that the plan makes and cannot complete is deleted again, and all that went with it,
// unless it lacks nothing but routes and the plan has KeepLink.
func (s *System) Apply(ctx context.Context, p plan.Plan) error {
	if p.Empty() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout+time.Duration(len(p.Steps))*10*time.Millisecond)
	defer cancel()
	a := applying{System: s, iface: p.Interface}
	stopped := a.steps(ctx, p.Steps)
	err := errors.Join(a.routes.err(), stopped)
	if err == nil {
		return nil
	}
	if a.made && (stopped != nil || !p.KeepLink) {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Timeout)
		defer cancel()
		err = errors.Join(err, s.Delete(undo, p.Interface))
		if a.marked {
			err = errors.Join(err, setSrcValidMark(false))
		}
	}
	return err
}

// applying is one plan on its way.
type applying struct {
	*System
	iface  string
	index  int  // of the link; zero: not looked up yet
	made   bool // the link was made by this plan
	marked bool // so was src_valid_mark set
	routes missing
}

func (a *applying) steps(ctx context.Context, steps []plan.Step) error {
	var peers peerChanges // neighbours that touch peers go in as few messages as possible
	for _, step := range steps {
		if peers.add(step) {
			continue
		}
		if err := a.setPeers(ctx, &peers); err != nil {
			return err
		}
		if err := a.step(ctx, step); err != nil {
			err = fmt.Errorf("%s: %s: %w", a.iface, step, err)
			if _, one := step.(plan.AddRoute); !one || ctx.Err() != nil {
				return err
			}
			a.routes.add(err)
		}
	}
	return a.setPeers(ctx, &peers)
}

// step carries out a step that does not touch peers.
func (a *applying) step(ctx context.Context, step plan.Step) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	switch st := step.(type) {
	case plan.AddLink:
		if err := a.addLink(ctx, a.iface); err != nil {
			return err
		}
		a.made = true
		return nil
	case plan.SetDevice:
		return a.setDevice(ctx, st)
	case plan.AddRule:
		return a.handle.RuleAdd(ruleMessage(st.Rule))
	case plan.DelRule:
		return gone(a.handle.RuleDel(ruleMessage(st.Rule)), unix.ENOENT)
	case plan.SetFirewall:
		return setFirewall(st)
	case plan.DelFirewall:
		return delFirewall(st.Iface)
	case plan.SetSrcValidMark:
		on, err := getSrcValidMark()
		if err != nil || on {
			return err // a container's read-only /proc/sys is no obstacle when it is on
		}
		err = setSrcValidMark(true)
		a.marked = err == nil
		return err
	}

	link, err := a.link()
	if err != nil {
		return err
	}
	switch st := step.(type) {
	case plan.SetMTU:
		return a.handle.LinkSetMTU(link, st.MTU)
	case plan.SetUp:
		if err := a.handle.LinkSetAlias(link, alias); err != nil {
			return err
		}
		err := a.handle.LinkSetUp(link)
		if errors.Is(err, unix.EADDRINUSE) {
			return errors.New("its listen port is taken by another socket") // the kernel's WireGuard binds now
		}
		return err
	case plan.AddAddress:
		return a.addAddress(link, st.Address)
	case plan.DelAddress:
		return a.delAddress(link, st.Address)
	case plan.AddRoute:
		return a.addRoute(link, st)
	case plan.DelRoute:
		return a.delRoute(link, st.Route)
	}
	return fmt.Errorf("no such step: %T", step)
}

// link is the interface as far as messages name it: by its index.
func (a *applying) link() (netlink.Link, error) {
	if a.index == 0 {
		l, err := a.findLink(a.iface)
		if err != nil {
			return nil, err
		}
		if l == nil {
			return nil, errors.New("the interface is gone")
		}
		a.index = l.Attrs().Index
	}
	return &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: a.iface, Index: a.index}}, nil
}

// gone turns an error that means "it is not there" into success.
func gone(err error, absent unix.Errno) error {
	if errors.Is(err, absent) {
		return nil
	}
	return err
}
