package kernel

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWhoServesInUserSpace(t *testing.T) {
	onHost(t, func(t *testing.T, s *System) {
		up(t, s, "wg0", "[Interface]\n"+private)
		userspace := observe(t, s, "wg0").Userspace
		if err := s.Delete(t.Context(), "wg0"); err != nil {
			t.Fatal(err)
		}
		if !userspace {
			return // the kernel serves, whatever is said
		}
		request := filepath.Join(s.cfg.RunDir, "wg0.device")

		t.Run("nobody", func(t *testing.T) {
			s.cfg.Userspace = Off
			err := s.addLink(t.Context(), "wg0")
			if err == nil || !strings.Contains(err.Error(), "this kernel has no WireGuard") {
				t.Errorf("%v", err)
			}
		})
		t.Run("nobody, though asked", func(t *testing.T) {
			s.cfg.Userspace, s.cfg.Timeout = Ask, 100*time.Millisecond
			err := s.addLink(t.Context(), "wg0")
			if err == nil || !strings.Contains(err.Error(), request) {
				t.Errorf("%v", err)
			}
			if _, err := os.Lstat(request); err == nil {
				t.Error("it is still asked for")
			}
		})
		t.Run("somebody", func(t *testing.T) {
			s.cfg.Userspace, s.cfg.Timeout = Ask, 20*time.Second
			device := exec.Command("sh", "-c", `until [ -e "$1" ]; do sleep 0.01; done; exec "$2" wg0`, "sh", request, s.cfg.Device)
			if err := device.Start(); err != nil {
				t.Fatal(err)
			}
			err := s.addLink(t.Context(), "wg0")
			if err != nil {
				_ = device.Process.Kill()
				t.Error(err)
			}
			if _, err := os.Lstat(request); err == nil {
				t.Error("it is still asked for")
			}
			if err := s.Delete(t.Context(), "wg0"); err != nil {
				t.Error(err)
			}
			_ = device.Wait()
		})
	})
}
