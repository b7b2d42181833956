package apply

import (
	"math/rand/v2"
	"time"
)

// backoff is how long to wait before something that failed is tried again: twice as long each time, within bounds,
// and never in step with others. The zero value has not failed yet.
type backoff struct{ failed int }

const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// next counts one more failure.
func (b *backoff) next() time.Duration {
	d := min(lastRetry, firstRetry<<min(b.failed, 10))
	b.failed++
	return d/2 + rand.N(d/2+1)
}

func (b *backoff) reset() { b.failed = 0 }
