package service

import "net"

// maxConns is how many connections are open at once.
const maxConns = 64

// newest is a listener that closes its oldest connection for each new one that is too many. Every user of the machine
// reaches loopback: none is to use up the open files of a daemon, nor to keep others waiting with connections on which
// nothing is said, or never an end. Who asks has long been answered when it is the oldest.
type newest struct {
	net.Listener
	conns [maxConns]net.Conn // the last ones; many are closed already
	next  int                // the oldest of them
}

func (l *newest) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if oldest := l.conns[l.next]; oldest != nil {
		_ = oldest.Close()
	}
	l.conns[l.next] = c
	l.next = (l.next + 1) % maxConns
	return c, nil
}
