package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"wg-kube/apply/plan"
)

// tableName is wg-quick's, so that either finds what the other has made.
func tableName(iface string) string { return "wg-quick-" + iface }

// postmangle is the chain that has the mark.
const postmangle = "postmangle"

// nft opens nftables for as long as an answer may take.
func nft() (*nftables.Conn, error) {
	return nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		return c.SetDeadline(time.Now().Add(answering))
	}))
}

// firewalls returns the families in which the interface has a table.
func firewalls(iface string) (map[nftables.TableFamily]bool, error) {
	c, err := nft()
	if err != nil {
		return nil, err
	}
	have := map[nftables.TableFamily]bool{}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyUnspecified)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return have, nil // a kernel without nftables has no tables
	}
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		if t.Name == tableName(iface) {
			have[t.Family] = true
		}
	}
	return have, nil
}

// firewallMark is the mark that the first of the tables of an interface goes by; zero: none.
func firewallMark(iface string, have map[nftables.TableFamily]bool) (uint32, error) {
	for family := range have {
		c, err := nft()
		if err != nil {
			return 0, err
		}
		rules, err := c.GetRules(&nftables.Table{Name: tableName(iface), Family: family}, &nftables.Chain{Name: postmangle})
		if err := gone(err, unix.ENOENT); err != nil { // the table went meanwhile, or is nothing of ours
			return 0, err
		}
		for _, r := range rules {
			for i := 1; i < len(r.Exprs); i++ {
				meta, isMeta := r.Exprs[i-1].(*expr.Meta)
				is, isCmp := r.Exprs[i].(*expr.Cmp)
				if isMeta && isCmp && meta.Key == expr.MetaKeyMARK && len(is.Data) == 4 {
					return binary.NativeEndian.Uint32(is.Data), nil
				}
			}
		}
	}
	return 0, nil
}

// setFirewall makes or replaces the tables in one transaction.
func setFirewall(st plan.SetFirewall) error {
	have, err := firewalls(st.Iface)
	if err != nil {
		return err
	}
	c, err := nft()
	if err != nil {
		return err
	}
	for _, f := range []struct {
		family nftables.TableFamily
		want   bool
	}{{nftables.TableFamilyIPv4, st.V4}, {nftables.TableFamilyIPv6, st.V6}} {
		t := &nftables.Table{Name: tableName(st.Iface), Family: f.family}
		if have[f.family] {
			c.DelTable(t)
		}
		if f.want {
			fillTable(c, t, st)
		}
	}
	return c.Flush()
}

// fillTable adds a table with wg-quick's three chains: what is sent to one of our addresses, from afar and not
// through the tunnel, is dropped; the mark of our own encrypted packets comes back with the answers, so that these
// are taken for what they are when the kernel checks where they should have come from.
func fillTable(c *nftables.Conn, t *nftables.Table, st plan.SetFirewall) {
	c.AddTable(t)
	preraw := addChain(c, t, "preraw", nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw)
	premangle := addChain(c, t, "premangle", nftables.ChainHookPrerouting, *nftables.ChainPriorityMangle)
	marks := addChain(c, t, postmangle, nftables.ChainHookPostrouting, *nftables.ChainPriorityMangle)

	for _, a := range st.Guard {
		if a.Is4() == (t.Family == nftables.TableFamilyIPv4) {
			c.AddRule(&nftables.Rule{Table: t, Chain: preraw, Exprs: dropSpoofed(st.Iface, a)})
		}
	}
	udp := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
	}
	c.AddRule(&nftables.Rule{Table: t, Chain: marks, Exprs: append(udp[:2:2],
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, st.FwMark)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true},
	)})
	c.AddRule(&nftables.Rule{Table: t, Chain: premangle, Exprs: append(udp[:2:2],
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true},
	)})
}

func addChain(c *nftables.Conn, t *nftables.Table, name string, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
	return c.AddChain(&nftables.Chain{Name: name, Table: t, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: &priority})
}

// dropSpoofed is: iifname != IFACE daddr ADDRESS fib saddr type != local drop.
func dropSpoofed(iface string, to netip.Addr) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, iface)
	offset := uint32(16) // of the destination in an IPv4 header
	if to.Is6() {
		offset = 24
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: name},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(to.BitLen() / 8)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: to.AsSlice()},
		&expr.Fib{Register: 1, FlagSADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}

// delFirewall removes the tables of every family.
func delFirewall(iface string) error {
	have, err := firewalls(iface)
	if err != nil || len(have) == 0 {
		return err
	}
	c, err := nft()
	if err != nil {
		return err
	}
	for family := range have {
		c.DelTable(&nftables.Table{Name: tableName(iface), Family: family})
	}
	return c.Flush()
}

// srcValidMark lets the kernel count marks in when it checks the source of what comes in (rp_filter).
const srcValidMark = "/proc/sys/net/ipv4/conf/all/src_valid_mark"

func setSrcValidMark(on bool) error {
	value := "0\n"
	if on {
		value = "1\n"
	}
	if err := os.WriteFile(srcValidMark, []byte(value), 0); err != nil {
		return fmt.Errorf("%w (a default route needs it: set it where /proc/sys can be written)", err)
	}
	return nil
}

func getSrcValidMark() (bool, error) {
	b, err := os.ReadFile(srcValidMark)
	if err != nil {
		return false, err
	}
	return len(b) > 0 && b[0] == '1', nil
}
