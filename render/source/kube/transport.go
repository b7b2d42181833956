package kube

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// patience is how long client-go may wait, before it tries again by itself, because a server asks it to. It does so
// without a word, ten times over, and what stands in front of a server may ask for an hour: then it is told, and tried
// again, as any other trouble.
const patience = 5 * time.Second

// transport is what all requests of a connection go through.
type transport struct {
	http.RoundTripper
	reached *addresses
}

// WrappedRoundTripper implements net.RoundTripperWrapper of apimachinery.
func (t transport) WrappedRoundTripper() http.RoundTripper { return t.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if at, err := netip.ParseAddrPort(i.Conn.RemoteAddr().String()); err == nil {
			t.reached.add(at.Addr())
		}
	}}
	answer, err := t.RoundTripper.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err != nil {
		return nil, err
	}
	if s, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && s > int(patience/time.Second) {
		answer.Header.Del("Retry-After")
	}
	return answer, nil
}

// addresses are where an API server is.
type addresses struct {
	mu  sync.Mutex
	all map[netip.Addr]bool
}

func (a *addresses) add(more ...netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil {
		a.all = map[netip.Addr]bool{}
	}
	for _, m := range more {
		a.all[m.Unmap().WithZone("")] = true
	}
}

// resolve adds the addresses of host, a name or an address.
func (a *addresses) resolve(ctx context.Context, host string) {
	if found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host); err == nil { // else it is not reached either
		a.add(found...)
	}
}

func (a *addresses) list() []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.SortedFunc(maps.Keys(a.all), netip.Addr.Compare)
}
