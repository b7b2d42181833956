package bench

import (
	"bytes"
	"encoding/json"
	"image/png"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wg-kube/internal/lab/golden"
)

func TestSummarize(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, tc := range []struct {
		name   string
		values []float64
		want   Summary
	}{
		{"none", nil, Summary{}},
		{"one", []float64{7}, Summary{1, 7, 7, 7, 7}},
		{"the median of an even number lies between", []float64{4, 1, 3, 2}, Summary{4, 2.5, 4, 1, 4}},
		{"one that is far off moves the median by nothing", []float64{1, 1000, 2}, Summary{3, 2, 1000, 1, 1000}},
		{"of a hundred, one is beyond p99", hundred, Summary{100, 50.5, 99, 1, 100}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := append([]float64(nil), tc.values...)
			if d := cmp.Diff(tc.want, Summarize(tc.values)); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(before, tc.values); d != "" {
				t.Errorf("the values are in another order: %s", d)
			}
		})
	}
}

func TestGrowth(t *testing.T) {
	points := func(cost func(n float64) float64) (ps []Point) {
		for _, n := range []int{10, 100, 1000, 10_000} {
			ps = append(ps, Point{Size: n, Summary: Summary{Median: cost(float64(n))}})
		}
		return ps
	}
	for _, tc := range []struct {
		name   string
		points []Point
		want   float64
	}{
		{"constant", points(func(float64) float64 { return 5 }), 0},
		{"linear", points(func(n float64) float64 { return 3 * n }), 1},
		{"quadratic", points(func(n float64) float64 { return n * n / 7 }), 2},
		{"the root", points(math.Sqrt), 0.5},
		{"one size says nothing", points(math.Sqrt)[:1], math.NaN()},
		{"nor does a cost of nothing", points(func(float64) float64 { return 0 }), math.NaN()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Growth(tc.points); math.Abs(got-tc.want) > 1e-9 || math.IsNaN(got) != math.IsNaN(tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

// some is a small run: one way that is linear, one that is slow, one with a single value.
func some() *Run {
	r := &Run{
		Machine: Machine{CPU: "a processor", Cores: 2, MemoryGB: 8, Kernel: "Linux 6", Go: "go1", WireGuard: "the kernel's"},
		Began:   time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC),
		Notes:   []string{"strace is not installed: no messages are counted."},
	}
	for _, n := range []int{1000, 10} { // in any order
		r.Add("floor", "ms", n, float64(n)/100, float64(n)/90, float64(n)/110)
		r.Add("ours", "ms", n, float64(n)/50, float64(n)/40)
		r.Add("slow", "ms", n, float64(n)*1.5)
		r.Add("messages", "messages", n, 2)
	}
	r.Add("memory", "MB", 1000, 0.0789)
	return r
}

func TestReport(t *testing.T) {
	tables := []Table{
		{Title: "One more", Size: "peers", Series: []string{"floor", "ours", "slow", "never measured"}},
		{Title: "At rest", Size: "peers", Series: []string{"memory"}},
		{Title: "Never measured", Size: "peers", Series: []string{"no such series"}},
	}
	targets := []Target{
		{What: "a ratio that is met", Series: "ours", Size: 1000, AtMost: 3, Times: []string{"floor"}},
		{What: "one that is not", Series: "ours", Size: 1000, AtMost: 1. / 100, Times: []string{"slow"}},
		{What: "a sum", Series: "ours", Size: 1000, AtMost: 1, Times: []string{"floor", "slow"}},
		{What: "the worst counts", Series: "ours", Size: 1000, Of: Max, AtMost: 24},
		{What: "p99 counts", Series: "ours", Size: 10, Of: P99, AtMost: 1},
		{What: "a constant", Series: "messages", Constant: true},
		{What: "no constant", Series: "slow", Constant: true},
		{What: "of one size nothing is known", Series: "memory", Constant: true},
		{What: "never measured", Series: "ours", Size: 7, AtMost: 1},
		{What: "nothing to compare with", Series: "ours", Size: 10, AtMost: 1, Times: []string{"memory"}},
	}
	got := some().Report(tables, targets)
	golden.Check(t, "testdata/report.md", []byte(got))
}

func TestJSON(t *testing.T) {
	b, err := some().JSON()
	if err != nil {
		t.Fatal(err)
	}
	var back Run
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(some(), &back); d != "" {
		t.Error(d)
	}
}

func TestNumber(t *testing.T) {
	for _, tc := range []struct {
		is   float64
		want string
	}{
		{0, "0"}, {0.01234, "0.012"}, {0.5, "0.5"}, {1, "1"}, {1.5, "1.5"}, {2.345, "2.35"}, {12.34, "12.3"}, {123.4, "123"},
		{81000, "81000"}, {-3, "-3"},
	} {
		if got := number(tc.is); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.is, got, tc.want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 10_000: "10,000", 1_234_567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestReplace(t *testing.T) {
	const page = "# Title\n\n<!-- pipeline -->\nold\n<!-- end of pipeline -->\n\n<!-- tunnel -->\n<!-- end of tunnel -->\nthe end\n"
	for _, tc := range []struct {
		name, section, want string
	}{
		{"what was there goes", "pipeline", strings.Replace(page, "old\n", "new\n", 1)},
		{"an empty section", "tunnel", strings.Replace(page, "<!-- tunnel -->\n", "<!-- tunnel -->\nnew\n", 1)},
		{"no such section", "weather", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := replace(page, tc.section, "new\n")
			if d := cmp.Diff(tc.want, got); d != "" || (err != nil) != (tc.want == "") {
				t.Errorf("%v\n%s", err, d)
			}
		})
	}
}

func TestDraw(t *testing.T) {
	p := Plot{File: "x", Title: "One more", X: "peers", Y: "ms", Series: []string{"floor", "slow", "memory", "never measured"}}
	svg, err := p.Draw(some(), "svg")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"<svg", "One more", "peers", "floor", "slow", "1000"} {
		if !bytes.Contains(svg, []byte(word)) {
			t.Errorf("%q is not in the plot", word)
		}
	}
	if bytes.Contains(svg, []byte("memory")) {
		t.Error("a series of one size is drawn")
	}
	b, err := p.Draw(some(), "png")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(b)); err != nil {
		t.Error(err)
	}
	if b, err := p.Draw(&Run{}, "svg"); b != nil || err != nil {
		t.Errorf("a plot of nothing: %d bytes, %v", len(b), err)
	}
}
