package kernel

import (
	"cmp"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"wg-kube/apply/plan"
)

// rules lists, of both families, those that have one of the two forms that go with a default route:
// "not fwmark N lookup N" and "lookup main suppress_prefixlength 0".
func (s *System) rules() ([]plan.Rule, error) {
	var out []plan.Rule
	for _, family := range families {
		all, err := whole(func() ([]netlink.Rule, error) { return s.handle.RuleList(int(family)) })
		if err := gone(err, unix.EOPNOTSUPP); err != nil { // a family that the kernel does not have has no rules
			return nil, err
		}
		for _, r := range all {
			if !plain(r) {
				continue
			}
			is := plan.Rule{
				V6: family == unix.AF_INET6, Priority: r.Priority, Not: r.Invert, Mark: r.Mark,
				Table: uint32(r.Table), Suppress: r.SuppressPrefixlen, Protocol: int(r.Protocol),
			}
			if is.Guide() || is.Exemption() {
				out = append(out, is)
			}
		}
	}
	return out, nil
}

// plain reports whether the rule selects by nothing but a mark.
func plain(r netlink.Rule) bool {
	return r.Src == nil && r.Dst == nil && r.IifName == "" && r.OifName == "" && r.Tos == 0 && r.TunID == 0 &&
		r.IPProto == 0 && r.Sport == nil && r.Dport == nil && r.UIDRange == nil && r.Goto <= 0 &&
		r.SuppressIfgroup == -1 && (r.Mask == nil || *r.Mask == 0xffffffff || r.Mark == 0)
}

// ruleMessage names the family, always: without it every rule is taken for an IPv4 one.
func ruleMessage(r plan.Rule) *netlink.Rule {
	m := netlink.NewRule()
	m.Family = unix.AF_INET
	if r.V6 {
		m.Family = unix.AF_INET6
	}
	if r.Priority != 0 {
		m.Priority = r.Priority
	}
	m.Invert, m.Mark, m.Table, m.SuppressPrefixlen = r.Not, r.Mark, int(r.Table), r.Suppress
	m.Protocol = uint8(cmp.Or(r.Protocol, plan.Protocol))
	return m
}

// delRules deletes the rules that lead into the tables that hold a default route of ours through the link, whether
// wg-apply or wg-quick made them; those of wg-apply's that lead into a table that is empty, because the link is gone;
// and with each the one directly before it that looks at main.
func (s *System) delRules(link int) error {
	all, err := s.rules()
	if err != nil || len(all) == 0 {
		return err
	}
	rs, err := s.routes(0, 0)
	if err != nil {
		return err
	}
	into, used := map[uint32]bool{}, map[uint32]bool{}
	for _, r := range rs {
		used[r.Table] = true
		if link != 0 && r.link == link && defaultRoute(r.Route) {
			into[r.Table] = true
		}
	}
	type place struct {
		v6       bool
		priority int
	}
	stays := map[place]bool{} // of those with a mark
	for _, r := range all {
		if r.Guide() {
			ours := into[r.Table] || !used[r.Table] && r.Protocol == plan.Protocol
			stays[place{r.V6, r.Priority}] = !ours
		}
	}
	for _, r := range all {
		goes := r.Guide() && !stays[place{r.V6, r.Priority}]
		if r.Exemption() {
			next, ok := stays[place{r.V6, r.Priority + 1}]
			goes = !next && (ok || r.Protocol == plan.Protocol)
		}
		if !goes {
			continue
		}
		if err := gone(s.handle.RuleDel(ruleMessage(r)), unix.ENOENT); err != nil {
			return err
		}
	}
	return nil
}
