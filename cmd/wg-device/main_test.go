package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wg-kube/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

const (
	soon   = 30 * time.Second
	socket = "/run/wireguard/wg0.sock" // from outside, /var/run would lead to the wrong /run
)

// start starts a device and waits until it is ready. Not by asking wg(8): that deletes what nobody serves.
func start(t *testing.T, h *lab.Host) *lab.Process {
	t.Helper()
	p := h.Start(t, lab.Build(t, "wg-kube/cmd/wg-device"), "wg0")
	lab.Eventually(t, soon, "ready", func() bool { return strings.Contains(p.Log(), "msg=ready") })
	h.Run(t, "wg", "show", "wg0")
	return p
}

func there(h *lab.Host) bool {
	_, err := os.Stat(h.Path(socket))
	return err == nil
}

func TestItEndsWhenTold(t *testing.T) {
	h := lab.NewHost(t, "host")
	p := start(t, h)
	h.Run(t, "wg", "set", "wg0", "listen-port", "51820")
	if fi, err := os.Stat(h.Path(socket)); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("socket: %v, %v", fi.Mode(), err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended(t, h, p)
	if _, code := h.Try("ip", "link", "show", "wg0"); code == 0 {
		t.Error("the link is still there")
	}
}

func TestItEndsWithItsLink(t *testing.T) {
	h := lab.NewHost(t, "host")
	p := start(t, h)
	h.Run(t, "ip", "link", "del", "wg0")
	ended(t, h, p)
}

func TestItMakesALostSocketAnew(t *testing.T) {
	h := lab.NewHost(t, "host")
	p := start(t, h)
	h.Run(t, "wg", "set", "wg0", "listen-port", "51820")
	for _, lost := range []string{socket, "/run/wireguard"} {
		h.Run(t, "rm", "-r", lost)
		lab.Eventually(t, soon, "the socket", func() bool { return there(h) })
		if port := h.Run(t, "wg", "show", "wg0", "listen-port"); port != "51820\n" {
			t.Errorf("without %s: listen port %s", lost, port)
		}
	}
	h.Run(t, "ip", "link", "del", "wg0")
	ended(t, h, p)
}

func TestItOutlivesALackOfOpenFiles(t *testing.T) {
	h := lab.NewHost(t, "host")
	p := start(t, h)
	var was, none unix.Rlimit
	if err := unix.Prlimit(p.Pid, unix.RLIMIT_NOFILE, nil, &was); err != nil {
		t.Fatal(err)
	}
	none.Max = was.Max
	for _, limit := range []*unix.Rlimit{&none, &was} {
		if err := unix.Prlimit(p.Pid, unix.RLIMIT_NOFILE, limit, nil); err != nil {
			t.Fatal(err)
		}
		if _, code := h.Try("timeout", "0.5", "wg", "show", "wg0"); (code == 0) != (limit == &was) {
			t.Errorf("with %d open files at most: exit status %d", limit.Cur, code)
		}
	}
}

// The kernel has more to tell of links than the buffer holds while the device is not let run.
func TestItOutlivesEventsThatAreLost(t *testing.T) {
	h := lab.NewHost(t, "host")
	p := start(t, h)
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	h.Run(t, "sh", "-ec", "for i in $(seq 1000); do echo link set lo mtu 65535; echo link set lo mtu 65536; done | ip -batch -")
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	h.Run(t, "wg", "set", "wg0", "listen-port", "51820")
	h.Run(t, "ip", "link", "set", "up", "dev", "wg0")
	lab.Eventually(t, soon, "it listens", func() bool {
		_, code := h.Try("sh", "-c", "ss -lnu | grep -q :51820")
		return code == 0
	})
	h.Run(t, "ip", "link", "del", "wg0")
	ended(t, h, p)
}

func ended(t *testing.T, h *lab.Host, p *lab.Process) {
	t.Helper()
	if code := p.Exit(t, soon); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if there(h) {
		t.Error("the socket is still there")
	}
}

func TestItTakesThePlaceOfADeadOneOnly(t *testing.T) {
	h := lab.NewHost(t, "host")
	first := start(t, h)
	out, code := h.Try(lab.Build(t, "wg-kube/cmd/wg-device"), "wg0")
	if code != 1 || out != "wg-device: wg0: new link: there is an interface of this name already\n" {
		t.Errorf("beside a living one: exit status %d\n%s", code, out)
	}
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	first.Exit(t, soon)
	if !there(h) {
		t.Error("a killed one was to leave its socket")
	}
	start(t, h)
}

func TestWithoutTheCapability(t *testing.T) {
	h := lab.NewHost(t, "host")
	out, code := h.Try("setpriv", "--bounding-set=-net_admin", lab.Build(t, "wg-kube/cmd/wg-device"), "wg0")
	if code != 1 || out != "wg-device: wg0: new link: operation not permitted: it takes CAP_NET_ADMIN\n" {
		t.Errorf("exit status %d\n%s", code, out)
	}
}

func TestWrongUsage(t *testing.T) {
	h := lab.NewHost(t, "host")
	for _, args := range []string{"", "wg0 wg1", "a/b", "..", "much-too-long-name", "--mtu 60 wg0", "--mtu x wg0", "--what wg0", "--log-level loud wg0"} {
		out, code := h.Try(append([]string{lab.Build(t, "wg-kube/cmd/wg-device")}, strings.Fields(args)...)...)
		if code != 2 || strings.Count(out, "\n") != 1 {
			t.Errorf("%q: exit status %d\n%s", args, code, out)
		}
	}
}
