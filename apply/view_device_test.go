package apply

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"wg-kube/internal/lab"
)

func TestDeviceStatus(t *testing.T) {
	m := newMachine(t, "apply")
	file, _ := person(t, "10.7.0.1/24", 51820)
	m.Write(t, "/etc/wireguard/wg0.conf", file, 0o600)
	m.apply(t, "once", "wg0")
	shows := func(want string) {
		t.Helper()
		if out := m.apply(t, "status"); !strings.HasPrefix(out, "wg0: "+want+"\n") {
			t.Errorf("not %q:\n%s", want, out)
		}
		_, code := m.Try(m.args("plan")...)
		if fine := want == "as its file says"; fine != (code == 0) {
			t.Errorf("%s: plan has exit status %d", want, code)
		}
	}
	shows("as its file says")
	m.Run(t, "ip", "link", "set", "wg0", "down")
	shows("the link is down")
	m.apply(t, "once", "wg0")
	m.Run(t, "ip", "address", "add", "10.7.0.9/32", "dev", "wg0")
	shows("not as its file says")
	m.apply(t, "once", "wg0")
	m.Write(t, "/etc/wireguard/wg0.conf", strings.Replace(file, "10.7.0.1", "10.7.0.2", 1), 0o600)
	shows("its file has changed since it was applied")
	m.Run(t, "ip", "link", "del", "wg0")
	shows("no device")
}

func TestDeviceRunDirThatIsReadOnly(t *testing.T) {
	m := newMachine(t, "apply")
	file, _ := person(t, "10.7.0.1/24", 51820)
	m.Write(t, "/etc/wireguard/wg0.conf", file, 0o600)
	m.Run(t, "sh", "-c", "mkdir -p /run/wg-kube && mount -t tmpfs -o ro none /run/wg-kube")
	out, code := m.Try(m.args("once", "wg0")...)
	if code != 1 || !strings.Contains(out, "/run/wg-kube/wg0.lock: read-only file system") {
		t.Errorf("exit status %d\n%s", code, out)
	}
}

func TestDeviceIsSaidToBeInUserSpace(t *testing.T) {
	if lab.HasKernelWireGuard(t) {
		return // it makes the device itself
	}
	m := newMachine(t, "apply")
	file, _ := person(t, "10.7.0.1/24", 51820)
	m.Write(t, "/etc/wireguard/wg0.conf", file, 0o600)
	daemon := m.start(t)
	m.eventually(t, "up", "grep -q applied /run/wg-kube/wg0.json")
	must(t, daemon.Signal(syscall.SIGTERM))
	daemon.Exit(t, 5*time.Second)
	if log := daemon.Log(); strings.Count(log, "wg-device started") != 1 || !strings.Contains(log, "this kernel has no WireGuard") {
		t.Errorf("not said, once:\n%s", log)
	}
}
