package tunnel

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
)

// stream is the payload of a row that is about throughput.
const stream = 0

// Row is one thing that was measured on one way, over all turns.
type Row struct {
	Way     string  `json:"way"`
	Payload int     `json:"payload"`           // bytes of an echo, each way; 0: a stream from the server
	Micros  *Micros `json:"latency,omitempty"` // of an echo; nil: a stream
	Gbps    float64 `json:"gbitPerSecond"`     // both directions together
	Client  float64 `json:"clientCores"`       // CPU on the side of the client, in cores
	Server  float64 `json:"serverCores"`
}

// Micros is how long echoes took, in microseconds.
type Micros struct {
	N   int64   `json:"n"`
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Avg float64 `json:"avg"`
	Min float64 `json:"min"`
	Max float64 `json:"max"`
}

// what is the name of what the row is about.
func (r Row) what() string {
	if r.Payload == stream {
		return "stream"
	}
	return "echo of " + size(r.Payload)
}

func size(bytes int) string {
	if bytes%1024 == 0 {
		return strconv.Itoa(bytes/1024) + " KB"
	}
	return strconv.Itoa(bytes) + " bytes"
}

func (p *pending) row() Row {
	r, took := p.Row, p.took.Seconds()
	if took > 0 {
		r.Gbps = float64(p.bytes) * 8 / took / 1e9
		r.Client, r.Server = p.mine.Seconds()/took, p.yours.Seconds()/took
	}
	if h := p.times; r.Payload != stream {
		r.Micros = &Micros{N: h.TotalCount(), P50: float64(h.ValueAtQuantile(50)) / 1000, P99: float64(h.ValueAtQuantile(99)) / 1000,
			Avg: h.Mean() / 1000, Min: float64(h.Min()) / 1000, Max: float64(h.Max()) / 1000}
	}
	return r
}

// Markdown is a table of the rows.
func Markdown(rows []Row) string {
	var b strings.Builder
	b.WriteString("| | way | echoes | p50 µs | p99 µs | avg µs | min µs | max µs | Gbit/s | client, cores | server, cores |\n")
	b.WriteString("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, r := range rows {
		times := "| | | | | | "
		if m := r.Micros; m != nil {
			times = fmt.Sprintf("| %d | %.0f | %.0f | %.0f | %.0f | %.0f ", m.N, m.P50, m.P99, m.Avg, m.Min, m.Max)
		}
		fmt.Fprintf(&b, "| %s | %s %s| %.3f | %.2f | %.2f |\n", r.what(), r.Way, times, r.Gbps, r.Client, r.Server)
	}
	return b.String()
}

// CSV is the rows for a spreadsheet.
func CSV(rows []Row) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	all := [][]string{{"what", "way", "payload_bytes", "echoes", "p50_us", "p99_us", "avg_us", "min_us", "max_us", "gbit_per_second", "client_cores", "server_cores"}}
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', 3, 64) }
	for _, r := range rows {
		line := []string{r.what(), r.Way, strconv.Itoa(r.Payload), "", "", "", "", "", ""}
		if m := r.Micros; m != nil {
			line = append(line[:3], strconv.FormatInt(m.N, 10), number(m.P50), number(m.P99), number(m.Avg), number(m.Min), number(m.Max))
		}
		all = append(all, append(line, number(r.Gbps), number(r.Client), number(r.Server)))
	}
	err := w.WriteAll(all)
	return b.Bytes(), err
}
