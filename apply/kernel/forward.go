package kernel

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"wg-kube/apply/hints"
)

// forwardDrops finds the chains of nftables that drop forwarded packets, by their policy or by a last rule for all,
// where neither a rule of the table looks for the interface nor one on the way accepts everything. The tables that
// iptables-nft makes are among them; what iptables-legacy has made cannot be seen from here.
func (s *System) forwardDrops(ctx context.Context, iface string) ([]hints.Chain, error) {
	c, err := nft()
	if err != nil {
		return nil, err
	}
	chains, err := c.ListChains()
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // a kernel without nftables drops nothing with it
	}
	if err != nil {
		return nil, err
	}
	index := 0
	if l, err := s.findLink(iface); err == nil && l != nil {
		index = l.Attrs().Index
	}
	var out []hints.Chain
	for _, base := range chains {
		family, ours := familyNames[base.Table.Family]
		if !ours || base.Hooknum == nil || *base.Hooknum != *nftables.ChainHookForward {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t, err := readTable(c, chains, base.Table)
		if err != nil {
			return nil, err
		}
		if t.drops(base) && !t.looksFor(iface, index) && !t.acceptsAll(base.Name) {
			out = append(out, hints.Chain{Family: family, Table: base.Table.Name, Name: base.Name})
		}
	}
	slices.SortFunc(out, func(a, b hints.Chain) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Table, b.Table), cmp.Compare(a.Name, b.Name))
	})
	return out, nil
}

var familyNames = map[nftables.TableFamily]string{
	nftables.TableFamilyINet: "inet",
	nftables.TableFamilyIPv4: "ip",
	nftables.TableFamilyIPv6: "ip6",
}

// rulesOf are the rules of one table, by chain.
type rulesOf map[string][]*nftables.Rule

func readTable(c *nftables.Conn, chains []*nftables.Chain, t *nftables.Table) (rulesOf, error) {
	all := rulesOf{}
	for _, ch := range chains {
		if ch.Table.Name != t.Name || ch.Table.Family != t.Family {
			continue
		}
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			return nil, err
		}
		all[ch.Name] = rules
	}
	return all, nil
}

// drops reports whether a packet that gets to the end of the base chain is dropped.
func (t rulesOf) drops(base *nftables.Chain) bool {
	if base.Policy != nil && *base.Policy == nftables.ChainPolicyDrop {
		return true
	}
	rules := t[base.Name]
	if len(rules) == 0 {
		return false
	}
	switch e := forAll(rules[len(rules)-1]).(type) {
	case *expr.Verdict:
		return e.Kind == expr.VerdictDrop
	case *expr.Reject:
		return true
	case *expr.Target: // of iptables
		return e.Name == "REJECT"
	}
	return false
}

// acceptsAll reports whether a chain, or one that it leads to, has a rule that accepts whatever gets there.
func (t rulesOf) acceptsAll(chain string) bool {
	seen := map[string]bool{chain: true}
	for todo := []string{chain}; len(todo) > 0; todo = todo[1:] {
		for _, r := range t[todo[0]] {
			if v, ok := forAll(r).(*expr.Verdict); ok && v.Kind == expr.VerdictAccept {
				return true
			}
			for _, e := range r.Exprs {
				if v, ok := e.(*expr.Verdict); ok && v.Chain != "" && !seen[v.Chain] {
					seen[v.Chain] = true
					todo = append(todo, v.Chain)
				}
			}
		}
	}
	return false
}

// forAll is the last word of a rule that applies to every packet, nil if it does not.
func forAll(r *nftables.Rule) (last expr.Any) {
	for _, e := range r.Exprs {
		switch e.(type) {
		case *expr.Counter, *expr.Log:
		case *expr.Verdict, *expr.Reject, *expr.Target:
			last = e
		default:
			return nil
		}
	}
	return last
}

// looksFor reports whether a rule of the table looks for the interface: by its name, the beginning of it or its index,
// or in a way that is not understood here, such as a set or all but another one.
func (t rulesOf) looksFor(iface string, index int) bool {
	for _, rules := range t {
		for _, r := range rules {
			for i, e := range r.Exprs {
				m, ok := e.(*expr.Meta)
				if !ok || m.SourceRegister || i+1 == len(r.Exprs) {
					continue
				}
				switch m.Key {
				case expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME:
					if c, ok := r.Exprs[i+1].(*expr.Cmp); !ok || c.Op != expr.CmpOpEq || names(c.Data, iface) {
						return true
					}
				case expr.MetaKeyIIF, expr.MetaKeyOIF:
					is := binary.NativeEndian.AppendUint32(nil, uint32(index))
					if c, ok := r.Exprs[i+1].(*expr.Cmp); !ok || c.Op != expr.CmpOpEq || bytes.Equal(c.Data, is) {
						return true
					}
				case expr.MetaKeyIIFGROUP, expr.MetaKeyOIFGROUP, expr.MetaKeyIIFTYPE, expr.MetaKeyOIFTYPE:
					return true
				}
			}
		}
	}
	return false
}

// names reports whether the data to compare an interface's name with is that name: a whole one ends with a zero, the
// beginning of one ("wg*") does not.
func names(data []byte, iface string) bool {
	return bytes.HasPrefix(append([]byte(iface), 0), bytes.TrimRight(data, "\x00")) &&
		(bytes.IndexByte(data, 0) < 0 || string(bytes.TrimRight(data, "\x00")) == iface)
}
