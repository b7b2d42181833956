package render

import (
	"testing"
	"time"
)

func TestAge(t *testing.T) {
	for want, heard := range map[string]func() time.Time{
		"":                              nil,
		"; API server not heard yet":    func() time.Time { return time.Time{} },
		"; API server heard 2m5s ago":   func() time.Time { return time.Now().Add(-125 * time.Second) },
		"; API server heard 1h0m0s ago": func() time.Time { return time.Now().Add(-time.Hour) },
	} {
		if got := (&standing{heard: heard}).age(); got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
}
