package plan

import (
	"net/netip"
	"slices"
)

// Diff returns the steps that lead from live to want, in the order that the package comment tells.
// It changes neither. Its cost grows with the number of peers and routes, its steps with the differences alone.
func Diff(want Desired, live Live) Plan {
	d := differ{iface: want.Interface, want: want, live: live, quicks: quicks(want, live)}
	addresses := d.addresses()
	peers := d.peers()
	routes := d.routes(addresses.flush)
	rules := d.rules()
	mark := d.mark()

	var p Plan
	p.Interface = want.Interface
	for _, stage := range [][]Step{
		d.link(), d.firewall(), addresses.gain, d.device(),
		peers.gain, peers.move, d.up(), d.greet(),
		routes.gain, mark.switched, rules.gain, routes.last,
		addresses.exchange,
		rules.lose, mark.off, routes.lose, peers.lose, addresses.lose, routes.again, d.noFirewall(),
	} {
		p.Steps = append(p.Steps, stage...)
	}
	return p
}

// differ holds the two sides. Its methods each compare one part and change neither.
type differ struct {
	iface  string
	want   Desired
	live   Live
	quicks map[netip.Prefix]bool
}

func (d *differ) link() []Step {
	if d.live.Exists {
		return nil
	}
	return []Step{AddLink{d.iface}}
}

func (d *differ) up() (s []Step) {
	if d.live.MTU != d.want.MTU {
		s = append(s, SetMTU{d.iface, d.want.MTU})
	}
	if !d.live.Up {
		s = append(s, SetUp{d.iface})
	}
	return s
}

// device changes the key, the port, and the mark where there was none.
// A file without key leaves the one that a hook may have set.
func (d *differ) device() []Step {
	set := SetDevice{Iface: d.iface}
	if key := d.want.PrivateKey; !key.IsZero() && key.Clamped() != d.live.PrivateKey.Clamped() {
		set.PrivateKey = new(key.Clamped())
	}
	if port := d.want.ListenPort; port != 0 && port != d.live.ListenPort {
		set.ListenPort = new(port)
	}
	if mark := d.want.FwMark; mark != 0 && d.live.FwMark == 0 {
		set.FwMark = new(mark)
	}
	if set == (SetDevice{Iface: d.iface}) {
		return nil
	}
	return []Step{set}
}

// mark changes the mark where there was one, at the time that the package comment tells.
func (d *differ) mark() (m struct{ switched, off []Step }) {
	set := []Step{SetDevice{Iface: d.iface, FwMark: new(d.want.FwMark)}}
	switch {
	case d.want.FwMark == d.live.FwMark || d.live.FwMark == 0:
	case d.want.FwMark == 0:
		m.off = set
	default:
		m.switched = set
	}
	return m
}

// ours reports whether something with a protocol is ours to remove; boot says whether wg-quick may have left it.
func ours(protocol int, boot bool) bool {
	return protocol == Protocol || boot && protocol == protocolBoot
}

// inOrder returns s, or a sorted copy of it if it is not in order.
func inOrder[T any](s []T, compare func(a, b T) int) []T {
	if slices.IsSortedFunc(s, compare) {
		return s
	}
	return slices.SortedFunc(slices.Values(s), compare)
}
