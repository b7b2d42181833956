package hosts

import (
	"fmt"
	"os"
)

// WireGuard reports whether this kernel has WireGuard. The error says why a userspace device cannot serve either.
func WireGuard() (inKernel bool, err error) {
	h, err := New("has-wireguard")
	if err != nil {
		return false, err
	}
	defer h.Close()
	if _, code := h.Try("ip", "link", "add", "name", "wg0", "type", "wireguard"); code == 0 {
		return true, nil
	}
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return false, fmt.Errorf("this kernel has no WireGuard, and no userspace device can serve: %w", err)
	}
	return false, tun.Close()
}
