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
		of.Sent, of.Lost = of.Sent+n.Sent, of.Lost+n.Lost
	}
}

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
		l = loss{lost[0], lost[1], hosts.Lost{Sent: lost[2].Sent + lost[3].Sent, Lost: lost[2].Lost + lost[3].Lost}}
	})
	defer stop() // also when f ends the test
	f()
	stop()
	return l
}

// A measurement counts when the control has lost nothing meanwhile; whether anything else was lost does not matter for
// that. So it is made in small pieces, of which one that does not count is made again.
const (
	together = 10 // changes are one piece
	patience = 5  // times a piece is made on a machine too busy to carry even the control
)

// measure makes changes, as many as there are to be or fit into the time, and counts what is lost meanwhile.
func (h *hub) measure(t testing.TB, within time.Duration, turn func(n int)) (turns int, total loss) {
	t.Helper()
	n := 0
	for start := time.Now(); turns < *changes && (turns == 0 || time.Since(start) < within); {
		piece := min(together, *changes-turns)
		total.add(h.undisturbed(t, func() {
			for range piece {
				turn(n)
				n++
			}
		}))
		turns += piece
	}
	return turns, total
}

func (h *hub) undisturbed(t testing.TB, f func()) (l loss) {
	t.Helper()
	for range patience {
		if l = h.during(t, f); l.control.Lost == 0 {
			return l
		}
		t.Logf("again, for the machine is too busy: %s", l)
	}
	t.Errorf("the machine is too busy: the control loses packets each time")
	return l
}
