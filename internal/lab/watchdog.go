package lab

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

// Watchdog is a service manager that wants to hear every 30 ms that all is well. fed reports whether it does within a
// time that somebody who says it takes many times over.
func Watchdog(t *testing.T) (fed func(within time.Duration) bool) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	check(t, err)
	t.Cleanup(func() { _ = l.Close() })
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "30000")
	return func(within time.Duration) bool {
		t.Helper()
		for end := time.Now().Add(within); ; {
			check(t, l.SetReadDeadline(end))
			b := make([]byte, 4096)
			n, err := l.Read(b)
			if err != nil {
				return false
			}
			if string(b[:n]) == "WATCHDOG=1" {
				return true
			}
		}
	}
}
