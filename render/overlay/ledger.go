package overlay

import (
	"fmt"
	"net/netip"

	"github.com/gaissmai/bart"

	"wg-kube/templates/wgquick"
)

// ledger is who holds what. Whatever is granted is written down at once, so that the next claim is judged by it.
//
// Two kinds of prefix: one that is held alone (a spoke's, a fragment's, our own) overlaps nothing else that is
// held alone; one that is shared (a hub's range) may cover those, but not equal one and not lie inside one.
// No kind covers the endpoint of anybody.
type ledger struct {
	keys      map[wgquick.PublicKey]string
	alone     bart.Table[string]
	shared    bart.Table[string]
	endpoints bart.Table[string]
	hubs      bart.Table[string] // addresses of hubs and of their machines: the API's word, so they evict nobody
	us        string             // this node, for messages: who reads them may be on another
	ours      []netip.Addr       // of this machine: no spoke's claim covers them
	connected []netip.Prefix     // the subnets of our own Address, and a hub's ranges around it: no endpoint is inside
}

// put writes a prefix down. Several may hold one; the first by name is the one that is told.
func put(t *bart.Table[string], p netip.Prefix, who string) {
	t.Modify(p, func(old string, ok bool) (string, bool) {
		if ok {
			return min(old, who), false
		}
		return who, false
	})
}

// againstAlone is why who cannot hold p alone, "" if it can. fresh: who does not hold it already.
func (l *ledger) againstAlone(p netip.Prefix, who string, fresh bool) string {
	// What covers p and is who's own was free of others when it was granted, and has been since.
	if q, by, ok := l.alone.LookupPrefixLPM(p); ok && by != who {
		return overlaps(q, by)
	}
	for q, by := range l.alone.Subnets(p) {
		if by != who {
			return overlaps(q, by)
		}
	}
	for q, by := range l.shared.Subnets(p) {
		return overlaps(q, by)
	}
	if why := l.coversEndpoint(p); why != "" {
		return why
	}
	for _, a := range l.ours {
		if p.Contains(a) {
			return fmt.Sprintf("covers %s, an address of %s", a, l.us)
		}
	}
	if fresh {
		for q, by := range l.hubs.Subnets(p) {
			if by != who {
				return fmt.Sprintf("covers %s, an address of the hub %s", q.Addr(), by)
			}
		}
	}
	return ""
}

// againstShared is why p cannot be a range of the hub who, "" if it can.
func (l *ledger) againstShared(p netip.Prefix, who string) string {
	if q, by, ok := l.alone.LookupPrefixLPM(p); ok && by != who {
		return overlaps(q, by)
	}
	return l.coversEndpoint(p)
}

func (l *ledger) coversEndpoint(p netip.Prefix) string {
	for q, by := range l.endpoints.Subnets(p) {
		return fmt.Sprintf("covers %s, the endpoint of %s", q.Addr(), by)
	}
	return ""
}

// againstEndpoint is why a cannot be an endpoint, "" if it can: packets to it would go into the tunnel again.
// ranges: what is shared counts too.
func (l *ledger) againstEndpoint(a netip.Addr, ranges bool) string {
	p := host(a)
	if q, by, ok := l.alone.LookupPrefixLPM(p); ok {
		return fmt.Sprintf("lies inside %s, held by %s", q, by)
	}
	if q, by, ok := l.shared.LookupPrefixLPM(p); ok && ranges {
		return fmt.Sprintf("lies inside %s, held by %s", q, by)
	}
	for _, q := range l.connected {
		if q.Contains(a) {
			return fmt.Sprintf("lies inside %s, in which our own address is", q)
		}
	}
	return ""
}

func overlaps(q netip.Prefix, by string) string { return fmt.Sprintf("overlaps %s, held by %s", q, by) }
