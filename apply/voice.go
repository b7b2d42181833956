package apply

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

// How many lines of a kind are logged of one plan or file, how many before their number is limited, and how many a second
// from then on. A first start with thousands of peers is one line more.
const (
	mostSteps    = 40
	linesAtOnce  = 100
	linesASecond = 1
)

// voice is the log of one interface, as far as what is proposed makes it speak. Whoever writes proposals can write another
// one many times a second, and is not to fill a disk: lines that are too many are counted, and one line tells how many
// there were. Kinds of lines, which are those with one message, take no room from each other.
type voice struct {
	log   *slog.Logger
	now   func() time.Time
	said  map[string]bool // what the last look had to say, so that at rest there is silence
	kinds map[string]*kind
}

type kind struct {
	level slog.Level
	pace  *rate.Limiter
	more  int // lines, which nothing has told of yet
}

func newVoice(log *slog.Logger, now func() time.Time) voice {
	return voice{log: log, now: now, kinds: map[string]*kind{}}
}

// tell logs as many of n lines as there is room for. line is what the log has beside msg.
func (v *voice) tell(level slog.Level, msg string, n int, line func(n int) []any) {
	ctx := context.Background()
	if n == 0 || !v.log.Enabled(ctx, level) {
		return
	}
	k := v.kinds[msg]
	if k == nil {
		k = &kind{pace: rate.NewLimiter(linesASecond, linesAtOnce)}
		v.kinds[msg] = k
	}
	k.level, k.more = level, k.more+n
	for i := range min(n, mostSteps) {
		if !k.pace.AllowN(v.now(), 1) {
			break
		}
		v.log.Log(ctx, level, msg, line(i)...)
		k.more--
	}
	v.rest(msg)
}

// rest tells how many lines there were beside those that were logged, if there is room for that.
func (v *voice) rest(msg string) {
	if k := v.kinds[msg]; k.more > 0 && k.pace.AllowN(v.now(), 1) {
		v.log.Log(context.Background(), k.level, msg, "op", fmt.Sprintf("... and %d more", k.more))
		k.more = 0
	}
}

// rests is rest, of all there is.
func (v *voice) rests() {
	for _, msg := range slices.Sorted(maps.Keys(v.kinds)) {
		v.rest(msg)
	}
}
