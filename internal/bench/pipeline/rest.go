package pipeline

import (
	"context"
	"fmt"
	"time"

	"github.com/fsnotify/fsnotify"

	"wg-kube/internal/bench/proc"
)

// writes counts what is created or written in folders.
type writes struct {
	fs    *fsnotify.Watcher
	names map[string]int // by path; read it after stop
	done  chan struct{}
}

func watchWrites(folders ...string) (*writes, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	for _, f := range folders {
		if err := fs.Add(f); err != nil {
			_ = fs.Close()
			return nil, fmt.Errorf("%s: %w", f, err)
		}
	}
	w := &writes{fs, map[string]int{}, make(chan struct{})}
	go func() {
		defer close(w.done)
		for e := range fs.Events {
			if e.Op&(fsnotify.Create|fsnotify.Write) != 0 {
				w.names[e.Name]++
			}
		}
	}()
	return w, nil
}

// stop returns the paths and how often each was created or written.
func (w *writes) stop() map[string]int {
	_ = w.fs.Close()
	<-w.done
	return w.names
}

// atRest watches daemons when nothing happens: the part of a core that each takes, in percent, and what they write.
func (m *measuring) atRest(ctx context.Context, folders []string, daemons ...*daemon) (percent []float64, written map[string]int, err error) {
	for _, d := range daemons {
		if err := d.untilQuiet(ctx); err != nil {
			return nil, nil, err
		}
	}
	w, err := watchWrites(folders...)
	if err != nil {
		return nil, nil, err
	}
	cpu := func() (all []time.Duration, err error) {
		for _, d := range daemons {
			c, err := proc.CPU(d.cmd.Process.Pid)
			if err != nil {
				return nil, fmt.Errorf("%w; %s", err, d.said())
			}
			all = append(all, c)
		}
		return all, nil
	}
	before, err := cpu()
	if err != nil {
		return nil, nil, err
	}
	began := time.Now()
	if err := pause(ctx, m.Rest); err != nil {
		return nil, nil, err
	}
	after, err := cpu()
	if err != nil {
		return nil, nil, err
	}
	took := time.Since(began)
	written = w.stop()
	for name := range written {
		m.note("Written at rest: " + name + ".")
	}
	for i := range after {
		percent = append(percent, 100*float64(after[i]-before[i])/float64(took))
	}
	return percent, written, nil
}

// memory takes in what a daemon has in memory.
func (m *measuring) memory(name string, size int, d *daemon) error {
	mb, err := proc.Memory(d.cmd.Process.Pid)
	if err != nil {
		return fmt.Errorf("%w; %s", err, d.said())
	}
	m.Add(name, "MB", size, mb)
	return nil
}
