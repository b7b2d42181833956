package systemd

import (
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/systemd"
)

// tunnel is a spoke that has booted, with a tunnel to a hub. Its file was written by hand.
func tunnel(t *testing.T) (spoke *systemd.Machine, hub *lab.Host) {
	t.Helper()
	spoke, hub = newSpoke(t), newHub(t)
	wire(t, spoke, hub)
	spoke.Run(t, "systemctl", "enable", "wg-apply", "wg-device@wg0.path")
	spoke.Boot(t)
	active(t, spoke, "wg-apply")
	spoke.Write(t, "/etc/wireguard/wg0.conf", spokeFile, 0o600)
	reaches(t, spoke.Host, hubOverlay)
	return spoke, hub
}

func TestAFileAndATunnel(t *testing.T) {
	spoke, hub := tunnel(t)

	t.Run("systemctl says how it stands", func(t *testing.T) {
		lab.Eventually(t, hang, "STATUS", func() bool {
			return spoke.Property(t, "wg-apply", "StatusText") == "wg0: 1 peer"
		})
	})
	t.Run("from its disk after a power cut", func(t *testing.T) {
		spoke.Unplug(t)
		wire(t, spoke, hub)
		spoke.Boot(t)
		if got := spoke.Property(t, "wg-apply", "ActiveState"); got != "active" {
			t.Errorf("wg-apply is %s", got)
		}
		// READY says that the file is applied.
		if out := spoke.Run(t, "ip", "-o", "address", "show", "dev", "wg0"); !strings.Contains(out, spokeOverlay) {
			t.Errorf("it says READY without an address:\n%s", out)
		}
		reaches(t, spoke.Host, hubOverlay)
	})
	t.Run("a wg-render that cannot be started keeps nothing from starting", func(t *testing.T) {
		spoke.Run(t, "systemctl", "mask", "--now", "wg-render@wg0")
		spoke.Run(t, "systemctl", "restart", "wg-apply")
		reaches(t, spoke.Host, hubOverlay)
	})
	t.Run("a refused file keeps nothing from starting", func(t *testing.T) {
		spoke.Write(t, "/etc/wireguard/wg1.conf", "[Interface\n", 0o600)
		spoke.Run(t, "systemctl", "restart", "wg-apply")
		if got := spoke.Property(t, "wg-apply", "StatusText"); !strings.Contains(got, "wg1: refused: /etc/wireguard/wg1.conf:1: ") {
			t.Errorf("STATUS is %q", got)
		}
	})
}

// Whatever is done to wg-apply, the packets on the tunnel go on.
func TestNoPacketIsLost(t *testing.T) {
	spoke, hub := tunnel(t)
	device := ""
	if !lab.HasKernelWireGuard(t) {
		device = pid(t, spoke, "wg-device@wg0")
	}
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"restart", func() { spoke.Run(t, "systemctl", "restart", "wg-apply") }},
		{"stop and start", func() {
			spoke.Run(t, "systemctl", "stop", "wg-apply")
			if _, code := spoke.Try("test", "-s", "/run/wg-kube/wg0.json"); code != 0 {
				t.Error("the status is gone")
			}
			time.Sleep(time.Second)
			spoke.Run(t, "systemctl", "start", "wg-apply")
		}},
		{"kill", func() {
			was := pid(t, spoke, "wg-apply")
			spoke.Run(t, "systemctl", "kill", "--signal=KILL", "wg-apply")
			lab.Eventually(t, hang, "it is back", func() bool {
				return pid(t, spoke, "wg-apply") != was && spoke.Property(t, "wg-apply", "ActiveState") == "active"
			})
		}},
		{"upgrade", func() {
			makeInstall(t, spoke)
			spoke.Run(t, "systemctl", "daemon-reload")
			spoke.Run(t, "systemctl", "restart", "wg-apply")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, way := range []struct{ from, to *lab.Host }{{spoke.Host, hub}, {hub, spoke.Host}} {
				addr := hubOverlay
				if way.to == spoke.Host {
					addr = spokeOverlay
				}
				lost := lab.Loss(t, way.from, way.to, addr, 500)
				time.Sleep(200 * time.Millisecond)
				c.do()
				time.Sleep(500 * time.Millisecond)
				if l := lost(); l.Lost != 0 || l.Sent < 300 {
					t.Errorf("to %s: %v", way.to.Name, l)
				}
			}
			if device != "" && pid(t, spoke, "wg-device@wg0") != device {
				t.Error("the device is another process")
			}
		})
	}
	for line := range strings.Lines(spoke.Journal("wg-apply")) {
		if strings.Contains(line, "drift") {
			t.Errorf("something had to be repaired: %s", line)
		}
	}
}

func TestAHungLoopIsStartedAnew(t *testing.T) {
	spoke, hub := newSpoke(t), newHub(t)
	wire(t, spoke, hub)
	for _, unit := range []string{"wg-apply.service", "wg-render@.service"} {
		if text := spoke.Read(t, "/usr/local/lib/systemd/system/"+unit); !strings.Contains(text, "\nWatchdogSec=1min\n") {
			t.Errorf("%s has no watchdog:\n%s", unit, text)
		}
		spoke.Write(t, "/etc/systemd/system/"+unit+".d/soon.conf", "[Service]\nWatchdogSec=3s\n", 0o644)
	}
	spoke.Run(t, "systemctl", "enable", "wg-apply", "wg-render@wg0", "wg-device@wg0.path")
	spoke.Write(t, "/etc/wireguard/wg0.conf", spokeFile, 0o600)
	spoke.Boot(t)
	reaches(t, spoke.Host, hubOverlay)
	time.Sleep(5 * time.Second) // longer than the watchdog waits
	lost := lab.Loss(t, spoke.Host, hub, hubOverlay, 500)
	for _, unit := range []string{"wg-apply", "wg-render@wg0"} {
		if got := spoke.Property(t, unit, "NRestarts"); got != "0" {
			t.Errorf("%s was restarted while it was well, %s times", unit, got)
		}
		was := pid(t, spoke, unit)
		spoke.Run(t, "systemctl", "kill", "--kill-whom=main", "--signal=STOP", unit)
		lab.Eventually(t, hang, unit+" is another process", func() bool {
			return pid(t, spoke, unit) != was && spoke.Property(t, unit, "ActiveState") == "active"
		})
		if !logged(spoke, unit, "Watchdog timeout") {
			t.Errorf("%s: it was not the watchdog:\n%s", unit, spoke.Journal(unit))
		}
	}
	if l := lost(); l.Lost != 0 {
		t.Errorf("%v", l)
	}
}

func TestTheDeviceIsAUnitOfItsOwn(t *testing.T) {
	spoke, hub := tunnel(t)
	const device = "wg-device@wg0"
	if lab.HasKernelWireGuard(t) {
		if got := spoke.Property(t, device, "ActiveState"); got != "inactive" {
			t.Errorf("%s is %s, and nobody needs it", device, got)
		}
		return
	}
	t.Run("a killed one comes back, with all that it had", func(t *testing.T) {
		was := pid(t, spoke, device)
		spoke.Run(t, "systemctl", "kill", "--signal=KILL", device)
		lab.Eventually(t, hang, "another process", func() bool {
			now := pid(t, spoke, device)
			return now != was && now != "0"
		})
		reaches(t, spoke.Host, hubOverlay)
		reaches(t, hub, spokeOverlay)
	})
	t.Run("one whose link is deleted is asked for again", func(t *testing.T) {
		spoke.Run(t, "ip", "link", "delete", "wg0")
		reaches(t, spoke.Host, hubOverlay)
	})
	t.Run("nothing is asked for any more", func(t *testing.T) {
		if _, code := spoke.Try("test", "-e", "/run/wg-kube/wg0.device"); code == 0 {
			t.Error("the request is still there")
		}
	})
	t.Run("wg-quick takes it down where wg-apply is stopped", func(t *testing.T) {
		spoke.Run(t, "systemctl", "stop", "wg-apply")
		reaches(t, spoke.Host, hubOverlay)
		spoke.Run(t, "wg-quick", "down", "wg0")
		lab.Eventually(t, hang, "the end of the unit", func() bool { return spoke.Property(t, device, "ActiveState") == "inactive" })
		time.Sleep(time.Second) // long enough for one that should not come
		if out, code := spoke.Try("ip", "link", "show", "wg0"); code == 0 {
			t.Errorf("it came back:\n%s", out)
		}
	})
}
