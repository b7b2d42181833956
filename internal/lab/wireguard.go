package lab

import (
	"os/exec"
	"strings"
	"sync"
	"testing"

	"wg-kube/internal/lab/hosts"
)

// wireGuard is asked for often and makes a host to find out.
var wireGuard = sync.OnceValues(hosts.WireGuard)

// HasKernelWireGuard reports whether this kernel makes WireGuard interfaces. It skips a test where neither the kernel
// nor wg-device can.
func HasKernelWireGuard(t testing.TB) bool {
	t.Helper()
	Need(t)
	inKernel, err := wireGuard()
	if err != nil {
		Skip(t, err.Error())
	}
	return inKernel
}

// TryWGQuick runs the real wg-quick on the host, "up" or "down", with the path of a file or the name of an interface.
// Where the kernel has no WireGuard, wg-device serves.
func TryWGQuick(t testing.TB, h *Host, verb, conf string) (out string, code int) {
	t.Helper()
	if _, err := exec.LookPath("wg-quick"); err != nil {
		Skip(t, "wg-quick is not installed (Debian: wireguard-tools)")
	}
	args := []string{"wg-quick", verb, conf}
	if !HasKernelWireGuard(t) {
		script, err := h.DeviceInBackground(Build(t, "wg-kube/cmd/wg-device"))
		check(t, err)
		args = append([]string{"env", "WG_QUICK_USERSPACE_IMPLEMENTATION=" + script}, args...)
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
