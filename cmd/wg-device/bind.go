package main

import (
	"net"
	"reflect"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"
)

// bind sends by IPv4 and by IPv6 from one port. A StdNetBind sends both with the same few addresses, which it uses again
// and again. One that was last an IPv4 address has room for four bytes, and takes no more than four of the next IPv6
// address: such a packet goes to a mixture of two peers' addresses, and is lost. So each family has a StdNetBind, for as
// long as there is no release with what github.com/WireGuard/wireguard-go/pull/135 proposes.
type bind struct {
	conn.Bind                          // never opened: it knows what an endpoint is
	opened    atomic.Pointer[families] // nil: closed. What answers a handshake under load is sent whatever the device does meanwhile
}

type families struct {
	six  conn.Bind // has the sockets, receives, and sends by IPv6
	four conn.Bind // sends by IPv4, from the same sockets
}

func newBind() *bind { return &bind{Bind: conn.NewStdNetBind()} }

// Open is called again, after Close, when the port changes.
func (b *bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	f := &families{six: conn.NewStdNetBind(), four: conn.NewStdNetBind()}
	receive, port, err := f.six.Open(port)
	if err != nil {
		return nil, 0, err
	}
	// The sockets are taken over by a copy. Nothing was sent yet, so that no address is in both.
	reflect.ValueOf(f.four).Elem().Set(reflect.ValueOf(f.six).Elem())
	b.opened.Store(f)
	return receive, port, nil
}

func (b *bind) Send(packets [][]byte, to conn.Endpoint) error {
	f := b.opened.Load()
	switch {
	case f == nil:
		return net.ErrClosed
	case to.DstIP().Is4():
		return f.four.Send(packets, to)
	default:
		return f.six.Send(packets, to)
	}
}

func (b *bind) SetMark(mark uint32) error {
	if f := b.opened.Load(); f != nil {
		return f.six.SetMark(mark)
	}
	return nil // the device sets it when it opens
}

func (b *bind) Close() error {
	if f := b.opened.Swap(nil); f != nil {
		return f.six.Close()
	}
	return nil
}
