package render

import (
	"context"
	"fmt"
	"sync"
	"time"

	"wg-kube/internal/service"
)

// standingEvery is how often the age in the status line is brought up to date.
const standingEvery = 10 * time.Second

// silence is how long an API server that is well may say nothing: a watch of which nothing is heard is asked for anew
// every ten minutes at most.
const silence = 15 * time.Minute

// standing is the line that "systemctl status" shows. It ends with what cannot be written or cannot be read any more, and
// with the age of what a remote source of Nodes last said: that it was synced once says nothing of now.
type standing struct {
	source    Heard        // nil: it is not remote
	unwritten func() error // why others do not learn of this node; nil: nothing is to be written

	mu   sync.Mutex
	line string
}

// is takes in another line.
func (s *standing) is(line string) {
	s.mu.Lock()
	s.line = line
	s.mu.Unlock()
	s.tell()
}

func (s *standing) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	service.Status(s.line + s.touch())
}

func (s *standing) touch() (line string) {
	if s.source == nil {
		return ""
	}
	if s.unwritten != nil {
		if err := s.unwritten(); err != nil {
			line = "; " + err.Error()
		}
	}
	if err := s.source.OutOfTouch(); err != nil {
		line += "; " + err.Error()
	}
	at := s.source.LastSync()
	if at.IsZero() {
		return line + "; API server not heard yet"
	}
	return line + fmt.Sprintf("; API server heard %v ago", time.Since(at).Round(time.Second))
}

// outOfTouch is why what the source shows may not be what there is by now, nil if it is.
func (s *standing) outOfTouch() error {
	if s.source == nil {
		return nil
	}
	at := s.source.LastSync()
	if err := s.source.OutOfTouch(); err != nil || at.IsZero() || time.Since(at) < silence {
		return err
	}
	return fmt.Errorf("API server heard %v ago", time.Since(at).Round(time.Second))
}

// run tells the age until ctx is done.
func (s *standing) run(ctx context.Context) {
	if s.source == nil {
		return
	}
	t := time.NewTicker(standingEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.tell()
		}
	}
}
