package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// maxUnread is what the kernel may queue for us, in bytes: a router that loads a full table must not make us
// deaf. Messages that concern nobody here are dropped unread as they come.
const maxUnread = 8 << 20

// Events signals when a link, address, route or rule changes that may concern one of the interfaces for which
// concerns is true. It does not say what has changed: whoever is told observes again. At most one signal waits.
//
// Messages that are lost, when the kernel has more than the buffer holds, are made good by a signal. Changes that
// this process makes come back as signals too. WireGuard itself tells nothing: a peer that somebody changes with
// wg(8) makes no event. The channel is closed when ctx is done.
func (s *System) Events(ctx context.Context, concerns func(iface string) bool) <-chan struct{} {
	out := make(chan struct{}, 1)
	go func() {
		defer close(out)
		signal := func() {
			select {
			case out <- struct{}{}:
			default:
			}
		}
		for ctx.Err() == nil {
			err := s.listen(ctx, concerns, signal)
			if ctx.Err() != nil {
				return
			}
			s.cfg.Log.Warn("netlink events were lost; observing anew", "err", err)
			signal()
			select { // whatever made it fail may do so again at once
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()
	return out
}

// listen subscribes and returns when the subscription breaks.
func (s *System) listen(ctx context.Context, concerns func(string) bool, signal func()) error {
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
	if err != nil {
		return err
	}
	defer sock.Close()
	if err := sock.SetReceiveBufferSize(s.unread, true); err != nil { // without CAP_NET_ADMIN: what is allowed
		_ = sock.SetReceiveBufferSize(s.unread, false)
	}
	defer context.AfterFunc(ctx, sock.Close)()

	names := map[int]string{}
	links, err := s.links()
	if err != nil {
		return err
	}
	for index, l := range links {
		names[index] = l.name
	}
	signal() // what changed between the last look and the subscription
	for {
		msgs, from, err := sock.Receive()
		if err != nil {
			return err
		}
		if from.Pid != nl.PidKernel {
			continue // anybody may send to us
		}
		for _, m := range msgs {
			if m.Header.Type == unix.NLMSG_ERROR {
				return errors.New("netlink error message")
			}
			if concern(m, names, concerns) {
				signal()
			}
		}
	}
}

// concern reads as little of a message as tells which link it is about, and keeps names up to date.
func concern(m syscall.NetlinkMessage, names map[int]string, concerns func(string) bool) bool {
	switch m.Header.Type {
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return true // rare, and they name no link
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(m.Data) < unix.SizeofIfInfomsg {
			return false
		}
		index := int(nl.DeserializeIfInfomsg(m.Data).Index)
		was := names[index]
		for attr, v := range attributes(m.Data[unix.SizeofIfInfomsg:]) {
			if attr == unix.IFLA_IFNAME {
				names[index] = unix.ByteSliceToString(v)
			}
		}
		is := names[index]
		if m.Header.Type == unix.RTM_DELLINK {
			delete(names, index)
		}
		return concerns(is) || was != "" && was != is && concerns(was)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(m.Data) < unix.SizeofIfAddrmsg {
			return false
		}
		return concerns(names[int(binary.NativeEndian.Uint32(m.Data[4:]))])
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if len(m.Data) < unix.SizeofRtMsg {
			return false
		}
		for attr, v := range attributes(m.Data[unix.SizeofRtMsg:]) {
			if attr == unix.RTA_OIF {
				return concerns(names[number(v)])
			}
		}
	}
	return false
}
