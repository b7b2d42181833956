package pipeline

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// arrival is the moment at which the kernel of a machine has told of so many routes. It costs the measured program
// nothing, whereas to read the device again and again would take its time.
type arrival struct {
	sock *nl.NetlinkSocket
	at   chan time.Time
	err  chan error
}

// routes starts to count messages of a kind, RTM_NEWROUTE or RTM_DELROUTE, about IPv4 routes of the main table.
func (m machine) routes(kind uint16, n int) (*arrival, error) {
	a := &arrival{at: make(chan time.Time, 1), err: make(chan error, 1)}
	err := m.Do(func() (err error) {
		a.sock, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: route events: %w", m.Name, err)
	}
	if err := a.sock.SetReceiveBufferSize(32<<20, true); err != nil {
		return nil, err
	}
	go func() {
		for {
			msgs, _, err := a.sock.Receive()
			now := time.Now()
			if err != nil {
				a.err <- err
				return
			}
			for _, msg := range msgs {
				if msg.Header.Type == kind && len(msg.Data) >= unix.SizeofRtMsg && nl.DeserializeRtMsg(msg.Data).Table == unix.RT_TABLE_MAIN {
					n--
				}
			}
			if n <= 0 {
				a.at <- now
				return
			}
		}
	}()
	return a, nil
}

// wait returns the moment.
func (a *arrival) wait(ctx context.Context) (time.Time, error) {
	defer a.sock.Close()
	select {
	case at := <-a.at:
		return at, nil
	case err := <-a.err:
		return time.Time{}, fmt.Errorf("route events: %w", err)
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	case <-time.After(hang):
		return time.Time{}, fmt.Errorf("no routes within %s", hang)
	}
}
