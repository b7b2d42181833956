package kernel

import (
	"encoding/binary"
	"errors"
	"iter"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// dump asks for every object of one kind and parses each message with parse, which says whether to keep it.
// A dump that was interrupted by a change is incomplete: it is thrown away and asked for again.
func dump[T any](s *System, ask, answer uint16, parse func(m []byte) (T, bool), body ...nl.NetlinkRequestData) ([]T, error) {
	return whole(func() (out []T, err error) {
		req := &nl.NetlinkRequest{
			NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: ask, Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP},
			Data:     body,
			Sockets:  s.dumps,
		}
		err = req.ExecuteIter(unix.NETLINK_ROUTE, answer, func(m []byte) bool {
			if v, keep := parse(m); keep {
				out = append(out, v)
			}
			return true
		})
		return out, err
	})
}

// whole lists again what a change has interrupted: half a list is none.
func whole[T any](list func() ([]T, error)) (all []T, err error) {
	for range 10 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return nil, err
}

// attributes walks the attributes that follow the fixed part of a message.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			n := int(binary.NativeEndian.Uint16(b))
			if n < unix.SizeofRtAttr || n > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&nl.NLA_TYPE_MASK, b[unix.SizeofRtAttr:n]) {
				return
			}
			b = b[min(len(b), (n+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1)):]
		}
	}
}

func number(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	return int(binary.NativeEndian.Uint32(b))
}
