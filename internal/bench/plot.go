package bench

import (
	"bytes"
	"fmt"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// Plot is a choice of series over size, both on logarithmic scales: a straight line is a power law.
type Plot struct {
	File   string // its name, without a suffix
	Title  string
	X, Y   string // what the axes say
	Series []string
}

// Draw returns the plot in a format, "svg" or "png"; nil: of no series there are two sizes.
func (p Plot) Draw(r *Run, format string) ([]byte, error) {
	const width, height = 20 * vg.Centimeter, 12 * vg.Centimeter
	chart := plot.New()
	chart.Title.Text, chart.X.Label.Text, chart.Y.Label.Text = p.Title, p.X, p.Y
	chart.X.Scale, chart.Y.Scale = plot.LogScale{}, plot.LogScale{}
	chart.X.Tick.Marker, chart.Y.Tick.Marker = plot.TickerFunc(decades), plot.TickerFunc(decades)
	chart.Legend.Top, chart.Legend.Left, chart.Legend.Padding = true, true, vg.Points(4)
	chart.Add(plotter.NewGrid())
	drawn := 0
	for i, name := range p.Series {
		s, _ := r.Find(name)
		if len(s.Points) < 2 {
			continue
		}
		line, points, err := plotter.NewLinePoints(curve(s.Points))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		line.Color, line.Dashes, line.Width = plotutil.Color(i), plotutil.Dashes(i), vg.Points(1.5)
		points.Color, points.Shape = plotutil.Color(i), plotutil.Shape(i)
		chart.Add(line, points)
		chart.Legend.Add(name, line, points)
		drawn++
	}
	if drawn == 0 {
		return nil, nil
	}
	chart.Y.Min, chart.Y.Max = decade(chart.Y.Min, math.Floor), decade(chart.Y.Max, math.Ceil)*30 // room for the legend
	w, err := chart.WriterTo(width, height, format)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err = w.WriteTo(&b)
	return b.Bytes(), err
}

// curve is the median over the size. A logarithm has no place for zero.
func curve(points []Point) (xy plotter.XYs) {
	for _, p := range points {
		xy = append(xy, plotter.XY{X: float64(p.Size), Y: max(p.Median, 1e-3)})
	}
	return xy
}

func decade(v float64, round func(float64) float64) float64 {
	return math.Pow(10, round(math.Log10(v)))
}

// decades are ticks at the powers of ten, with their numbers written out.
func decades(low, high float64) (ticks []plot.Tick) {
	for v := decade(low, math.Floor); v <= high; v *= 10 {
		ticks = append(ticks, plot.Tick{Value: v, Label: number(v)})
		for minor := 2.0; minor < 10; minor++ {
			ticks = append(ticks, plot.Tick{Value: v * minor})
		}
	}
	return ticks
}
