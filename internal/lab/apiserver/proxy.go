package apiserver

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
)

// Proxy passes on what one client asks of the server, in the client's name. It counts, and it can be a bad server.
type Proxy struct {
	t    testing.TB
	http *httptest.Server

	mu       sync.Mutex
	bad      Answer // nil: that of the server
	requests []Request
	bytes    int
	under    context.Context // ends all that is under way
	cut      context.CancelFunc
}

// Answer is what a client gets. server is what it would get from the server.
type Answer func(w http.ResponseWriter, r *http.Request, server http.Handler)

// Request is one that the proxy has passed on, or refused.
type Request struct {
	Method, Path string
	Query        url.Values
}

// Proxy starts one for a client with this credential, until the test ends.
func (s *Server) Proxy(t testing.TB, as *rest.Config) *Proxy {
	t.Helper()
	transport, err := rest.TransportFor(as)
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{t: t}
	p.under, p.cut = context.WithCancel(context.Background())
	server := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport:     transport,
		FlushInterval: -1, // a watch is a stream
		ErrorLog:      log.New(io.Discard, "", 0),
	}
	p.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.requests = append(p.requests, Request{r.Method, r.URL.Path, r.URL.Query()})
		bad, under := p.bad, p.under
		p.mu.Unlock()
		ctx, done := context.WithCancel(r.Context())
		defer done()
		defer context.AfterFunc(under, done)()
		w, r = counting{w, p}, r.WithContext(ctx)
		if bad != nil {
			bad(w, r, server)
			return
		}
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		p.http.CloseClientConnections() // Close waits for what is under way
		p.http.Close()
	})
	return p
}

// Config is the client's credential for the proxy.
func (p *Proxy) Config() *rest.Config { return &rest.Config{Host: p.http.URL} }

// Serve listens on l as well, such as "kubectl proxy" does on a node, until the test ends.
func (p *Proxy) Serve(l net.Listener) {
	p.t.Cleanup(func() { _ = l.Close() })
	go func() { _ = http.Serve(l, p.http.Config.Handler) }()
}

// Use answers every request in this way from now on, and ends those that are under way; nil: as the server does.
func (p *Proxy) Use(bad Answer) {
	p.mu.Lock()
	p.bad = bad
	p.mu.Unlock()
	p.Cut()
}

// Cut ends what is under way, in the middle of an answer.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut()
	p.under, p.cut = context.WithCancel(context.Background())
}

// Traffic returns the requests since it was last called, and how many bytes the answers had, of old requests too.
func (p *Proxy) Traffic() (requests []Request, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	requests, bytes = p.requests, p.bytes
	p.requests, p.bytes = nil, 0
	return requests, bytes
}

// counting counts the bytes of an answer.
type counting struct {
	http.ResponseWriter
	to *Proxy
}

func (c counting) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.to.mu.Lock()
	c.to.bytes += n
	c.to.mu.Unlock()
	return n, err
}

// Unwrap lets the answer be flushed.
func (c counting) Unwrap() http.ResponseWriter { return c.ResponseWriter }
