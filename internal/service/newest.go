package service

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	maxConns    = 64 // are open at once
	acceptRetry = 100 * time.Millisecond
)

// newest is a listener that closes one connection for each new one that is too many: the oldest on which no whole
// question came yet, or else the oldest. Every user of the machine reaches loopback: none is to use up the open files
// of a daemon, nor to keep others waiting with connections on which nothing is said, or never an end.
type newest struct {
	net.Listener

	mu    sync.Mutex
	conns []conn // the open ones, from the oldest on
}

type conn struct {
	net.Conn
	asked bool // it is being answered, or was
}

func (l *newest) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	for err != nil && !errors.Is(err, net.ErrClosed) { // such as too many open files, for which http.Server has a line each time
		time.Sleep(acceptRetry)
		c, err = l.Listener.Accept()
	}
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= maxConns {
		n := max(0, slices.IndexFunc(l.conns, func(c conn) bool { return !c.asked }))
		_ = l.conns[n].Close()
		l.conns = slices.Delete(l.conns, n, n+1)
	}
	l.conns = append(l.conns, conn{Conn: c})
	return c, nil
}

// answer is h, and knows which connections it answers.
func (l *newest) answer(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		for i := range l.conns {
			if l.conns[i].RemoteAddr().String() == r.RemoteAddr {
				l.conns[i].asked = true
			}
		}
		l.mu.Unlock()
		h.ServeHTTP(w, r)
	})
}

// state is for http.Server.ConnState.
func (l *newest) state(of net.Conn, s http.ConnState) {
	if s == http.StateClosed {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.conns = slices.DeleteFunc(l.conns, func(c conn) bool { return c.Conn == of })
	}
}
