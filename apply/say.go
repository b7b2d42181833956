package apply

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"wg-kube/apply/plan"
	"wg-kube/templates/status"
	"wg-kube/templates/wgquick"
)

// say logs what s says and the look before did not. unsaved is why s could not be written, nil if it could.
func (v *voice) say(s status.Status, unsaved error) {
	was := v.said
	v.said = map[string]bool{}
	say := func(level slog.Level, msg, key string, lines ...string) {
		fresh := slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
			v.said[line] = true
			return was[line]
		})
		v.tell(level, msg, len(fresh), func(n int) []any { return []any{key, fresh[n]} })
	}
	say(slog.LevelError, "refused", "err", s.Refused...)
	say(slog.LevelError, "not as the file says", "err", s.Errors...)
	say(slog.LevelWarn, "note", "err", s.Warnings...)
	if len(s.Held) > 0 {
		say(slog.LevelWarn, "held", "err", heldLine(s))
	}
	if unsaved != nil {
		say(slog.LevelError, "the status is not written", "err", unsaved.Error())
	}
	if s.Waiting != "" {
		say(slog.LevelInfo, "waiting for a file", "path", s.Waiting)
	}
	v.rests()
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

// replaced names both where one peer has taken the place or a prefix of another, which no guard keeps it from: a spoke
// follows its hub to a new key, or to a new machine, without a person.
func (v *voice) replaced(was, is []wgquick.Peer) {
	who := func(p *wgquick.Peer) string { return strings.TrimSpace(p.Origin.String() + " " + p.PublicKey.String()) }
	say := func(what string, all [][2]*wgquick.Peer) {
		v.tell(slog.LevelWarn, what, len(all), func(n int) []any { return []any{"peer", who(all[n][0]), "by", who(all[n][1])} })
	}
	say("replaced", replaced(was, is))
	say("prefixes taken over", robbed(was, is))
}

// robbed are those with a prefix that another has now, who was there before or has not driven them out altogether; each
// with the first such other.
func robbed(was, is []wgquick.Peer) (out [][2]*wgquick.Peer) {
	for len(was) > 0 && len(is) > 0 && was[0].PublicKey == is[0].PublicKey && slices.Equal(was[0].AllowedIPs, is[0].AllowedIPs) {
		was, is = was[1:], is[1:] // nearly all are as they were
	}
	for w, i := len(was)-1, len(is)-1; w >= 0 && i >= 0 && was[w].PublicKey == is[i].PublicKey && slices.Equal(was[w].AllowedIPs, is[i].AllowedIPs); w, i = w-1, i-1 {
		was, is = was[:w], is[:i]
	}
	holder, stays := map[netip.Prefix]*wgquick.Peer{}, map[wgquick.PublicKey]bool{}
	for i := range is {
		stays[is[i].PublicKey] = true
		for _, a := range is[i].AllowedIPs {
			holder[a] = &is[i]
		}
	}
	before := map[wgquick.PublicKey]bool{}
	for i := range was {
		before[was[i].PublicKey] = true
	}
	for i := range was {
		p := &was[i]
		for _, a := range p.AllowedIPs {
			if by := holder[a]; by != nil && by.PublicKey != p.PublicKey && (stays[p.PublicKey] || before[by.PublicKey]) {
				out = append(out, [2]*wgquick.Peer{p, by})
				break
			}
		}
	}
	return out
}

// replaced are those who are gone, each with the newcomer that has its name or one of its prefixes; where nobody has
// stayed, with whoever is there instead.
func replaced(was, is []wgquick.Peer) (out [][2]*wgquick.Peer) {
	all := len(was)
	for len(was) > 0 && len(is) > 0 && was[0].PublicKey == is[0].PublicKey { // nearly all are as they were
		was, is = was[1:], is[1:]
	}
	for len(was) > 0 && len(is) > 0 && was[len(was)-1].PublicKey == is[len(is)-1].PublicKey {
		was, is = was[:len(was)-1], is[:len(is)-1]
	}
	gone := but(was, is)
	heirs := map[any]*wgquick.Peer{}
	for _, p := range slices.Backward(but(is, was)) {
		if heirs[p.Origin] = p; len(gone) == all {
			heirs[nil] = p
		}
		for _, a := range p.AllowedIPs {
			heirs[a] = p
		}
	}
	delete(heirs, wgquick.Origin{}) // which says nothing
	for _, p := range gone {
		by := heirs[p.Origin]
		for _, a := range p.AllowedIPs {
			by = cmp.Or(by, heirs[a])
		}
		if by = cmp.Or(by, heirs[nil]); by != nil {
			out = append(out, [2]*wgquick.Peer{p, by})
		}
	}
	return out
}

// but is those of peers whose key none of the others has.
func but(peers, others []wgquick.Peer) (out []*wgquick.Peer) {
	known := make(map[wgquick.PublicKey]bool, len(others))
	for i := range others {
		known[others[i].PublicKey] = true
	}
	for i := range peers {
		if !known[peers[i].PublicKey] {
			out = append(out, &peers[i])
		}
	}
	return out
}

// plan names the steps of p.
func (v *voice) plan(p plan.Plan, drift bool) {
	msg, level := "changed", slog.LevelInfo
	if drift { // the file has not changed, so somebody else did this
		msg, level = "drift", slog.LevelWarn
	}
	v.tell(level, msg, len(p.Steps), func(n int) []any { return []any{"op", p.Steps[n].String()} })
}
