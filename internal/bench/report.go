package bench

import (
	"fmt"
	"strings"
	"time"
)

// Report is a run for people: the machine, the targets, and every table.
func (r *Run) Report(tables []Table, targets []Target) string {
	var b strings.Builder
	fmt.Fprintf(&b, "One run, begun %s, on %s.\n", r.Began.Format(time.DateTime+" MST"), r.Machine)
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "%s\n", n)
	}
	if v := Verdicts(r, targets); v != "" {
		fmt.Fprintf(&b, "\n%s", v)
	}
	b.WriteString("\nOf several values: **median** (p99; min-max). Growth is the power of the size that fits the medians.\n")
	for _, t := range tables {
		if m := t.Markdown(r); m != "" {
			fmt.Fprintf(&b, "\n%s", m)
		}
	}
	return b.String()
}
