package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"wg-kube/apply/hints"
)

// Surroundings observes what ask asks for, and what costs nothing. Live is the caller's to fill in. What cannot be
// read counts as in order; the error says what that was, and is no reason to think less of the rest.
func (s *System) Surroundings(ctx context.Context, iface string, ask hints.Ask) (hints.Seen, error) {
	seen := hints.Seen{Forwarding4: true, Forwarding6: true}
	_, err := os.Stat("/sys/module/wireguard")
	seen.Module = err == nil
	if ask.RPFilter { // the kernel goes by the larger one
		seen.RPFilter = max(sysctl("net/ipv4/conf/all/rp_filter"), sysctl("net/ipv4/conf", iface, "rp_filter"))
	}
	if !ask.Forwarding {
		return seen, nil
	}
	// IPv4 goes by the interface on which a packet came in, IPv6 by the switch for all, or since Linux 6.17 by either.
	seen.Forwarding4 = sysctl("net/ipv4/conf", iface, "forwarding") != 0
	seen.Forwarding6 = sysctl("net/ipv6/conf/all/forwarding") != 0 || sysctl("net/ipv6/conf", iface, "force_forwarding") == 1
	if seen.Drops, err = s.forwardDrops(ctx, iface); err != nil {
		return seen, fmt.Errorf("nftables: %w", err)
	}
	return seen, nil
}

// sysctl reads a number, -1 where there is none.
func sysctl(path ...string) int {
	b, err := os.ReadFile(filepath.Join(append([]string{"/proc/sys"}, path...)...))
	n, parsed := strconv.Atoi(strings.TrimSpace(string(b)))
	if errors.Join(err, parsed) != nil {
		return -1
	}
	return n
}
