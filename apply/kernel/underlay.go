package kernel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"wg-kube/apply/plan"
	"wg-kube/templates/wgquick"
)

// Underlay observes what the meaning of c depends on beside c. It looks at nothing that c does not ask for:
// paths only where the file leaves the MTU open, the device's mark only for a default route without one.
// Names are resolved elsewhere: an endpoint that is still a name counts for nothing.
func (s *System) Underlay(ctx context.Context, iface string, c *wgquick.Config) (plan.Underlay, error) {
	u, err := s.underlay(ctx, iface, c)
	if err != nil {
		return plan.Underlay{}, fmt.Errorf("%s: %w", iface, err)
	}
	return u, nil
}

func (s *System) underlay(ctx context.Context, iface string, c *wgquick.Config) (plan.Underlay, error) {
	u := plan.Underlay{Used: map[uint32]bool{}}
	links, err := s.links()
	if err != nil {
		return u, fmt.Errorf("links: %w", err)
	}
	ours := 0
	for index, l := range links {
		if l.name == iface {
			ours = index
		}
	}
	rs, err := s.routes(0, ours)
	if err != nil {
		return u, fmt.Errorf("routes: %w", err)
	}
	var best *route // of the IPv4 default routes
	for i, r := range rs {
		u.Used[r.Table] = true
		if r.some {
			continue
		}
		r.Device = links[r.link].name
		u.Routes = append(u.Routes, r.Route)
		if r.Table == unix.RT_TABLE_MAIN && r.Dst.Bits() == 0 && r.Dst.Addr().Is4() && (best == nil || r.Metric < best.Metric) {
			best = &rs[i]
		}
	}
	if best != nil {
		if u.MTU = best.mtu; u.MTU == 0 {
			u.MTU = links[best.link].mtu
		}
	}
	if u.Tables, err = tableNames(); err != nil {
		return u, err
	}
	u.NoIPv6 = noIPv6(iface)
	u.LinkMTU = links[ours].mtu
	if ours != 0 && c.Interface.FwMark == 0 && hasDefaultRoute(c) {
		dev, err := s.device(ctx, iface)
		if err != nil {
			return u, err
		}
		u.FwMark = uint32(dev.FirewallMark)
	}
	if c.Interface.MTU == 0 {
		mark := c.Interface.FwMark
		if mark == 0 {
			mark = u.FwMark
		}
		u.PathMTU = s.pathMTUs(endpoints(c), mark, links, ours)
	}
	return u, nil
}

// noIPv6 reports whether IPv6 is off: on the interface or, if it is not there yet, on what is new.
func noIPv6(iface string) bool {
	for _, name := range []string{iface, "default"} {
		b, err := os.ReadFile(filepath.Join("/proc/sys/net/ipv6/conf", name, "disable_ipv6"))
		if err == nil {
			return len(b) > 0 && b[0] == '1'
		}
	}
	return true // a kernel without IPv6
}

func hasDefaultRoute(c *wgquick.Config) bool {
	return slices.ContainsFunc(c.Peers, func(p wgquick.Peer) bool {
		return slices.ContainsFunc(p.AllowedIPs, func(a netip.Prefix) bool { return a.Bits() == 0 })
	})
}

// endpoints are the addresses of the peers that have one, each once.
func endpoints(c *wgquick.Config) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for _, p := range c.Peers {
		if a, ok := p.Endpoint.AddrPort(); ok {
			out[a.Addr()] = true
		}
	}
	return out
}

// pathMTUs asks the kernel for the way to each endpoint, as the tunnel's own packets with their mark would take it.
// What has no way, or only one through the tunnel itself, is left out.
func (s *System) pathMTUs(to map[netip.Addr]bool, mark uint32, links map[int]linkInfo, ours int) map[netip.Addr]int {
	out := map[netip.Addr]int{}
	for a := range to {
		w, err := s.ways.to(a, mark)
		if err != nil || ours != 0 && w.link == ours {
			continue
		}
		mtu := w.mtu
		if mtu == 0 {
			mtu = links[w.link].mtu
		}
		if mtu > 0 {
			out[a] = mtu
		}
	}
	return out
}

type linkInfo struct {
	name string
	mtu  int
}

// links are all links by index.
func (s *System) links() (map[int]linkInfo, error) {
	all, err := whole(s.handle.LinkList)
	out := make(map[int]linkInfo, len(all))
	for _, l := range all {
		out[l.Attrs().Index] = linkInfo{l.Attrs().Name, l.Attrs().MTU}
	}
	return out, err
}

// tableNames reads the names that ip(8) knows: the distribution's first, so that the machine's own win.
func tableNames() (map[string]uint32, error) {
	names := map[string]uint32{"default": unix.RT_TABLE_DEFAULT, "main": unix.RT_TABLE_MAIN, "local": unix.RT_TABLE_LOCAL}
	for _, dir := range []string{"/usr/share/iproute2", "/usr/lib/iproute2", "/etc/iproute2"} {
		more, err := filepath.Glob(filepath.Join(dir, "rt_tables.d", "*.conf"))
		if err != nil {
			return nil, err
		}
		for _, file := range append([]string{filepath.Join(dir, "rt_tables")}, more...) {
			if err := readTables(file, names); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("names of routing tables: %w", err)
			}
		}
	}
	return names, nil
}

// readTables reads lines of "NUMBER NAME"; what is neither that nor a comment is skipped, as ip(8) does.
func readTables(file string, names map[string]uint32) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		if n, err := strconv.ParseUint(fields[0], 0, 32); err == nil {
			names[fields[1]] = uint32(n)
		}
	}
	return lines.Err()
}
