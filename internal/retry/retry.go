// Package retry says how long to wait before something that failed is tried again. It waits for nobody, and it never
// gives up: what makes a daemon fail is mended by a person, or passes. What does neither is ErrNever.
package retry

import (
	"errors"
	"math/rand/v2"
	"time"
)

// ErrNever is wrapped by what would fail again however often it is tried.
var ErrNever = errors.New("it is not tried again")

// Backoff is twice as long each time, within bounds, and never in step with others. First is needed.
type Backoff struct {
	First time.Duration // after the first failure
	Last  time.Duration // the longest; zero: no bound

	failed int
}

// Next counts one more failure, and is how long to wait after it: between half of what is due and all of it.
func (b *Backoff) Next() time.Duration {
	d := b.First << min(b.failed, 20)
	if b.Last > 0 {
		d = min(d, b.Last)
	}
	b.failed++
	return d/2 + rand.N(d/2+1)
}

// Reset forgets the failures: it worked.
func (b *Backoff) Reset() { b.failed = 0 }
