package fragments

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"wg-kube/render/overlay"
)

const (
	alice = "[Peer]\nPublicKey = xqoZxRAgHsmSB+qssFKzTNIs5t8Ms+EneXSQP4zcjmw=\nAllowedIPs = 10.1.0.0/24\n"
	bob   = "[Peer]\nPublicKey = /mmJFqJ75KoYswcguo02NN25UpkjjejJNBaIcdVyjl0=\nAllowedIPs = 10.2.0.0/24\n"
)

func TestSnapshot(t *testing.T) {
	for name, tc := range map[string]struct {
		content string
		peers   int
		err     string // a part of it
	}{
		"one peer":         {alice, 1, ""},
		"two peers":        {alice + bob, 2, ""},
		"comments alone":   {"# nobody yet\n", 0, ""},
		"empty":            {"", 0, ""},
		"cut off":          {"[Peer]\nPublicKey = xqoZxRAgHsmSB", 0, "static.conf:2"},
		"unknown key":      {alice + "Colour = red\n", 0, "static.conf:4"},
		"interface":        {"[Interface]\nListenPort = 1\n" + alice, 0, "static.conf:1"},
		"command as root":  {"[Interface]\nPostUp = id\n" + alice, 0, "static.conf:1"},
		"not wg-quick":     {"peers:\n- name: alice\n", 0, "static.conf:1"},
		"CIDR of 33 bits":  {strings.Replace(alice, "/24", "/33", 1), 0, "static.conf:3"},
		"one bad of two":   {alice + strings.Replace(bob, "/mmJ", "mmJ", 1), 0, "static.conf:5"},
		"Windows newlines": {strings.ReplaceAll(alice, "\n", "\r\n"), 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(dir+"/static.conf", []byte(tc.content), 0o644); err != nil {
				t.Fatal(err)
			}
			got := read(t, dir)
			if len(got) != 1 || got[0].Name != "static.conf" || len(got[0].Peers) != tc.peers {
				t.Fatalf("want static.conf with %d peers, got %+v", tc.peers, got)
			}
			switch err := got[0].Err; {
			case err == nil && tc.err != "":
				t.Errorf("want an error about %s", tc.err)
			case err != nil && (tc.err == "" || !strings.Contains(err.Error(), tc.err)):
				t.Errorf("want an error about %q, got %v", tc.err, err)
			}
		})
	}
}

func TestSnapshotIsByName(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"20-bob.conf": bob, "10-alice.conf": alice, "README.md": "no"} {
		if err := os.WriteFile(dir+"/"+name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := read(t, dir)
	if len(got) != 2 || got[0].Name != "10-alice.conf" || got[1].Name != "20-bob.conf" {
		t.Errorf("got %+v", got)
	}
}

// read returns what a source says of dir once it is synced.
func read(t *testing.T, dir string) []overlay.Fragment {
	t.Helper()
	s, err := New(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	defer running.Wait()
	defer stop()
	for {
		if got, synced := s.Snapshot(); synced {
			return got
		}
		select {
		case <-s.Changed():
		case <-ctx.Done():
			t.Fatal("it is never synced")
		}
	}
}
