package lab

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"wg-kube/internal/lab/hosts"
)

func TestMain(m *testing.M) { Main(m) }

func TestHostsAreApart(t *testing.T) {
	a, b := NewHost(t, "a"), NewHost(t, "b")
	for _, dir := range []string{"/run", "/run/wireguard", "/run/wg-kube", "/etc/wireguard"} {
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		a.Write(t, dir+"/mine", "a", 0o600)
		if _, err := os.Stat(b.Path(dir + "/mine")); err == nil {
			t.Errorf("%s of host a is seen on host b", dir)
		}
		if _, err := os.Stat(dir + "/mine"); err == nil {
			t.Errorf("%s of host a is seen outside it", dir)
		}
	}
	if got := strings.TrimSpace(a.Run(t, "hostname")); got != "a" {
		t.Errorf("host name %q, want a", got)
	}
	if got := a.Run(t, "ip", "-o", "link", "show", "up"); strings.Count(got, "\n") != 1 {
		t.Errorf("more than lo is up on a new host:\n%s", got)
	}
	if wd, _ := os.Getwd(); strings.TrimSpace(a.Run(t, "pwd")) != wd {
		t.Errorf("commands do not run in %s", wd)
	}
}

func TestLink(t *testing.T) {
	a, b := NewHost(t, "a"), NewHost(t, "b")
	Link(t, a, "eth0", "10.9.0.1/24 fd00:9::1/64", b, "eth0", "10.9.0.2/24 fd00:9::2/64")
	a.Run(t, "ping", "-c1", "-W2", "10.9.0.2")
	a.Run(t, "ping", "-c1", "-W2", "fd00:9::2")
}

func TestSwitchAndLoss(t *testing.T) {
	sw := Switch(t)
	var h [3]*Host
	for i := range h {
		h[i] = NewHost(t, fmt.Sprintf("h%d", i))
		sw.Plug(t, h[i], "eth0", fmt.Sprintf("10.9.0.%d/24", i+1))
	}
	stop := Loss(t, h[0], h[2], "10.9.0.3", 1000)
	h[0].Run(t, "ping", "-c1", "-W2", "10.9.0.2")
	time.Sleep(500 * time.Millisecond)
	if got := stop(); got.Lost != 0 || got.Sent < 400 {
		t.Errorf("%s, want about 500 and none", got)
	}

	stop = Loss(t, h[0], h[2], "10.9.0.3", 1000)
	h[2].Run(t, "ip", "link", "set", "eth0", "down")
	time.Sleep(100 * time.Millisecond)
	if got := stop(); got.Lost == 0 {
		t.Errorf("%s, over a wire that is down", got)
	}
}

func TestDo(t *testing.T) {
	a := NewHost(t, "a")
	Link(t, a, "eth0", "10.9.0.1/24", NewHost(t, "b"), "eth0", "")
	names := func() (s []string) {
		ifs, err := net.Interfaces()
		check(t, err)
		for _, i := range ifs {
			if i.Flags&net.FlagUp != 0 {
				s = append(s, i.Name)
			}
		}
		return s
	}
	var there []string
	check(t, a.Do(func() error { there = names(); return nil }))
	if got := fmt.Sprint(there); got != "[lo eth0]" {
		t.Errorf("on the host: %s", got)
	}
	if got := fmt.Sprint(names()); got != "[lo]" {
		t.Errorf("back home: %s", got)
	}
}

func TestTry(t *testing.T) {
	h := NewHost(t, "h")
	for _, c := range []struct {
		name   string
		script string
		out    string
		code   int
	}{
		{"both streams", "echo out; echo err >&2", "out\nerr\n", 0},
		{"exit code", "exit 3", "", 3},
		{"signal", "kill -9 $$", "", 137},
		{"a daemon keeps the output open", "sleep 60 & echo started", "started\n", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if out, code := h.Try("sh", "-c", c.script); out != c.out || code != c.code {
				t.Errorf("%q, %d; want %q, %d", out, code, c.out, c.code)
			}
		})
	}
}

func TestStart(t *testing.T) {
	h := NewHost(t, "h")
	p := h.Start(t, "sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done")
	Eventually(t, 30*time.Second, "the process is up", func() bool { return p.Log() == "up\n" })
	check(t, p.Signal(syscall.SIGTERM))
	if code := p.Exit(t, 5*time.Second); code != 5 || p.Log() != "up\nbye\n" {
		t.Errorf("exit code %d, log %q", code, p.Log())
	}
}

// A program behind the wall may be killed at any moment. Nothing of it is left: that is what the wall is for.
func TestNothingIsLeft(t *testing.T) {
	Need(t)
	const sleeper = "4242.25" // seconds; found again by it
	if os.Getenv("LAB_SLEEP") != "" {
		h := NewHost(t, "h")
		h.Run(t, "sh", "-c", "setsid sleep "+sleeper+" &")
		fmt.Println("up", h.PID())
		h.Try("sleep", sleeper)
		return
	}
	for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT, syscall.SIGTERM} {
		t.Run(end.String(), func(t *testing.T) {
			before, mounts := processes(t), netnsMounts(t)
			exe, err := os.Executable()
			check(t, err)
			cmd := exec.Command(exe, "-test.run=^TestNothingIsLeft$", "-test.v")
			cmd.Env = append(os.Environ(), "WGKUBE_LAB=", "LAB_SLEEP=1")
			out, err := cmd.StdoutPipe()
			check(t, err)
			check(t, cmd.Start())
			for s := bufio.NewScanner(out); s.Scan() && !strings.HasPrefix(s.Text(), "up "); {
			}
			Eventually(t, 30*time.Second, "both sleepers run", func() bool { return strings.Count(processes(t), sleeper) >= 2 })
			check(t, cmd.Process.Signal(end))
			_ = cmd.Wait()
			Eventually(t, 30*time.Second, "every process is gone", func() bool { return processes(t) == before })
			if now := netnsMounts(t); now > mounts {
				t.Errorf("%d network namespaces are mounted, %d before", now, mounts)
			}
		})
	}
}

// netnsMounts is how many named network namespaces there are: the machine may have some of its own.
func netnsMounts(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mounts")
	check(t, err)
	return strings.Count(string(b), "/run/netns/")
}

// processes are the command lines of all that run, zombies excepted.
func processes(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	check(t, err)
	var all strings.Builder
	for _, e := range entries {
		if b, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil && len(b) > 0 && e.Name()[0] <= '9' {
			fmt.Fprintln(&all, e.Name(), strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return all.String()
}

func TestShared(t *testing.T) {
	a, b := NewHost(t, "a"), NewHost(t, "b")
	a.Run(t, "sh", "-c", "echo hello >"+hosts.Shared+"/note")
	if got := b.Run(t, "cat", hosts.Shared+"/note"); got != "hello\n" {
		t.Errorf("%s is not shared: %q", hosts.Shared, got)
	}
}

func TestResolvConf(t *testing.T) {
	if _, err := exec.LookPath("resolvconf"); err != nil {
		Skip(t, "resolvconf is not installed (Debian: openresolv)")
	}
	h := NewHost(t, "h")
	before, err := os.ReadFile("/etc/resolv.conf")
	check(t, err)
	h.Run(t, "sh", "-c", "echo nameserver 192.0.2.53 | resolvconf -a wg0 -m 0 -x")
	if got := h.Read(t, "/etc/resolv.conf"); !strings.Contains(got, "192.0.2.53") {
		t.Errorf("the host's resolv.conf: %q", got)
	}
	if after, _ := os.ReadFile("/etc/resolv.conf"); string(after) != string(before) {
		t.Errorf("seen outside: %q", after)
	}
	if _, err := os.Stat("/etc/resolv.conf.bak"); err == nil {
		t.Error("/etc/resolv.conf.bak was left behind")
	}
}
