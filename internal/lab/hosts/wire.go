package hosts

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// End is one end of a wire.
type End struct {
	Host  *Host
	Dev   string   // the interface that is made
	Addrs []string // with prefix length; IPv6 works at once, without duplicate detection
}

// Connect puts a wire (a veth pair) between two hosts.
func Connect(a, b End) error {
	err := a.Host.must("ip", "link", "add", "name", a.Dev, "type", "veth",
		"peer", "name", b.Dev, "netns", strconv.Itoa(b.Host.PID()))
	if err != nil {
		return err
	}
	// Both ends are up before either has an address: IPv6 waits for a carrier for up to a second otherwise.
	for _, e := range []End{a, b} {
		if err := e.Host.must("ip", "link", "set", e.Dev, "up"); err != nil {
			return err
		}
	}
	return errors.Join(a.assign(), b.assign())
}

func (e End) assign() error {
	for _, addr := range e.Addrs {
		args := []string{"ip", "address", "add", addr, "dev", e.Dev}
		if strings.Contains(addr, ":") {
			args = append(args, "nodad")
		}
		if err := e.Host.must(args...); err != nil {
			return err
		}
	}
	return nil
}

// Switch is a network segment that many hosts plug into: a bridge, on a host that does nothing else.
type Switch struct {
	box   *Host
	ports int
}

// NewSwitch makes a switch. Close it when it is no longer needed.
func NewSwitch() (*Switch, error) {
	box, err := New("switch")
	if err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"ip", "link", "add", "name", "br0", "type", "bridge"},
		{"ip", "link", "set", "br0", "up"},
	} {
		if err := box.must(args...); err != nil {
			box.Close()
			return nil, err
		}
	}
	return &Switch{box: box}, nil
}

// Plug connects a host's interface, which it makes, to the switch.
func (s *Switch) Plug(e End) error {
	s.ports++
	port := fmt.Sprintf("port%d", s.ports)
	if err := Connect(End{Host: s.box, Dev: port}, e); err != nil {
		return err
	}
	return s.box.must("ip", "link", "set", port, "master", "br0")
}

// Close takes the switch away, with every wire that is plugged into it.
func (s *Switch) Close() { s.box.Close() }
