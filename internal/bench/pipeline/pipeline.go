// Package pipeline measures what a change costs on its way to the device, by the real programs in namespaces that it
// makes itself, beside what people would use in their place and beside the floor: one read of the device and one
// call that sets a peer. What is compared is measured in turn in one run, since the machine may be busy with others.
//
// It stands beside the programs and sees what anybody can see: files, route events, the device, /proc.
package pipeline

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"wg-kube/internal/bench"
	"wg-kube/internal/lab/hosts"
)

// Config says what is measured.
type Config struct {
	Bin     string        // folder of the programs
	Sizes   []int         // peers
	Rounds  int           // changes of each kind at each size
	Bounded time.Duration // the rounds of one size take about so long at most, but there are a few
	QuickUp int           // wg-quick up is timed with at most so many peers: it takes minutes with very many
	Rest    time.Duration // how long the daemons are watched when nothing happens; zero: not at all
	Nodes   []int         // sizes of clusters, each on an API server of its own; none: no cluster
	Burst   int           // Nodes of the largest cluster that are annotated at once
	Say     io.Writer     // what is being done
}

// few rounds are made at least, however long they take; as many before them do not count.
const (
	few    = 5
	warmUp = 2
)

// Run measures. It works only behind the wall of namespaces that hosts.Enter makes. What was measured before ctx was
// done, or something failed, is returned with the error.
func Run(ctx context.Context, c Config) (*bench.Run, error) {
	inKernel, err := hosts.WireGuard()
	if err != nil {
		return nil, err
	}
	m := &measuring{Config: c, Run: bench.Run{Began: time.Now().UTC().Truncate(time.Second), Machine: bench.ThisMachine("wg-device")}}
	if m.inKernel = inKernel; inKernel {
		m.Machine.WireGuard = "the kernel's"
	}
	for _, n := range c.Sizes {
		if err := m.peers(ctx, n); err != nil {
			return &m.Run, fmt.Errorf("%d peers: %w", n, err)
		}
	}
	for _, n := range c.Nodes {
		if err := m.cluster(ctx, n); err != nil {
			return &m.Run, fmt.Errorf("%d nodes: %w", n, err)
		}
	}
	return &m.Run, nil
}

// measuring is a run under way.
type measuring struct {
	Config
	bench.Run
	inKernel bool
}

func (m *measuring) say(format string, a ...any) { fmt.Fprintf(m.Say, format+"\n", a...) }

// note notes, once, what was left out.
func (m *measuring) note(s string) {
	if !slices.Contains(m.Notes, s) {
		m.Notes = append(m.Notes, s)
	}
}

func (m *measuring) times(name string, size int, took ...time.Duration) {
	m.Add(name, "ms", size, bench.Millis(took...)...)
}
