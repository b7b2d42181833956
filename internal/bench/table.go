package bench

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Table is a choice of series, side by side.
type Table struct {
	Title  string
	Size   string // what the sizes count: "peers"
	Series []string
}

// Markdown is the table: a row a series, a column a size, each cell the median and, of several values, how far they
// go. Empty: none of it was measured.
func (t Table) Markdown(r *Run) string {
	var rows []Series
	var sizes []int
	for _, name := range t.Series {
		s, ok := r.Find(name)
		if !ok {
			continue
		}
		rows = append(rows, s)
		for _, p := range s.Points {
			sizes = append(sizes, p.Size)
		}
	}
	if len(rows) == 0 {
		return ""
	}
	slices.Sort(sizes)
	sizes = slices.Compact(sizes)
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n| | unit |", t.Title)
	for _, size := range sizes {
		fmt.Fprintf(&b, " %s %s |", thousands(size), t.Size)
	}
	b.WriteString(" growth |\n|---|---|" + strings.Repeat("--:|", len(sizes)+1) + "\n")
	for _, s := range rows {
		fmt.Fprintf(&b, "| %s | %s |", s.Name, s.Unit)
		for _, size := range sizes {
			cell := ""
			if at, ok := r.At(s.Name, size); ok {
				cell = at.cell()
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		fmt.Fprintf(&b, " %s |\n", growth(s.Points))
	}
	return b.String()
}

// cell is the median and, of several values, (p99; min - max).
func (s Summary) cell() string {
	if s.N == 1 {
		return number(s.Median)
	}
	return fmt.Sprintf("**%s** (%s; %s-%s)", number(s.Median), number(s.P99), number(s.Min), number(s.Max))
}

func growth(points []Point) string {
	g := Growth(points)
	if math.IsNaN(g) {
		return ""
	}
	return fmt.Sprintf("n^%.2f", g)
}

// number has two or three digits that count, and no more of them than it needs.
func number(f float64) string {
	switch a := math.Abs(f); {
	case a >= 100:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64)
	case a >= 1 || a == 0:
		return strconv.FormatFloat(math.Round(f*100)/100, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'g', 2, 64)
}

func thousands(n int) string {
	s := strconv.Itoa(n)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}
