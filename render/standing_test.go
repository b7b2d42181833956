package render

import (
	"errors"
	"testing"
	"time"
)

// touch is how long ago a source has heard of its server, -1 never, and what it cannot read.
type touch struct {
	age time.Duration
	err error
}

func (s touch) LastSync() time.Time {
	if s.age < 0 {
		return time.Time{}
	}
	return time.Now().Add(-s.age)
}

func (s touch) OutOfTouch() error { return s.err }

func TestTouch(t *testing.T) {
	gone, denied := errors.New("cannot read hubs: connection refused"), errors.New("own Node not written: forbidden")
	for name, tc := range map[string]struct {
		source    Heard
		unwritten error
		line      string
		ready     string // why not; "": it is
	}{
		"not remote":            {nil, nil, "", ""},
		"never":                 {touch{-1, nil}, nil, "; API server not heard yet", ""},
		"lately":                {touch{125 * time.Second, nil}, nil, "; API server heard 2m5s ago", ""},
		"lately, and not since": {touch{125 * time.Second, gone}, nil, "; cannot read hubs: connection refused; API server heard 2m5s ago", gone.Error()},
		"long ago":              {touch{time.Hour, nil}, nil, "; API server heard 1h0m0s ago", "API server heard 1h0m0s ago"},
		"not written":           {touch{time.Second, nil}, denied, "; own Node not written: forbidden; API server heard 1s ago", ""},
		"nor read":              {touch{time.Second, gone}, denied, "; own Node not written: forbidden; cannot read hubs: connection refused; API server heard 1s ago", gone.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			s := &standing{source: tc.source, unwritten: func() error { return tc.unwritten }}
			if got := s.touch(); got != tc.line {
				t.Errorf("%q; want %q", got, tc.line)
			}
			if got := text(s.outOfTouch()); got != tc.ready {
				t.Errorf("not ready for %q; want %q", got, tc.ready)
			}
		})
	}
}
