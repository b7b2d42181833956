package service

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wg-kube/internal/lab"
)

func TestNotifyReachesTheServiceManager(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	Ready()
	Status("wg0: 3 peers")
	Alive()
	Stopping()
	for _, want := range []string{"READY=1", "STATUS=wg0: 3 peers", "WATCHDOG=1", "STOPPING=1"} {
		b := make([]byte, 100)
		if err := l.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(b)
		if err != nil || string(b[:n]) != want {
			t.Errorf("got %q, %v; wanted %q", b[:n], err, want)
		}
	}
}

func TestHeartbeat(t *testing.T) {
	beat, stop := Heartbeat()
	stop()
	if beat != nil {
		t.Error("a heart beats without a watchdog")
	}
	t.Setenv("WATCHDOG_USEC", "30000")
	beat, stop = Heartbeat()
	defer stop()
	select {
	case <-beat:
	case <-time.After(10 * time.Second):
		t.Error("no heart beats for the watchdog")
	}
}

func TestServe(t *testing.T) {
	r := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "wgkube_test_total", Help: "For the test."})
	r.MustRegister(c)
	c.Inc()
	l, err := net.Listen("tcp", "127.0.0.1:0") // somebody else has the port yet
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	var log lab.Log
	sick := errors.New("wg0: refused")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	h := HTTP{Addr: addr, Metrics: r, Alive: func() error { return nil }, Ready: func() error { return sick }, Log: slog.New(slog.NewTextHandler(&log, nil))}
	go func() { h.Serve(ctx); close(done) }()
	lab.Eventually(t, 30*time.Second, "it says so", func() bool { return strings.Contains(log.String(), "address already in use") })
	l.Close()
	get := func(path string) (int, string) {
		for range 1000 {
			resp, err := http.Get("http://" + addr + path)
			if err != nil {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			return resp.StatusCode, string(b)
		}
		t.Fatal("the server does not answer")
		return 0, ""
	}
	if code, body := get("/metrics"); code != 200 || !strings.Contains(body, "wgkube_test_total 1") {
		t.Errorf("/metrics: %d\n%s", code, body)
	}
	if code, body := get("/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	if code, body := get("/readyz"); code != 503 || body != "wg0: refused\n" {
		t.Errorf("/readyz: %d %q", code, body)
	}
	cancel()
	<-done
	if said := log.String(); strings.Count(said, "\n") != 1 {
		t.Errorf("it is said once:\n%s", said)
	}
}

// A service manager that is there and does not read what it is told must not hold up a loop.
func TestAServiceManagerThatDoesNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 50 { // the queue of a socket holds 10, or a few more
			Status("busy")
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for somebody to read")
	}
	b := make([]byte, 100)
	if n, err := c.Read(b); err != nil || string(b[:n]) != "STATUS=busy" {
		t.Errorf("%q, %v", b[:n], err)
	}
}

// Who is being answered is not cut off by others who come.
func TestManyWhoComeMeanwhile(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free now
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	asked, answer := make(chan struct{}), make(chan struct{})
	ready := func() error {
		close(asked)
		<-answer
		return nil
	}
	go func() {
		HTTP{Addr: addr, Metrics: prometheus.NewRegistry(), Alive: func() error { return nil }, Ready: ready}.Serve(t.Context())
	}()
	dial := func() (c net.Conn) {
		for range 1000 {
			if c, err = net.Dial("tcp", addr); err == nil {
				t.Cleanup(func() { c.Close() })
				return c
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatal(err)
		return nil
	}
	first := dial()
	_, _ = io.WriteString(first, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
	<-asked
	for range 2 * maxConns {
		dial()
	}
	resp, err := http.Get("http://" + addr + "/healthz") // all of them have come
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	close(answer)
	_ = first.SetReadDeadline(time.Now().Add(30 * time.Second))
	if b, err := io.ReadAll(first); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200") {
		t.Errorf("%q, %v", b, err)
	}
}

// fullListener has no open file left for so many connections, and then is closed.
type fullListener struct {
	net.Listener
	times int
}

func (l *fullListener) Accept() (net.Conn, error) {
	if l.times == 0 {
		return nil, net.ErrClosed
	}
	l.times--
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
}

// http.Server has a line of its own for each connection that cannot be taken, and never hears of one here.
func TestALackOfOpenFilesIsWaitedOut(t *testing.T) {
	full := &fullListener{times: 2}
	if _, err := (&newest{Listener: full}).Accept(); !errors.Is(err, net.ErrClosed) || full.times != 0 {
		t.Errorf("%v, %d times too early", err, full.times)
	}
}

// Who has been answered and has gone takes no place from those who are there.
func TestManyWhoHaveGone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conns := &newest{Listener: l}
	comes := func() (there, here net.Conn) {
		t.Helper()
		if there, err = net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		if here, err = conns.Accept(); err != nil {
			t.Fatal(err)
		}
		return there, here
	}
	for range 2 * maxConns {
		there, here := comes()
		conns.answer(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), &http.Request{RemoteAddr: here.RemoteAddr().String()})
		here.Close()
		conns.state(here, http.StateClosed)
		there.Close()
	}
	first, here := comes()
	defer first.Close()
	second, _ := comes()
	defer second.Close()
	if _, err := here.Write([]byte("x")); err != nil {
		t.Errorf("the first of two: %v", err)
	}
}

// Who opens connections and says nothing, or never an end, holds up nobody, takes no more than a few open files, and
// those not for long.
func TestManyWhoAskNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free now
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	go func() {
		HTTP{Addr: addr, Metrics: prometheus.NewRegistry(), Alive: func() error { return nil }}.Serve(t.Context())
	}()
	openFiles := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	client := http.Client{Timeout: 30 * time.Second}
	const half = "GET /healthz HTTP/1.1\r\nHost: x\r\n"
	what := []string{"", half, half + "Content-Length: 1000\r\n\r\n", half + "\r\n" + half}
	for _, says := range what {
		var many []net.Conn
		for end := time.Now().Add(30 * time.Second); len(many) < 1000 && time.Now().Before(end); {
			if c, err := net.Dial("tcp", addr); err == nil {
				defer c.Close()
				_, _ = io.WriteString(c, says)
				many = append(many, c)
			} else {
				time.Sleep(10 * time.Millisecond)
			}
		}
		resp, err := client.Get("http://" + addr + "/healthz")
		if err != nil {
			t.Fatalf("after %d of %q: %v", len(many), says, err)
		}
		resp.Body.Close()
		if n := openFiles() - len(many); len(many) < 1000 || n > 100 {
			t.Errorf("%d of %q, %d open files beside ours", len(many), says, n)
		}
		for _, c := range many {
			c.Close()
		}
	}
	var last []net.Conn
	for _, says := range what {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, says)
		last = append(last, c)
	}
	for i, c := range last {
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.Copy(io.Discard, c); os.IsTimeout(err) {
			t.Errorf("%q keeps its connection", what[i])
		}
	}
}
