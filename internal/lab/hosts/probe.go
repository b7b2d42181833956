package hosts

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Probe is a stream of numbered packets from one host to another.
type Probe struct {
	From, To *Host
	Addr     netip.Addr // an address of To, as From reaches it
	Rate     int        // packets a second
	Burst    int        // at most so many are sent at once after the sender was held up, the rest never; zero: all
}

// Flow is a probe that runs.
type Flow struct {
	rate     int
	burst    int
	out, in  net.Conn
	stop     chan struct{}
	sent     chan Lost // of the sender, without what is lost
	received atomic.Int64
	done     chan error // of the receiver
}

// Lost is what a probe saw.
type Lost struct {
	Sent, Lost int
	Held       int // never sent, because the machine held up the sender for longer than the burst makes good
}

func (l Lost) String() string {
	s := fmt.Sprintf("%d packets sent, %d lost", l.Sent, l.Lost)
	if l.Held > 0 {
		s += fmt.Sprintf(", %d not sent", l.Held)
	}
	return s
}

// Packets that are still on their way when the sender has stopped are waited for: a second, in steps, for while the
// machine holds up the receiver it holds up the waiting too.
const (
	straggle = 10 * time.Millisecond
	steps    = 100
)

// Start starts the stream.
func (p Probe) Start() (*Flow, error) {
	f := &Flow{rate: p.Rate, burst: p.Burst, stop: make(chan struct{}), sent: make(chan Lost, 1), done: make(chan error, 1)}
	var at net.Addr
	err := p.To.Do(func() error {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.Addr, 0)))
		if err != nil {
			return err
		}
		f.in, at = c, c.LocalAddr()
		return deepen(c)
	})
	if err != nil {
		return nil, fmt.Errorf("probe at %s: %w", p.To.Name, err)
	}
	err = p.From.Do(func() (err error) {
		f.out, err = net.Dial("udp", at.String())
		return err
	})
	if err != nil {
		_ = f.in.Close()
		return nil, fmt.Errorf("probe from %s: %w", p.From.Name, err)
	}
	go f.receive()
	go f.send()
	return f, nil
}

// deepen gives the receiver a long queue: that a busy machine holds it up is no lost packet. Only root may go beyond
// the system's limit; without it the queue is what the system gives.
func deepen(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	})
}

// send keeps to the clock: when it is held up it catches up, as far as the burst allows.
func (f *Flow) send() {
	start, n, never := time.Now(), 0, 0
	tick := time.NewTicker(time.Second / time.Duration(f.rate))
	defer tick.Stop()
	for {
		select {
		case <-f.stop:
			f.sent <- Lost{Sent: n, Held: never}
			return
		case <-tick.C:
		}
		due := int(time.Since(start).Seconds()*float64(f.rate)) - never
		if late := due - n - f.burst; f.burst > 0 && late > 0 {
			due, never = due-late, never+late
		}
		for ; n < due; n++ {
			// A packet that cannot even be sent, because its route or its peer is gone, is a lost one.
			_, _ = f.out.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
		}
	}
}

// receive counts each packet once, until the socket is closed.
func (f *Flow) receive() {
	seen := map[uint64]bool{}
	b := make([]byte, 64)
	for {
		n, err := f.in.Read(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			f.done <- nil
			return
		case err != nil:
			f.done <- err
			return
		case n == 8:
			seen[binary.BigEndian.Uint64(b)] = true
			f.received.Store(int64(len(seen)))
		}
	}
}

// Stop ends the stream, waits for the last packets and says how many did not arrive.
func (f *Flow) Stop() (Lost, error) {
	close(f.stop)
	l := <-f.sent
	for n := 0; n < steps && int(f.received.Load()) < l.Sent; n++ {
		time.Sleep(straggle)
	}
	err := errors.Join(f.out.Close(), f.in.Close(), <-f.done)
	l.Lost = l.Sent - int(f.received.Load())
	return l, err
}
