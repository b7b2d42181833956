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
	say := func(line string, log func()) {
		if now[line] = true; !(*was)[line] {
			log()
		}
	}
	for _, line := range s.Refused {
		say(line, func() { log.Error("refused", "err", line) })
	}
	for _, line := range s.Errors {
		say(line, func() { log.Error("not as the file says", "err", line) })
	}
	for _, line := range s.Warnings {
		say(line, func() { log.Warn(line) })
	}
	if len(s.Held) > 0 {
		line := heldLine(s)
		say(line, func() { log.Warn("held", "err", line) })
	}
	if s.Waiting != "" {
		say(s.Waiting, func() { log.Info("waiting for a file", "path", s.Waiting) })
	}
	*was = now
}

// heldLine says why something is held, and names the command that lets it go.
func heldLine(s status.Status) string {
	peers, prefixes := countHeld(s.Held)
	var what []string
	if peers > 0 {
		what = append(what, count(peers, "peer", "peers"))
	}
	if prefixes > 0 {
		what = append(what, count(prefixes, "prefix", "prefixes"))
	}
	line := fmt.Sprintf("no longer in the proposal, and kept: %s; let go by: wg-apply accept %s", strings.Join(what, " and "), s.Interface)
	if s.HeldWhy != "" {
		line = s.HeldWhy + "; " + line
	}
	return line
}

// count is a number of things.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
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
