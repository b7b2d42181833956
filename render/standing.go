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

// standing is the line that "systemctl status" shows. It ends with the age of what a remote source of Nodes last
// said: that it was synced once says nothing of now.
type standing struct {
	heard func() time.Time // nil: the source is not remote

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
	service.Status(s.line + s.age())
}

func (s *standing) age() string {
	if s.heard == nil {
		return ""
	}
	at := s.heard()
	if at.IsZero() {
		return "; API server not heard yet"
	}
	return fmt.Sprintf("; API server heard %v ago", time.Since(at).Round(time.Second))
}

// run tells the age until ctx is done.
func (s *standing) run(ctx context.Context) {
	if s.heard == nil {
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
