package proc

import (
	"os"
	"testing"
	"time"
)

func TestThisProcess(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	here, err := Here()
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < 50*time.Millisecond; {
	}
	after, err := CPU(os.Getpid())
	if err != nil || after-before < time.Millisecond {
		t.Errorf("busy for 50 ms, and %s of CPU: %v", after-before, err)
	}
	now, err := Here()
	if used := now.Since(here); err != nil || used < time.Millisecond {
		t.Errorf("busy for 50 ms, and %s of CPU here: %v", used, err)
	}
	mb, err := Memory(os.Getpid())
	if err != nil || mb < 1 || mb > 1000 {
		t.Errorf("%v MB: %v", mb, err)
	}
}

func TestNoSuchProcess(t *testing.T) {
	const none = 1 << 30
	if _, err := CPU(none); err == nil {
		t.Error("it has a time")
	}
	if _, err := Memory(none); err == nil {
		t.Error("it has memory")
	}
}

func TestSince(t *testing.T) {
	before := Usage{1: time.Second, 2: time.Second, 3: time.Minute}
	for _, tc := range []struct {
		name string
		now  Usage
		want time.Duration
	}{
		{"nothing happened", before, 0},
		{"one has worked", Usage{1: 3 * time.Second, 2: time.Second, 3: time.Minute}, 2 * time.Second},
		{"one is new", Usage{1: time.Second, 2: time.Second, 3: time.Minute, 4: time.Second}, time.Second},
		{"one has ended", Usage{1: 2 * time.Second, 2: time.Second}, time.Second},
		{"and another has its number", Usage{1: time.Second, 2: time.Second, 3: time.Second}, 0},
	} {
		if got := tc.now.Since(before); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}
