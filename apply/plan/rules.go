package plan

import "slices"

// A default route has two rules in each family, the guide "not fwmark T lookup T" and directly before it the
// exemption "lookup main suppress_prefixlength 0". The exemption does not name T: it belongs to the guide that
// comes next, of whatever device that is.

const lastPriority = 32765 // of a rule that comes before main

func (r Rule) Guide() bool { return r.Not && r.Mark != 0 && r.Mark == r.Table && r.Suppress < 0 }
func (r Rule) Exemption() bool {
	return !r.Not && r.Mark == 0 && r.Table == tableMain && r.Suppress == 0
}

type ruleSteps struct{ gain, lose []Step }

func (d *differ) rules() (s ruleSteps) {
	for _, v6 := range []bool{false, true} {
		gain, lose := d.familyRules(v6)
		s.gain = append(s.gain, gain...)
		s.lose = append(s.lose, lose...)
	}
	return s
}

func (d *differ) familyRules(v6 bool) (gain, lose []Step) {
	var guide, exemption *Rule // wanted
	for _, r := range d.want.Rules {
		switch {
		case r.V6 != v6:
		case r.Guide():
			guide = &r
		case r.Exemption():
			exemption = &r
		}
	}

	// The guide that stays is the first that says the right thing, whoever added it.
	var kept *Rule
	for _, r := range d.live.Rules {
		if r.V6 == v6 && guide != nil && r.Guide() && r.Mark == guide.Mark && (kept == nil || r.Priority < kept.Priority) {
			kept = &r
		}
	}
	guides := make(map[int]bool) // priorities at which one was, and whether one stays there
	for _, r := range d.live.Rules {
		if r.V6 != v6 || !r.Guide() {
			continue
		}
		loses := d.ourGuide(r) && (kept == nil || r != *kept)
		guides[r.Priority] = guides[r.Priority] || !loses
		if loses {
			lose = append(lose, DelRule{d.iface, r})
		}
	}
	exempt := false // the guide that stays has an exemption before it
	var alone *Rule // an exemption of ours that has lost its guide
	for _, r := range d.live.Rules {
		if r.V6 != v6 || !r.Exemption() {
			continue
		}
		stays, hadGuide := guides[r.Priority+1]
		switch {
		case guide != nil && kept == nil && alone == nil && !hadGuide && d.left(r):
			alone = &r
		case !stays && ours(r.Protocol, hadGuide && d.bootRules()):
			lose = append(lose, DelRule{d.iface, r})
		case kept != nil && r.Priority < kept.Priority:
			exempt = true
		}
	}

	switch {
	case guide == nil:
	case alone != nil: // where it was: else each repair would take the two a step towards the first of all rules
		guide.Priority = alone.Priority + 1
		gain = append(gain, AddRule{d.iface, *guide})
	case kept == nil:
		gain = append(gain, AddRule{d.iface, *guide})
		if exemption != nil {
			gain = append(gain, AddRule{d.iface, *exemption})
		}
	case exemption != nil && !exempt:
		exemption.Priority = kept.Priority - 1
		gain = append(gain, AddRule{d.iface, *exemption})
	}
	return gain, lose
}

// left reports whether an exemption without a guide is what is left of ours. A guide that takes its place has to come
// before main.
func (d *differ) left(r Rule) bool {
	return ours(r.Protocol, d.bootRules() && d.want.FwMark == d.live.FwMark) && r.Priority+1 <= lastPriority
}

// ourGuide reports whether a rule is that of our device: it bears our mark, also that of a device which is gone, or
// leads into a default route of ours.
func (d *differ) ourGuide(r Rule) bool {
	if !ours(r.Protocol, d.bootRules()) {
		return false
	}
	leads := func(route Route) bool {
		return route.Table == r.Table && route.Dst.Bits() == 0 && route.Dst.Addr().Is6() == r.V6
	}
	return r.Mark == d.live.FwMark || r.Mark == d.live.FirewallMark || r.Mark == d.want.FwMark ||
		slices.ContainsFunc(d.ourRoutes(), leads) || slices.ContainsFunc(d.want.Routes, leads)
}

// bootRules reports whether rules of protocol boot can be wg-quick's. Beside a Table of its own choice a person
// adds such rules in a hook.
func (d *differ) bootRules() bool { return d.want.Table == "auto" || d.want.Table == "" }
