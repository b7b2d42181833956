// Package bench says what a run of wg-bench has measured: as numbers that can be compared (JSON), as tables
// (Markdown, CSV), as plots (SVG, PNG), and against what was promised.
//
// It measures nothing, and it judges by ratios within one run where it can: a time alone says more of the machine
// than of the program.
package bench

import (
	"math"
	"slices"
)

// Summary is what many values of one quantity come to, in the unit of the quantity. The zero value is that of none.
type Summary struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99"` // nearest rank: of fewer than a hundred values the largest
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Summarize says what values come to.
func Summarize(values []float64) Summary {
	n := len(values)
	if n == 0 {
		return Summary{}
	}
	sorted := slices.Sorted(slices.Values(values))
	return Summary{
		N:      n,
		Median: (sorted[(n-1)/2] + sorted[n/2]) / 2,
		P99:    sorted[int(math.Ceil(0.99*float64(n)))-1],
		Min:    sorted[0],
		Max:    sorted[n-1],
	}
}

// Growth is the exponent g of the power law, cost = c * size^g, that fits the medians best: 0 is a constant, 1 is
// linear. NaN: it takes two sizes, and a cost.
func Growth(points []Point) float64 {
	var n, sx, sy, sxx, sxy float64
	for _, p := range points {
		if p.Median <= 0 || p.Size <= 0 {
			return math.NaN()
		}
		x, y := math.Log(float64(p.Size)), math.Log(p.Median)
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	if n < 2 {
		return math.NaN()
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}
