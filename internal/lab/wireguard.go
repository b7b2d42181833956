package lab

import (
	"os/exec"
	"strings"
	"testing"

	"wg-kube/internal/lab/hosts"
)

// HasKernelWireGuard reports whether this kernel makes WireGuard interfaces. It skips a test where neither the kernel
// nor wg-device can.
func HasKernelWireGuard(t testing.TB) bool {
	t.Helper()
	Need(t)
	inKernel, err := hosts.WireGuard()
	if err != nil {
		Skip(t, err.Error())
	}
	return inKernel
}

// The userspace implementation that wg-quick falls back to has to go to the background by itself; wg-device does not.
const deviceInBackground = `#!/bin/sh
setsid "$WG_DEVICE" "$1" </dev/null >"/run/wireguard/$1.log" 2>&1 &
for _ in $(seq 500); do
	[ -S "/run/wireguard/$1.sock" ] && exit 0
	sleep 0.01
done
cat "/run/wireguard/$1.log" >&2
exit 1
`

// TryWGQuick runs the real wg-quick on the host, "up" or "down", with the path of a file or the name of an interface.
// Where the kernel has no WireGuard, wg-device serves.
func TryWGQuick(t testing.TB, h *Host, verb, conf string) (out string, code int) {
	t.Helper()
	if _, err := exec.LookPath("wg-quick"); err != nil {
		Skip(t, "wg-quick is not installed (Debian: wireguard-tools)")
	}
	args := []string{"wg-quick", verb, conf}
	if !HasKernelWireGuard(t) {
		const wrapper = "/run/wg-device-in-background"
		h.Write(t, wrapper, deviceInBackground, 0o755)
		args = append([]string{"env", "WG_QUICK_USERSPACE_IMPLEMENTATION=" + wrapper,
			"WG_DEVICE=" + Build(t, "wg-kube/cmd/wg-device")}, args...)
	}
	return h.Try(args...)
}

// WGQuickUp is "wg-quick up", which has to work. It returns what wg-quick printed: the commands that it ran.
func WGQuickUp(t testing.TB, h *Host, conf string) string {
	t.Helper()
	out, code := TryWGQuick(t, h, "up", conf)
	if code != 0 {
		t.Fatalf("%s: wg-quick up %s: exit status %d\n%s", h.Name, conf, code, strings.TrimSpace(out))
	}
	return out
}
