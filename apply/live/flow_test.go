package live

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"wg-kube/internal/lab/hosts"
)

// What a stream sends: packets a second, and at once when the machine held the sender up. WireGuard queues 1024.
const (
	rate  = 1000
	burst = 64
)

// loss is what was lost while something was done.
type loss struct {
	toHub, through hosts.Lost // from a spoke to the hub, and to another spoke through the hub
	control        hosts.Lost // both, at the same time, at the twin
}

func (l loss) sent() int { return l.toHub.Sent + l.through.Sent }
func (l loss) lost() int { return l.toHub.Lost + l.through.Lost }

func (l *loss) add(more loss) {
	for of, n := range map[*hosts.Lost]hosts.Lost{&l.toHub: more.toHub, &l.through: more.through, &l.control: more.control} {
		of.Sent, of.Lost, of.Held = of.Sent+n.Sent, of.Lost+n.Lost, of.Held+n.Held
	}
}

// busy reports whether something may have been lost to the machine: the control has lost something at the same time.
// Beside a clean control nothing excuses a loss, however long somebody was held up.
func (l loss) busy() bool { return l.control.Lost > 0 }

func (l loss) String() string {
	return fmt.Sprintf("to the hub %s; through the hub %s; control %s", l.toHub, l.through, l.control)
}

// streams are those of a hub: to itself, and through it.
type streams [2]*hosts.Flow

func (h *hub) stream(t testing.TB) (s streams) {
	t.Helper()
	for i, p := range []struct {
		to   *machine
		addr string
	}{{h.machine, addrHub}, {h.b, addrB}} {
		var err error
		s[i], err = hosts.Probe{From: h.a.Host.Host, To: p.to.Host.Host, Addr: netip.MustParseAddr(p.addr), Rate: rate, Burst: burst}.Start()
		must(t, err)
	}
	return s
}

// during counts what is lost while f runs.
func (h *hub) during(t testing.TB, f func()) (l loss) {
	t.Helper()
	measured, control := h.stream(t), h.twin.stream(t)
	stop := sync.OnceFunc(func() {
		var stopping sync.WaitGroup
		var lost [4]hosts.Lost
		for i, flow := range slices.Concat(measured[:], control[:]) {
			stopping.Go(func() {
				var err error
				if lost[i], err = flow.Stop(); err != nil {
					t.Error(err)
				}
			})
		}
		stopping.Wait()
		l = loss{toHub: lost[0], through: lost[1]}
		l.add(loss{control: lost[2]})
		l.add(loss{control: lost[3]})
	})
	defer stop() // also when f ends the test
	f()
	stop()
	return l
}

// What is lost beside a clean control counts, and nothing makes up for it. What is lost together with the
// control's may be the machine's, so that piece of the measurement is made again, and the log tells of it. A change that
// loses now and then is found out all the same: it does not wait for the control.
const (
	together = 10 // changes are one piece
	patience = 5  // times a piece is made at most
)

// measure makes changes, as many as there are to be or fit into the time, and counts what is lost meanwhile.
func (h *hub) measure(t testing.TB, within time.Duration, turn func(n int)) (turns int, total loss) {
	t.Helper()
	n := 0
	for start := time.Now(); turns < *changes && (turns == 0 || time.Since(start) < within); {
		piece := min(together, *changes-turns)
		total.add(h.judged(t, func() {
			for range piece {
				turn(n)
				n++
			}
		}))
		turns += piece
	}
	return turns, total
}

// judged is during, made again as long as what was lost may be the machine's.
func (h *hub) judged(t testing.TB, f func()) loss {
	t.Helper()
	return excused(t, func() loss { return h.during(t, f) })
}

func excused(t testing.TB, measure func() loss) (l loss) {
	t.Helper()
	for range patience {
		if l = measure(); l.lost() == 0 || !l.busy() {
			break
		}
		t.Logf("again, for the control has lost something, too: %s", l)
	}
	return l
}

func TestWhatExcusesALoss(t *testing.T) {
	clean, lost := loss{}, loss{through: hosts.Lost{Sent: 100, Lost: 1}}
	held, busy, always := lost, lost, make([]loss, patience)
	held.through.Held, held.control.Held = 50, 50
	busy.control.Lost = 1
	for i := range always {
		always[i] = busy
	}
	for name, c := range map[string]struct {
		measured []loss
		lost     int
	}{
		"nothing":                                {[]loss{lost, clean}, 1},
		"not that somebody was held up":          {[]loss{held, clean}, 1},
		"that the control has lost something":    {[]loss{busy, clean}, 0},
		"not if it is so each time":              {always, 1},
		"not what is lost again beside it alone": {[]loss{busy, lost, clean}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := -1
			if got := excused(t, func() loss { n++; return c.measured[n] }); got.lost() != c.lost {
				t.Errorf("%d lost, want %d", got.lost(), c.lost)
			}
		})
	}
}
