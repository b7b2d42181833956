package kernel

import (
	"context"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"wg-kube/internal/lab"
)

// The kernel has more to tell than the buffer holds while nobody listens. What was lost is made good by a signal, and
// the next event is heard again.
func TestEventsThatAreLost(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		up(t, s, "wg0", "[Interface]\n"+private+"Address = 10.1.0.1/24\n"+peerA+"AllowedIPs = 10.2.0.0/24, 10.3.0.0/24\n")
		var log lab.Log
		s.cfg.Log, s.unread = slog.New(slog.NewTextHandler(&log, nil)), 1 // the kernel gives no less than 2 KB

		var once sync.Once
		deaf, wake := make(chan struct{}), make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		events := s.Events(ctx, func(iface string) bool {
			if iface == "lo" {
				once.Do(func() { close(deaf); <-wake })
			}
			return iface == "wg0"
		})
		await := func(what string) {
			t.Helper()
			select {
			case <-events:
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: no signal", what)
			}
		}
		await("at first")
		run(t, "ip", "link", "set", "lo", "mtu", "60000")
		select {
		case <-deaf:
		case <-time.After(10 * time.Second):
			t.Fatal("no event")
		}
		burst := exec.Command("ip", "-batch", "-")
		burst.Stdin = strings.NewReader(strings.Repeat("link set lo mtu 65536\nlink set lo mtu 60000\n", 500))
		if out, err := burst.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		run(t, "ip", "route", "del", "10.2.0.0/24", "dev", "wg0")
		close(wake)
		lab.Eventually(t, 30*time.Second, "more than the buffer holds", func() bool {
			return strings.Contains(log.String(), "netlink events were lost")
		})
		await("what was lost")
		await("the new subscription")
		run(t, "ip", "route", "del", "10.3.0.0/24", "dev", "wg0")
		await("an event after that")

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
