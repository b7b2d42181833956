package main

import (
	"log/slog"
	"maps"
	"sync"
	"time"
)

const (
	again     = time.Hour
	mostLines = 1024 // different ones, in one hour
)

// hourly logs the same line at most once an hour: a device says every few seconds, for as long as it lasts, that a peer
// cannot be reached. What is beyond mostLines in an hour is left out, so that neither memory nor the log grows with it.
type hourly struct {
	log *slog.Logger
	now func() time.Time

	mu   sync.Mutex
	said map[string]time.Time
}

func newHourly(log *slog.Logger) *hourly {
	return &hourly{log: log, now: time.Now, said: map[string]time.Time{}}
}

func (h *hourly) warn(line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	old := func(_ string, at time.Time) bool { return now.Sub(at) >= again }
	if !old(line, h.said[line]) {
		return
	}
	maps.DeleteFunc(h.said, old)
	if len(h.said) == mostLines {
		return
	}
	h.said[line] = now
	h.log.Warn(line)
	if len(h.said) == mostLines {
		h.log.Warn("others like these are left out within the hour", "lines", mostLines)
	}
}
