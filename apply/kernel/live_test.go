package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wg-kube/apply/plan"
	"wg-kube/internal/lab"
	"wg-kube/templates/wgquick"
)

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func parse(t *testing.T, conf string) *wgquick.Config {
	t.Helper()
	c, err := wgquick.Parse("wg0.conf", []byte(conf))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// up makes the interface as the file says, and has it deleted at the end. It returns what had to be done.
func up(t *testing.T, s *System, iface, conf string) plan.Plan {
	t.Helper()
	t.Cleanup(func() {
		if err := s.Delete(context.Background(), iface); err != nil {
			t.Error(err)
		}
	})
	p, err := apply(s, iface, parse(t, conf))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func observe(t *testing.T, s *System, iface string) plan.Live {
	t.Helper()
	live, err := s.Observe(context.Background(), iface)
	if err != nil {
		t.Fatal(err)
	}
	return live
}

// From each file to the next and back: whatever there was, the device ends as the file says.
func TestFromAnyFileToAnyOther(t *testing.T) {
	confs := []string{
		"[Interface]\n" + private + "Address = 10.1.0.1/24\nListenPort = 51820\n" + peerA + "AllowedIPs = 10.2.0.0/24, 10.3.0.0/24\n" + peerB + "AllowedIPs = 10.4.0.0/16, fd00:4::/64\n",
		"[Interface]\n" + private + "Address = 10.1.0.2/24, 10.1.0.1/24, fd00:1::1/64\nListenPort = 51821\nMTU = 1400\n" + peerA + psk + "AllowedIPs = 10.3.0.0/24\nPersistentKeepalive = 9\n" + peerC + "AllowedIPs = 10.2.0.0/24\n",
		"[Interface]\n" + private + "Address = 10.1.0.1/24, fd00:1::1/64\n" + peerA + "AllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = 192.0.2.7:1\n",
		"[Interface]\n" + private + "Address = 10.1.0.1/24, fd00:1::1/128\nFwMark = 99\n" + peerA + "AllowedIPs = 0.0.0.0/0\n" + peerB + "AllowedIPs = 10.4.0.0/16\n",
		"[Interface]\n" + private + "Table = 77\n" + peerA + "AllowedIPs = 0.0.0.0/0\n",
		"[Interface]\n" + private + "Address = 10.5.0.1/32\nTable = off\n" + manyPeers(70),
		"[Interface]\nAddress = 10.6.0.1/16\n",
	}
	onHost(t, func(t *testing.T, s *System) {
		for from := range confs {
			for to := range confs {
				up(t, s, "wg0", confs[from])
				up(t, s, "wg0", confs[to])
			}
		}
	})
}

func TestNothingForeignIsTouched(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		run(t, "sh", "-ec", world)
		up(t, s, "wg0", "[Interface]\n"+private+"Address = 10.1.0.1/24\nFwMark = 5\n"+peerA+"AllowedIPs = 10.2.0.0/24\n")
		for _, args := range [][]string{
			{"ip", "route", "add", "10.8.0.0/24", "dev", "wg0", "proto", "static"},
			{"ip", "route", "add", "10.8.1.0/24", "dev", "wg0", "proto", "bird", "table", "99"},
			{"ip", "-6", "route", "add", "fd00:8::/64", "dev", "wg0", "proto", "ra"},
			{"ip", "rule", "add", "fwmark", "5", "table", "99"},
			{"ip", "rule", "add", "from", "10.8.0.0/24", "table", "99"},
			{"ip", "rule", "add", "not", "fwmark", "6", "table", "6"},
			{"nft", "add", "table", "ip", "wg-quick-wg1"},
		} {
			run(t, args...)
		}
		look := func() string {
			var out string
			for _, args := range [][]string{
				{"ip", "address", "show", "dev", "eth0", "scope", "global"},
				{"ip", "route", "show", "dev", "eth0"}, {"ip", "-6", "route", "show", "dev", "eth0"},
				{"sh", "-c", "ip route show table all dev wg0 | grep -E 'static|bird'; ip -6 route show dev wg0 proto ra"},
				{"sh", "-c", "ip rule | grep -v 'fwmark 0x5 lookup 5'"},
				{"sh", "-c", "nft list tables | grep wg1"},
			} {
				out += run(t, args...)
			}
			return out
		}
		before := look()
		for _, conf := range []string{
			"[Interface]\n" + private + "Address = 10.7.0.1/24\n",
			"[Interface]\n" + private + "Address = 10.1.0.1/24\nFwMark = 5\n" + peerA + "AllowedIPs = 10.8.0.0/24, 10.2.0.0/24\n",
			"[Interface]\n" + private + "Address = 10.1.0.1/24\n",
		} {
			up(t, s, "wg0", conf)
			// Losing the last IPv4 address of a subnet is the kernel's to clean up; the routes of others stay.
			if d := cmp.Diff(before, look()); d != "" {
				t.Errorf("%s: (-before +after):\n%s", conf, d)
			}
		}
		run(t, "ip", "rule", "del", "not", "fwmark", "6", "table", "6")
		run(t, "ip", "rule", "del", "fwmark", "5", "table", "99")
		run(t, "nft", "delete", "table", "ip", "wg-quick-wg1")
	})
}

func TestWGQuickTakesDownWhatWeBroughtUp(t *testing.T) {
	env := hostEnv(t)
	h, file := lab.NewHost(t, "host"), "/run/wg0.conf"
	h.Write(t, file, "[Interface]\n"+private+"Address = 10.1.0.1/24, fd00:1::1/64\n"+peerA+"AllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = 192.0.2.7:1\n", 0o600)
	h.Run(t, append(env, bringUpEnv+"="+file, os.Args[0])...)
	if out, code := lab.TryWGQuick(t, h, "down", file); code != 0 {
		t.Fatalf("exit status %d\n%s", code, out)
	}
	lab.Eventually(t, 30*time.Second, "the device's end", func() bool {
		sockets, _ := filepath.Glob(h.Path("/run/wireguard/*.sock"))
		return len(sockets) == 0
	})
	nothingLeft(t, h)
}

func TestAllOrNothing(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		run(t, "sh", "-ec", world)
		p := plan.Plan{Interface: "wg0", Steps: []plan.Step{
			plan.AddLink{Iface: "wg0"}, plan.SetUp{Iface: "wg0"},
			plan.AddRoute{Iface: "wg0", Route: plan.Route{Table: 254, Dst: netip.MustParsePrefix("192.0.2.0/24")}},
		}}
		err := s.Apply(context.Background(), p)
		if err == nil || !strings.Contains(err.Error(), "wg0: ") || !strings.Contains(err.Error(), "192.0.2.0/24") {
			t.Errorf("err = %v", err)
		}
		if live := observe(t, s, "wg0"); live.Exists {
			t.Error("the interface is still there")
		}

		// One that was there before stays.
		up(t, s, "wg0", "[Interface]\n"+private)
		p.Steps = p.Steps[1:]
		if err := s.Apply(context.Background(), p); err == nil {
			t.Error("no error")
		}
		if live := observe(t, s, "wg0"); !live.Exists {
			t.Error("the interface is gone")
		}
	})
}

func TestAPortThatIsTaken(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		up(t, s, "wg1", "[Interface]\n"+private+"ListenPort = 7\n")
		_, err := apply(s, "wg0", parse(t, "[Interface]\n"+private+"ListenPort = 7\n"))
		if err == nil || !strings.Contains(err.Error(), "taken by another socket") {
			t.Errorf("err = %v", err)
		}
		if observe(t, s, "wg0").Exists {
			t.Error("the interface is still there")
		}
	})
}

func TestALinkThatIsNoWireGuardIsLeftAlone(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		run(t, "ip", "link", "add", "name", "wg0", "type", "bridge")
		if _, err := s.Observe(context.Background(), "wg0"); err == nil {
			t.Error("observed")
		}
		if err := s.Delete(context.Background(), "wg0"); err == nil {
			t.Error("deleted")
		}
		run(t, "ip", "link", "del", "wg0")
	})
}

func TestDeletingWhatIsNotThere(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		if err := s.Delete(context.Background(), "wg0"); err != nil {
			t.Error(err)
		}
	})
}

// pidOf returns the process that serves a userspace device; zero: the kernel does.
func pidOf(t *testing.T, s *System, iface string) int {
	t.Helper()
	if !observe(t, s, iface).Userspace {
		return 0
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if b, _ := os.ReadFile(p); strings.HasSuffix(string(b), "wg-device\x00"+iface+"\x00") {
			var pid int
			for _, c := range strings.Split(p, "/")[2] {
				pid = pid*10 + int(c-'0')
			}
			own, _ := os.Readlink("/proc/self/ns/net")
			if its, _ := os.Readlink(filepath.Join(filepath.Dir(p), "ns/net")); its == own {
				return pid
			}
		}
	}
	t.Fatal("no wg-device found")
	return 0
}

const full = "[Interface]\n" + private + "Address = 10.1.0.1/24\n" + peerA + "AllowedIPs = 0.0.0.0/0\nEndpoint = 192.0.2.7:1\n"

func TestADeviceThatDiedIsMadeAnew(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		up(t, s, "wg0", full)
		pid := pidOf(t, s, "wg0")
		if pid == 0 {
			run(t, "ip", "link", "del", "wg0") // the nearest thing to it
		} else {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			lab.Eventually(t, 30*time.Second, "the end of the link", func() bool { l, err := s.findLink("wg0"); return l == nil && err == nil })
			if _, err := os.Stat(socketOf("wg0")); err != nil {
				t.Errorf("the socket was to be left behind: %v", err)
			}
		}
		up(t, s, "wg0", full)

		// And if it is never made again, its rules and tables still go.
		if pid := pidOf(t, s, "wg0"); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			lab.Eventually(t, 30*time.Second, "the end of the link", func() bool { l, err := s.findLink("wg0"); return l == nil && err == nil })
			_ = os.Remove(socketOf("wg0"))
		} else {
			run(t, "ip", "link", "del", "wg0")
		}
		if err := s.Delete(context.Background(), "wg0"); err != nil {
			t.Error(err)
		}
		if rules := run(t, "ip", "rule"); strings.Contains(rules, "fwmark") || strings.Contains(rules, "suppress") {
			t.Errorf("left behind:\n%s", rules)
		}
	})
}

func TestADeviceThatHangs(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		up(t, s, "wg0", full)
		pid := pidOf(t, s, "wg0")
		if pid == 0 {
			return // the kernel does not hang
		}
		_ = syscall.Kill(pid, syscall.SIGSTOP)
		defer syscall.Kill(pid, syscall.SIGCONT)
		lab.Eventually(t, 30*time.Second, "its standstill", func() bool {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return strings.Contains(string(b), ") T ")
		})
		for range 3 {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			start := time.Now()
			_, err := s.Observe(ctx, "wg0")
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > time.Second {
				t.Errorf("after %s: %v", time.Since(start), err)
			}
			cancel()
		}
		hanging, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() { _, _ = s.Observe(hanging, "wg0") }()
		start := time.Now()
		up(t, s, "wg1", "[Interface]\n"+private+"Address = 10.5.0.1/24\n"+peerB+"AllowedIPs = 10.6.0.0/16\n")
		if took := time.Since(start); took > testConfig("").Timeout {
			t.Errorf("another interface waits for it: %s", took)
		}
		_ = syscall.Kill(pid, syscall.SIGCONT)
		lab.Eventually(t, 30*time.Second, "its answer", func() bool {
			_, err := s.Observe(context.Background(), "wg0")
			return err == nil
		})
	})
}

func TestACallWithoutAnAnswer(t *testing.T) {
	onHost(t, func(t *testing.T, _ *System) {
		c := testConfig("")
		c.Timeout = 20 * time.Millisecond
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ask := func(f func(c wireGuard)) error {
			_, err := call(t.Context(), s, "wg0", func(c wireGuard) (int, error) { f(c); return 0, nil })
			return err
		}
		question := func(wireGuard) {}
		answer := make(chan struct{})
		for _, f := range []func(wireGuard){func(wireGuard) { <-answer }, question} { // the second waits behind the first
			if err := ask(f); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("it does not wait: %v", err)
			}
		}
		close(answer)
		lab.Eventually(t, 30*time.Second, "the next call", func() bool { return ask(question) == nil })
		if !lab.HasKernelWireGuard(t) {
			return
		}
		lost := func(c wireGuard) { // what waits for the kernel is woken when the client is closed
			for err := error(fs.ErrNotExist); errors.Is(err, fs.ErrNotExist); time.Sleep(time.Millisecond) {
				_, err = c.Device("wg7")
			}
		}
		if err := ask(lost); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it does not wait: %v", err)
		}
		lab.Eventually(t, 30*time.Second, "the call after one that was lost", func() bool { return ask(question) == nil })
	})
}

func TestADeviceThatIsAboutToAnswer(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		up(t, s, "wg0", "[Interface]\nAddress = 10.0.0.1/24\n")
		if !observe(t, s, "wg0").Userspace {
			return // the kernel makes link and device at once
		}
		socket := socketOf("wg0")
		if err := os.Rename(socket, socket+".later"); err != nil {
			t.Fatal(err)
		}
		back := time.AfterFunc(appearing/4, func() { _ = os.Rename(socket+".later", socket) })
		defer back.Stop()
		observe(t, s, "wg0")
	})
}

func TestDeviceLogIsInRunDir(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		up(t, s, "wg0", "[Interface]\n"+private)
		live := observe(t, s, "wg0")
		if _, err := os.Stat(filepath.Join(s.cfg.RunDir, "wg0.device.log")); (err == nil) != live.Userspace {
			t.Errorf("userspace: %v, log: %v", live.Userspace, err)
		}
	})
}

func TestADeviceOutlivesUs(t *testing.T) {
	env := hostEnv(t)
	h, file := lab.NewHost(t, "host"), "/run/wg0.conf"
	h.Write(t, file, full, 0o600)
	h.Run(t, append(env, bringUpEnv+"="+file, os.Args[0])...) // the process that made it has ended here
	if out := h.Run(t, "wg", "show", "wg0", "peers"); strings.Count(out, "\n") != 1 {
		t.Errorf("peers: %q", out)
	}
	if again := h.Run(t, append(env, bringUpEnv+"="+file, os.Args[0])...); again != "" {
		t.Errorf("something was done the second time:\n%s", again)
	}
}

func TestTwoDefaultRoutesSideBySide(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		up(t, s, "wg0", full)
		up(t, s, "wg1", strings.Replace(full, "10.1.0.1", "10.2.0.1", 1))
		for _, iface := range []string{"wg0", "wg1"} {
			live := observe(t, s, iface)
			if live.Firewall == (plan.Families{}) || live.FwMark == 0 {
				t.Errorf("%s: firewall %+v, mark %d", iface, live.Firewall, live.FwMark)
			}
		}
		if err := s.Delete(context.Background(), "wg1"); err != nil {
			t.Fatal(err)
		}
		if again := up(t, s, "wg0", full); !again.Empty() {
			t.Errorf("deleting one has changed the other:\n%s", again)
		}
		// A plain interface beside a default route takes none of its rules.
		up(t, s, "wg1", "[Interface]\n"+private+"Address = 10.3.0.1/24\n"+peerB+"AllowedIPs = 10.4.0.0/16\n")
		if again := up(t, s, "wg0", full); !again.Empty() {
			t.Errorf("a plain interface has changed the other:\n%s", again)
		}
	})
}

// The rules outlive a link that somebody deletes, and go with the default route that its file no longer has.
func TestRulesOfALinkThatIsGone(t *testing.T) {
	const rules = "ip -4 rule; ip -6 rule"
	for name, next := range map[string]string{
		"no default route": "[Interface]\n" + private + "Address = 10.1.0.1/24\n" + peerA + "AllowedIPs = 10.2.0.0/16\n",
		"another mark":     strings.Replace(full, "[Interface]\n", "[Interface]\nFwMark = 77\n", 1),
	} {
		t.Run(name, func(t *testing.T) {
			onHost(t, func(t *testing.T, s *System) {
				up(t, s, "wg1", strings.Replace(full, "10.1.0.1", "10.3.0.1", 1)) // whose rules stay
				beside := run(t, "sh", "-c", rules)
				up(t, s, "wg0", full)
				run(t, "ip", "link", "del", "wg0")
				up(t, s, "wg0", next)
				run(t, "ip", "link", "del", "wg0")
				up(t, s, "wg0", "[Interface]\n")
				if got := run(t, "sh", "-c", rules); got != beside {
					t.Errorf("it leaves\n%s\nwhere there was\n%s", got, beside)
				}
			})
		})
	}
}

func TestEvents(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		run(t, "sh", "-ec", world)
		up(t, s, "wg0", "[Interface]\n"+private+"Address = 10.1.0.1/24\n"+peerA+"AllowedIPs = 10.2.0.0/24\n")
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		events := s.Events(ctx, func(iface string) bool { return iface == "wg0" })
		heard := func(within time.Duration) bool {
			select {
			case <-events:
				for { // the rest of it
					select {
					case <-events:
					case <-time.After(100 * time.Millisecond):
						return true
					}
				}
			case <-time.After(within):
				return false
			}
		}
		if !heard(2 * time.Second) {
			t.Error("no signal at first")
		}
		for _, args := range [][]string{
			{"ip", "route", "del", "10.2.0.0/24", "dev", "wg0"},
			{"ip", "address", "del", "10.1.0.1/24", "dev", "wg0"},
			{"ip", "link", "set", "wg0", "mtu", "1300"},
			{"ip", "rule", "add", "not", "fwmark", "9", "table", "9"},
			{"ip", "rule", "del", "not", "fwmark", "9", "table", "9"},
			{"ip", "-6", "address", "add", "fd00:1::1/64", "dev", "wg0"},
		} {
			run(t, args...)
			if !heard(2 * time.Second) {
				t.Errorf("%s: no signal", strings.Join(args, " "))
			}
		}
		for _, args := range [][]string{
			{"ip", "route", "add", "10.99.0.0/24", "via", "192.0.2.1"},
			{"ip", "address", "add", "192.0.2.77/24", "dev", "eth0"},
			{"ip", "link", "set", "eth0", "mtu", "1439"},
		} {
			run(t, args...)
			if heard(150 * time.Millisecond) {
				t.Errorf("%s: a signal", strings.Join(args, " "))
			}
		}
		cancel()
		lab.Eventually(t, 30*time.Second, "the end of the channel", func() bool {
			select {
			case _, open := <-events:
				return !open
			default:
				return false
			}
		})
	})
}
