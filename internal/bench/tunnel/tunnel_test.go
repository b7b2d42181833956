package tunnel

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// serve serves on loopback until the test ends.
func serve(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestMeasure(t *testing.T) {
	said := 0
	rows, err := Measure(t.Context(), Config{
		Ways:     []Way{{"one way", serve(t)}, {"the other", serve(t)}},
		Payloads: []int{1 << 10, 16 << 10},
		Turns:    2,
		For:      20 * time.Millisecond,
		Progress: func(string) { said++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rows {
		got = append(got, r.what()+", "+r.Way)
		if r.Gbps <= 0 || r.Client <= 0 || r.Server <= 0 {
			t.Errorf("%s, %s: nothing measured: %+v", r.what(), r.Way, r)
		}
		if m := r.Micros; (m == nil) != (r.Payload == stream) || m != nil && (m.N == 0 || m.Min > m.P50 || m.P50 > m.P99 || m.P99 > m.Max || m.Avg < m.Min || m.Avg > m.Max) {
			t.Errorf("%s, %s: %+v", r.what(), r.Way, m)
		}
	}
	want := []string{"stream, one way", "stream, the other", "echo of 1 KB, one way", "echo of 1 KB, the other",
		"echo of 16 KB, one way", "echo of 16 KB, the other"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if said != 12 {
		t.Errorf("progress %d times", said)
	}
}

func TestServerThatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, err = Measure(t.Context(), Config{Ways: []Way{{"with the tunnel", addr}}, Turns: 1, For: time.Millisecond, Progress: func(string) {}})
	if err == nil || !strings.HasPrefix(err.Error(), "with the tunnel, "+addr+": ") {
		t.Errorf("%v", err)
	}
}

var rows = []Row{
	{Way: "without", Payload: stream, Gbps: 12.3456, Client: 0.5, Server: 0.75},
	{Way: "with", Payload: 4096, Gbps: 0.1, Client: 1, Server: 2, Micros: &Micros{N: 1000, P50: 100.4, P99: 300.6, Avg: 120, Min: 90, Max: 9999}},
	{Way: "with", Payload: 100, Micros: &Micros{}},
}

func TestMarkdown(t *testing.T) {
	const want = `| | way | echoes | p50 µs | p99 µs | avg µs | min µs | max µs | Gbit/s | client, cores | server, cores |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
| stream | without | | | | | | | 12.346 | 0.50 | 0.75 |
| echo of 4 KB | with | 1000 | 100 | 301 | 120 | 90 | 9999 | 0.100 | 1.00 | 2.00 |
| echo of 100 bytes | with | 0 | 0 | 0 | 0 | 0 | 0 | 0.000 | 0.00 | 0.00 |
`
	if d := cmp.Diff(want, Markdown(rows)); d != "" {
		t.Error(d)
	}
}

func TestCSV(t *testing.T) {
	b, err := CSV(rows)
	if err != nil {
		t.Fatal(err)
	}
	got, err := csv.NewReader(strings.NewReader(string(b))).ReadAll() // each line has as many fields as the first
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"echo of 4 KB", "with", "4096", "1000", "100.400", "300.600", "120.000", "90.000", "9999.000", "0.100", "1.000", "2.000"}
	if d := cmp.Diff(want, got[2]); d != "" {
		t.Error(d)
	}
}

func TestJSON(t *testing.T) {
	b, err := json.Marshal(rows)
	if err != nil {
		t.Fatal(err)
	}
	var back []Row
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(rows, back); d != "" {
		t.Error(d)
	}
}
