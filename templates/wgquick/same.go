package wgquick

import (
	"fmt"
	"slices"
)

// SameMeaning reports whether c and o ask for the same interface and the same peers, in the same order.
// Comments (Head, Refused, Origin, Hub, Held, Unjudged), the end mark and line numbers have no part in that.
func (c *Config) SameMeaning(o *Config) bool {
	return c.Interface.same(&o.Interface) &&
		slices.EqualFunc(c.Peers, o.Peers, func(a, b Peer) bool { return a.SameMeaning(&b) })
}

// difference names the first thing that is not the same in two files, comments and end mark included,
// or is "" if both say the same. Line numbers have no part in that.
func (c *Config) difference(o *Config) string {
	switch {
	case !slices.Equal(c.Head, o.Head):
		return "the comments at the top"
	case !c.Interface.same(&o.Interface):
		return "[Interface]"
	case len(c.Peers) != len(o.Peers):
		return fmt.Sprintf("%d peers, not %d", len(c.Peers), len(o.Peers))
	}
	for i := range c.Peers {
		a, b := &c.Peers[i], &o.Peers[i]
		switch {
		case !a.SameMeaning(b):
			return "[Peer] " + a.PublicKey.String()
		case !a.same(b):
			return "the comments over [Peer] " + a.PublicKey.String()
		}
	}
	switch {
	case !slices.Equal(c.Refused, o.Refused):
		return "the comments about who was refused"
	case c.End != o.End:
		return "the end mark"
	}
	return ""
}

func (i *Interface) same(o *Interface) bool {
	return i.PrivateKey == o.PrivateKey &&
		i.ListenPort == o.ListenPort &&
		i.FwMark == o.FwMark &&
		slices.Equal(i.Address, o.Address) &&
		i.MTU == o.MTU &&
		i.Table == o.Table &&
		slices.Equal(i.DNS, o.DNS) &&
		slices.Equal(i.PreUp, o.PreUp) &&
		slices.Equal(i.PostUp, o.PostUp) &&
		slices.Equal(i.PreDown, o.PreDown) &&
		slices.Equal(i.PostDown, o.PostDown)
}

// SameMeaning reports whether p and o ask for the same, whatever the comments over them say.
func (p *Peer) SameMeaning(o *Peer) bool {
	return p.PublicKey == o.PublicKey &&
		p.PresharedKey == o.PresharedKey &&
		slices.Equal(p.AllowedIPs, o.AllowedIPs) &&
		p.Endpoint == o.Endpoint &&
		p.PersistentKeepalive == o.PersistentKeepalive
}

// same is SameMeaning, and the same comments.
func (p *Peer) same(o *Peer) bool {
	return p.SameMeaning(o) && p.Origin == o.Origin && p.Hub == o.Hub && p.Held.Equal(o.Held) && slices.Equal(p.Unjudged, o.Unjudged)
}
