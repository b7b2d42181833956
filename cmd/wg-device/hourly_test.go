package main

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab"
)

func TestTheSameLineIsSaidOnceAnHour(t *testing.T) {
	type saying struct {
		after time.Duration // since the one before
		line  string
		want  int // lines in the log
	}
	var tooMany []saying
	for n := range mostLines - 1 {
		tooMany = append(tooMany, saying{0, fmt.Sprintf("peer %d is away", n), 1})
	}
	for _, tt := range []struct {
		name    string
		sayings []saying
	}{
		{"the same, every five seconds", []saying{{0, "a", 1}, {5 * time.Second, "a", 0}, {5 * time.Second, "a", 0}}},
		{"the same, an hour later", []saying{{0, "a", 1}, {time.Hour - 1, "a", 0}, {1, "a", 1}, {1, "a", 0}}},
		{"each of two", []saying{{0, "a", 1}, {1, "b", 1}, {1, "a", 0}, {1, "b", 0}}},
		{"so many that some are left out, for an hour", append(tooMany,
			saying{time.Minute, "the last one, and a word on the others", 2}, saying{0, "another", 0},
			saying{0, "peer 7 is away", 0}, saying{59 * time.Minute, "another", 1}, saying{0, "peer 7 is away", 1})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log lab.Log
			h := newHourly(slog.New(slog.NewTextHandler(&log, nil)))
			now := time.Now()
			h.now = func() time.Time { return now }
			for _, s := range tt.sayings {
				now = now.Add(s.after)
				h.warn(s.line)
				if got := log.Take(); strings.Count(got, "\n") != s.want || s.want > 0 && !strings.Contains(got, s.line) {
					t.Errorf("%q: %q, want %d lines", s.line, got, s.want)
				}
				if len(h.said) > mostLines {
					t.Fatalf("%d lines are remembered", len(h.said))
				}
			}
		})
	}
}
