package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ways asks the kernel which way a packet would take. A file that changes is one question for each of its endpoints,
// and there may be ten thousand: all go over one socket, and into one buffer.
type ways struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	buf [16 << 10]byte
}

// way is what leads to an address.
type way struct {
	link int // index
	mtu  int // of the path, as it was set up; zero: the link's
}

func openWays() (*ways, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	limit := unix.NsecToTimeval(time.Second.Nanoseconds()) // the answer is there before the question returns
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &ways{fd: fd}, nil
}

func (w *ways) close() { _ = unix.Close(w.fd) }

// to returns the way of a packet with that mark. An address to which there is none is an error. What the kernel has
// learned by ICMP of the path does not count: whoever it leads to, and others in their name, may say anything.
func (w *ways) to(a netip.Addr, mark uint32) (way, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	is, learned, err := w.ask(a, mark, unix.RTM_F_LOOKUP_TABLE)
	if err != nil || !learned {
		return is, err
	}
	was, _, err := w.ask(a, mark, unix.RTM_F_LOOKUP_TABLE|unix.RTM_F_FIB_MATCH)
	is.mtu = was.mtu
	return is, err
}

// ask is one question. w.mu is held.
func (w *ways) ask(a netip.Addr, mark, flags uint32) (is way, learned bool, err error) {
	w.seq++
	family := uint8(unix.AF_INET)
	if a.Is6() {
		family = unix.AF_INET6
	}
	req := nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: unix.RTM_GETROUTE, Flags: unix.NLM_F_REQUEST, Seq: w.seq}}
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: family, Dst_len: uint8(a.BitLen()), Flags: flags}})
	req.AddData(nl.NewRtAttr(unix.RTA_DST, a.AsSlice()))
	if mark != 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_MARK, nl.Uint32Attr(mark)))
	}
	if err := unix.Sendto(w.fd, req.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return way{}, false, err
	}
	for {
		n, _, err := unix.Recvfrom(w.fd, w.buf[:], 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return way{}, false, err
		}
		msgs, err := syscall.ParseNetlinkMessage(w.buf[:n])
		if err != nil {
			return way{}, false, err
		}
		for _, m := range msgs {
			if m.Header.Seq != w.seq {
				continue // to a question that was given up
			}
			if m.Header.Type != unix.RTM_NEWROUTE || len(m.Data) < unix.SizeofRtMsg {
				return way{}, false, fmt.Errorf("%s: no way there", a)
			}
			is, learned = parseWay(m.Data)
			return is, learned, nil
		}
	}
}

func parseWay(m []byte) (w way, learned bool) {
	v6, flags := m[0] == unix.AF_INET6, binary.NativeEndian.Uint32(m[8:])
	learned = v6 && flags&unix.RTM_F_CLONED != 0
	for attr, v := range attributes(m[unix.SizeofRtMsg:]) {
		switch attr {
		case unix.RTA_OIF:
			w.link = number(v)
		case unix.RTA_CACHEINFO: // of IPv4 all ways are cloned, and what was learned expires
			learned = learned || !v6 && len(v) >= 12 && number(v[8:]) != 0
		case unix.RTA_METRICS:
			for metric, v := range attributes(v) {
				if metric == unix.RTAX_MTU {
					w.mtu = number(v)
				}
			}
		}
	}
	return w, learned
}
