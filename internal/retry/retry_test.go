package retry

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	b := Backoff{First: time.Second, Last: time.Minute}
	for round := range 2 {
		differ := false
		var before time.Duration
		for n := range 100 {
			due := min(time.Minute, time.Second<<min(n, 10))
			d := b.Next()
			if d < due/2 || d > due {
				t.Fatalf("round %d, failure %d: %s, want %s to %s", round, n+1, d, due/2, due)
			}
			differ = differ || due == time.Minute && before > 0 && d != before
			before = d
		}
		if !differ {
			t.Error("each wait is as long as the one before")
		}
		b.Reset()
	}
}
