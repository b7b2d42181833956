package main

import (
	"bufio"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// underlayAddress is the first IPv4 address of the device that the default route leads through, as
// /proc/net/route has it; zero if there is none. Of several default routes the one with the lowest metric counts.
func underlayAddress() netip.Addr {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return netip.Addr{}
	}
	defer f.Close()
	device, best := "", -1
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// Iface Destination Gateway Flags RefCnt Use Metric Mask ...
		col := strings.Fields(lines.Text())
		if len(col) < 8 || col[1] != "00000000" || col[7] != "00000000" {
			continue
		}
		metric, err := strconv.Atoi(col[6])
		if err == nil && (best < 0 || metric < best) {
			device, best = col[0], metric
		}
	}
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return netip.Addr{}
	}
	addrs, err := dev.Addrs()
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}
