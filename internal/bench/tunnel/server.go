// Package tunnel measures what a tunnel costs its traffic: how long an HTTP echo takes, how much goes through in a
// second, and how much of a core either side takes for it, with the tunnel and without it, in turn.
//
// One side serves, the other measures. Neither makes a tunnel, nor asks where one leads: it is given two addresses of
// the server. There is no encryption and no password: it is to run only as long as it is measured.
package tunnel

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"wg-kube/internal/bench/proc"
)

// Serve answers until ctx is done: /echo says back what it is sent, /stream sends for as long as it is read, and /cpu
// says what the processes on this side have used.
func Serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(io.LimitReader(r.Body, Largest)) // all of it: a server that writes reads no more
		if err != nil {
			return
		}
		_, _ = w.Write(b) // the client sees what is missing
	})
	mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		for b := make([]byte, 64<<10); ; {
			if _, err := w.Write(b); err != nil {
				return // it has seen enough
			}
		}
	})
	mux.HandleFunc("GET /cpu", func(w http.ResponseWriter, r *http.Request) {
		used, err := proc.Here()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(used)
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
