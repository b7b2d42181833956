package bench

import (
	"encoding/json"
	"slices"
	"time"
)

// Run is what one run has measured, on one machine.
type Run struct {
	Machine Machine   `json:"machine"`
	Began   time.Time `json:"began"`
	Notes   []string  `json:"notes,omitempty"` // what was left out, and why
	Series  []Series  `json:"series"`          // in the order in which they were first measured
}

// Series is one quantity at several sizes.
type Series struct {
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	Points []Point `json:"points"` // by size
}

// Point is a quantity at one size.
type Point struct {
	Size   int       `json:"size"` // peers, or Nodes
	Values []float64 `json:"values"`
	Summary
}

// Add takes values in.
func (r *Run) Add(name, unit string, size int, values ...float64) {
	at := slices.IndexFunc(r.Series, func(s Series) bool { return s.Name == name })
	if at < 0 {
		at = len(r.Series)
		r.Series = append(r.Series, Series{Name: name, Unit: unit})
	}
	s := &r.Series[at]
	n, found := slices.BinarySearchFunc(s.Points, size, func(p Point, size int) int { return p.Size - size })
	if !found {
		s.Points = slices.Insert(s.Points, n, Point{Size: size})
	}
	p := &s.Points[n]
	p.Values = append(p.Values, values...)
	p.Summary = Summarize(p.Values)
}

// Find returns a series, and false if nothing of it was measured.
func (r *Run) Find(name string) (Series, bool) {
	for _, s := range r.Series {
		if s.Name == name {
			return s, true
		}
	}
	return Series{}, false
}

// At returns a quantity at a size, and false if it was not measured there.
func (r *Run) At(name string, size int) (Summary, bool) {
	s, _ := r.Find(name)
	for _, p := range s.Points {
		if p.Size == size {
			return p.Summary, true
		}
	}
	return Summary{}, false
}

// JSON is the run with every value, for other programs.
func (r *Run) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "\t")
	return append(b, '\n'), err
}

// Millis are durations as milliseconds, the unit of every time here.
func Millis(ds ...time.Duration) []float64 {
	out := make([]float64, len(ds))
	for i, d := range ds {
		out[i] = float64(d.Microseconds()) / 1000
	}
	return out
}
