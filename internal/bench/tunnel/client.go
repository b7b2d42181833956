package tunnel

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"wg-kube/internal/bench/proc"
)

// Largest payload of an echo, in bytes.
const Largest = 1 << 20

// Way is a way to the server.
type Way struct {
	Name string // "with the tunnel"
	Addr string // host:port
}

// Config says what is measured.
type Config struct {
	Ways     []Way
	Payloads []int         // bytes
	Turns    int           // how often each way has its turn
	For      time.Duration // how long one thing is measured in one turn
	Progress func(string)  // is told what is being done
}

// pending is a row that is being measured.
type pending struct {
	Row
	times       *hdrhistogram.Histogram // in nanoseconds
	bytes       int64
	took        time.Duration
	mine, yours time.Duration // CPU
}

// Measure measures each way in turn.
func Measure(ctx context.Context, c Config) ([]Row, error) {
	var all []*pending
	for _, payload := range append([]int{stream}, c.Payloads...) { // in the order of the table
		for _, w := range c.Ways {
			all = append(all, &pending{
				Row:   Row{Way: w.Name, Payload: payload},
				times: hdrhistogram.New(int64(time.Microsecond), int64(time.Minute), 3),
			})
		}
	}
	left := time.Duration(len(all)*c.Turns) * c.For
	for turn := range c.Turns {
		for i, p := range all {
			w := c.Ways[i%len(c.Ways)]
			c.Progress(fmt.Sprintf("turn %d of %d: %s, %s; about %s left", turn+1, c.Turns, p.what(), w.Name, left.Round(time.Second)))
			if err := p.measure(ctx, w.Addr, c.For); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", w.Name, w.Addr, cmp.Or(context.Cause(ctx), err))
			}
			left -= c.For
		}
	}
	rows := make([]Row, len(all))
	for i, p := range all {
		rows[i] = p.row()
	}
	return rows, nil
}

// measure takes one turn, over a connection of its own.
func (p *pending) measure(ctx context.Context, addr string, d time.Duration) error {
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	at := "http://" + addr
	if err := p.echo(ctx, client, at, func(time.Duration) error { return nil }); err != nil { // warm: connected, and the tunnel has a session
		return err
	}
	yours, err := serverCPU(ctx, client, at)
	if err != nil {
		return err
	}
	mine, err := proc.Here()
	if err != nil {
		return err
	}
	began := time.Now()
	if p.Payload == stream {
		err = p.read(ctx, client, at, d)
	} else {
		for err == nil && time.Since(began) < d {
			err = p.echo(ctx, client, at, func(took time.Duration) error { return p.times.RecordValue(took.Nanoseconds()) })
		}
	}
	if err != nil {
		return err
	}
	p.took += time.Since(began)
	mineNow, err := proc.Here()
	if err != nil {
		return err
	}
	yoursNow, err := serverCPU(ctx, client, at)
	p.mine += mineNow.Since(mine)
	p.yours += yoursNow.Since(yours)
	return err
}

// echo sends the payload, and reads it back.
func (p *pending) echo(ctx context.Context, client *http.Client, at string, record func(time.Duration) error) error {
	payload := make([]byte, max(p.Payload, 1))
	began := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at+"/echo", bytes.NewReader(payload))
	if err != nil {
		return err
	}
	r, err := client.Do(req)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, r.Body)
	took := time.Since(began)
	if err := r.Body.Close(); err != nil {
		return err
	}
	if err == nil && n != int64(len(payload)) {
		err = fmt.Errorf("%d bytes came back of %d", n, len(payload))
	}
	if err != nil {
		return err
	}
	p.bytes += 2 * n
	return record(took)
}

// read reads as much as comes in that time.
func (p *pending) read(ctx context.Context, client *http.Client, at string, d time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := get(ctx, client, at+"/stream")
	if err != nil {
		return err
	}
	defer r.Close()
	b := make([]byte, 256<<10)
	for began := time.Now(); time.Since(began) < d; {
		n, err := r.Read(b)
		p.bytes += int64(n)
		if err != nil {
			return err
		}
	}
	return nil
}

func serverCPU(ctx context.Context, client *http.Client, at string) (used proc.Usage, err error) {
	r, err := get(ctx, client, at+"/cpu")
	if err != nil {
		return nil, err
	}
	defer r.Close()
	err = json.NewDecoder(io.LimitReader(r, 16<<20)).Decode(&used)
	return used, err
}

func get(ctx context.Context, client *http.Client, url string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	r, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if r.StatusCode != http.StatusOK {
		_ = r.Body.Close()
		return nil, fmt.Errorf("%s: %s", url, r.Status)
	}
	return r.Body, nil
}
