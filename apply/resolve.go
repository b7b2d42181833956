package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"wg-kube/internal/retry"
	"wg-kube/templates/wgquick"
)

// lookupTimeout bounds one question to the resolver.
const lookupTimeout = 10 * time.Second

// lookupsAtOnce bounds what the names of one interface take of open files and of the resolver. Each interface has its
// own: the names of one, which may be ones that nobody answers for, are not to keep those of another waiting.
const lookupsAtOnce = 16

// names resolves the host names of the endpoints of one interface, beside everything else: nothing ever waits for
// an answer. A name is asked for until it is known, and again when its peer is silent.
type names struct {
	file   string // in which the names stand, for errors
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	wake   func()                // something is known that was not
	last   map[string]netip.Addr // where names led before we began: each counts until the first answer

	mu    sync.Mutex
	known map[string]*answer
	turns chan struct{}  // one is held while a question is open; nil until anything is asked
	asked sync.WaitGroup // first answers under way
}

// answer is what is known of a host.
type answer struct {
	addr  netip.Addr // zero: nothing yet
	err   error      // of the last question
	since time.Time  // when it was first wanted
	stop  context.CancelFunc
	busy  bool
}

func (c Config) lookup() func(ctx context.Context, host string) ([]netip.Addr, error) {
	if c.Lookup != nil {
		return c.Lookup
	}
	return func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
}

// errUnanswered is the error of a name before the first answer.
var errUnanswered = errors.New("not resolved yet")

// ask says which names are wanted from now on: those in the endpoints of both, which may be nil. Those of a proposal
// that is not taken, as they are too many, are not.
func (n *names) ask(ctx context.Context, inForce, proposal *wgquick.Config) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil {
		n.known, n.turns = map[string]*answer{}, make(chan struct{}, lookupsAtOnce)
	}
	hosts := hostnames(inForce)
	if also := hostnames(proposal); len(also) <= wgquick.MaxNames {
		hosts = append(hosts, also...)
	}
	wanted := make(map[string]bool, len(hosts))
	for _, host := range hosts {
		wanted[host] = true
		if n.known[host] == nil {
			k := &answer{addr: n.last[host], err: errUnanswered, since: time.Now()}
			delete(n.last, host)
			n.known[host] = k
			n.asked.Add(1)
			n.start(ctx, host, k, sync.OnceFunc(n.asked.Done))
		}
	}
	maps.DeleteFunc(n.known, func(host string, k *answer) bool {
		if !wanted[host] {
			k.stop()
		}
		return !wanted[host]
	})
}

// resolved is what is known of the endpoints of c that have a name, and what is wrong with the others.
func (n *names) resolved(c *wgquick.Config) (known map[string]netip.AddrPort, unknown []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known = map[string]netip.AddrPort{}
	for _, p := range c.Peers {
		host, ok := hostname(p.Endpoint)
		if !ok {
			continue
		}
		switch k := n.known[host]; {
		case k == nil:
		case k.addr.IsValid():
			known[p.Endpoint.String()] = netip.AddrPortFrom(k.addr, p.Endpoint.Port)
		default:
			unknown = append(unknown, fmt.Sprintf("%s: [Peer] %s: Endpoint: %s: %s",
				n.file, cmp.Or(p.Origin.String(), p.PublicKey.String()), wgquick.HideKeys(p.Endpoint.String()), reason(k.err)))
		}
	}
	return known, unknown
}

// hostname is the host of an endpoint that has a name, not an address.
func hostname(e wgquick.Endpoint) (string, bool) {
	_, literal := e.AddrPort()
	return e.Host, !literal && !e.IsZero()
}

// hostnames are those in the endpoints of c, which may be nil.
func hostnames(c *wgquick.Config) (hosts []string) {
	if c == nil {
		return nil
	}
	for _, p := range c.Peers {
		if host, ok := hostname(p.Endpoint); ok {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// again asks once more for a name whose peer is silent: it may have moved.
func (n *names) again(ctx context.Context, host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if k, ok := n.known[host]; ok && !k.busy {
		n.start(ctx, host, k, func() {})
	}
}

// unanswered is how long to wait for the first answers for the names in c; zero: there is nothing to wait for. One that
// has to wait for its turn longer than a question lasts is as good as one that nobody answers for.
func (n *names) unanswered(c *wgquick.Config) (long time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, host := range hostnames(c) {
		if k := n.known[host]; k != nil && k.err == errUnanswered {
			long = max(long, lookupTimeout-time.Since(k.since))
		}
	}
	return long
}

// first waits for the first answer to every question, for as long as that.
func (n *names) first(ctx context.Context, long time.Duration) {
	done := make(chan struct{})
	go func() { n.asked.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	case <-time.After(long):
	}
}

// start asks until there is an answer or nobody wants it any more. n.mu is held.
func (n *names) start(ctx context.Context, host string, k *answer, answered func()) {
	ctx, k.stop = context.WithCancel(ctx)
	k.busy = true
	go func() {
		defer answered()
		retrying := retry.Backoff{First: firstRetry, Last: lastRetry}
		for {
			select {
			case <-ctx.Done():
				return
			case n.turns <- struct{}{}:
			}
			asking, cancel := context.WithTimeout(ctx, lookupTimeout)
			addrs, err := n.lookup(asking, host)
			cancel()
			<-n.turns
			if ctx.Err() != nil {
				return
			}
			if n.learn(k, addrs, err) {
				n.wake()
			}
			answered()
			if err == nil {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(retrying.Next()):
			}
		}
	}()
}

// learn takes an answer in, and reports whether it says anything new.
func (n *names) learn(k *answer, addrs []netip.Addr, err error) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil && len(addrs) == 0 {
		err = errors.New("no address")
	}
	before, was := k.addr, reason(k.err)
	k.err, k.busy = err, err != nil
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	if err == nil && !slices.Contains(addrs, k.addr) { // of several, the one in use is as good as any
		k.addr = addrs[0]
	}
	return k.addr != before || reason(err) != was
}

// reason is the part of a resolver's error that stays the same from one try to the next.
func reason(err error) string {
	var dns *net.DNSError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &dns) && dns.IsTimeout:
		return "the resolver does not answer"
	case errors.As(err, &dns): // the last part: before it stands the port that was asked from, each time another
		return "the resolver: " + strings.TrimSpace(dns.Err[strings.LastIndexByte(dns.Err, ':')+1:])
	}
	return err.Error()
}
