package bench

import (
	"fmt"
	"strings"
)

// Target is something that was promised of one series, at one size.
type Target struct {
	What   string
	Series string
	Size   int
	Of     func(Summary) float64 // which value counts; nil: the median
	AtMost float64               // in the unit of the series or, with Times, that many times
	Times  []string              // the sum of the medians of these series

	Constant bool // instead: the same at every size
}

// P99 and Max are for Target.Of.
func P99(s Summary) float64 { return s.P99 }

// Max is the largest value.
func Max(s Summary) float64 { return s.Max }

// verdict is what came of a target.
type verdict struct {
	target, measured string
	met              bool
}

// judge compares r with the target. False: it was not measured.
func (t Target) judge(r *Run) (v verdict, ok bool) {
	if t.Constant {
		return t.constant(r)
	}
	is, ok := r.At(t.Series, t.Size)
	if !ok {
		return v, false
	}
	value := is.Median
	if t.Of != nil {
		value = t.Of(is)
	}
	s, _ := r.Find(t.Series)
	if len(t.Times) == 0 {
		return verdict{"at most " + number(t.AtMost) + " " + s.Unit, number(value) + " " + s.Unit, value <= t.AtMost}, true
	}
	base := 0.0
	for _, name := range t.Times {
		other, ok := r.At(name, t.Size)
		if !ok {
			return v, false
		}
		base += other.Median
	}
	v.target = "at most " + times(t.AtMost) + " of: " + strings.Join(t.Times, " and ")
	v.measured = fmt.Sprintf("%s (%s of %s %s)", times(value/base), number(value), number(base), s.Unit)
	v.met = value <= t.AtMost*base
	return v, true
}

// constant compares the medians of all sizes.
func (t Target) constant(r *Run) (v verdict, ok bool) {
	s, _ := r.Find(t.Series)
	if len(s.Points) < 2 {
		return v, false
	}
	v = verdict{target: "the same at every size", met: true}
	var values []string
	for _, p := range s.Points {
		v.met = v.met && p.Median == s.Points[0].Median
		values = append(values, number(p.Median))
	}
	v.measured = strings.Join(values, ", ") + " " + s.Unit
	return v, true
}

// times is a factor as people say it.
func times(f float64) string {
	if f > 0 && f < 0.5 {
		return "1/" + number(1/f)
	}
	return number(f) + "x"
}

// Verdicts is a table of the targets, with what was measured. Those of which nothing was measured are left out.
func Verdicts(r *Run, targets []Target) string {
	var b strings.Builder
	for _, t := range targets {
		v, ok := t.judge(r)
		if !ok {
			continue
		}
		size := thousands(t.Size)
		if t.Constant {
			size = "all"
		}
		met := "yes"
		if !v.met {
			met = "**no**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", t.What, size, v.target, v.measured, met)
	}
	if b.Len() == 0 {
		return ""
	}
	return "| what | at | target | measured | met |\n|---|--:|---|---|---|\n" + b.String()
}
