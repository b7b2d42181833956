package apply

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"wg-kube/apply/plan"
	"wg-kube/templates/status"
)

// said is what the last look had to say, so that at rest there is silence.
type said map[string]bool

// say logs what s says and the look before did not.
func (was *said) say(log *slog.Logger, s status.Status) {
	now := said{}
	say := func(level slog.Level, msg string, lines ...string) {
		for _, line := range lines {
			if now[line] = true; !(*was)[line] {
				log.Log(context.Background(), level, msg, "err", line)
			}
		}
	}
	say(slog.LevelError, "refused", s.Refused...)
	say(slog.LevelError, "not as the file says", s.Errors...)
	say(slog.LevelWarn, "note", s.Warnings...)
	if len(s.Held) > 0 {
		say(slog.LevelWarn, "held", heldLine(s.Interface, s.Held))
	}
	*was = now
}

// heldLine names the command that lets go what is held.
func heldLine(iface string, held []Held) string {
	peers, prefixes := countHeld(held)
	var what []string
	if peers > 0 {
		what = append(what, fmt.Sprintf("%d peers", peers))
	}
	if prefixes > 0 {
		what = append(what, fmt.Sprintf("%d prefixes", prefixes))
	}
	return fmt.Sprintf("%s are no longer in the proposal and are kept; to let them go: wg-apply accept %s", strings.Join(what, " and "), iface)
}

func countHeld(held []Held) (peers, prefixes int) {
	for _, h := range held {
		if len(h.Prefixes) == 0 {
			peers++
		}
		prefixes += len(h.Prefixes)
	}
	return peers, prefixes
}

// mostSteps of one plan are logged one by one; a first start with thousands of peers is one line more.
const mostSteps = 40

func sayPlan(log *slog.Logger, p plan.Plan, drift bool) {
	msg, level := "changed", slog.LevelInfo
	if drift { // the file has not changed, so somebody else did this
		msg, level = "drift", slog.LevelWarn
	}
	for n, s := range p.Steps {
		if n == mostSteps {
			log.Log(context.Background(), level, msg, "op", fmt.Sprintf("... and %d more", len(p.Steps)-n))
			return
		}
		log.Log(context.Background(), level, msg, "op", s.String())
	}
}
