package plan

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"wg-kube/templates/wgquick"
)

var update = flag.Bool("update", false, "write the golden parts of testdata/plan")

var now = time.Date(2026, 11, 21, 22, 0, 0, 0, time.UTC)

// TestPlan reads testdata/plan. A case is a text archive:
//
//	wg0.conf   the file
//	underlay   optional: what there is beside our device; the words of readUnderlay
//	before     optional: the file that was in force before, applied to a fresh device
//	drift      optional: what became of that device since; the words of drift
//	plan       golden: the steps from the device to the file
//	error      golden instead of plan: what is wrong with the file
func TestPlan(t *testing.T) {
	cases, err := filepath.Glob("../../testdata/plan/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			part := func(name string) string {
				for _, f := range archive.Files {
					if f.Name == name {
						return string(f.Data)
					}
				}
				return ""
			}
			u := readUnderlay(t, part("underlay"))
			var live Live
			if before := part("before"); before != "" {
				want, err := Want(parse(t, before), "wg0", u)
				if err != nil {
					t.Fatalf("before: %v", err)
				}
				live = live.After(Diff(want, live))
				live.Now = now
				for i := range live.Peers {
					for _, p := range want.Peers {
						if p.PublicKey == live.Peers[i].PublicKey {
							live.Peers[i].Asked = p.Asked
						}
					}
				}
				u.FwMark = live.FwMark
			}
			drift(t, &live, part("drift"))

			golden, got := "plan", ""
			want, err := Want(parse(t, part("wg0.conf")), "wg0", u)
			if err != nil {
				golden, got = "error", err.Error()+"\n"
			} else {
				p := Diff(want, live)
				got = p.String()
				checkLaws(t, want, live, p)
			}
			if *update {
				archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "plan" || f.Name == "error" })
				archive.Files = append(archive.Files, txtar.File{Name: golden, Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(part(golden), got); d != "" {
				t.Errorf("%s: -golden +got, -update writes it:\n%s", golden, d)
			}
		})
	}
}

func parse(t *testing.T, conf string) *wgquick.Config {
	t.Helper()
	c, err := wgquick.Parse("wg0.conf", []byte(conf))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fields yields the words of each line but comments.
func fields(text string) (lines [][]string) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(f[0], "#") {
			lines = append(lines, f)
		}
	}
	return lines
}

// readUnderlay reads lines: resolve HOST:PORT ADDR:PORT | path ADDR MTU | mtu N | table NAME N | used N |
// route PREFIX DEVICE METRIC [TABLE] | noipv6 | link MTU.
func readUnderlay(t *testing.T, text string) Underlay {
	t.Helper()
	u := Underlay{
		Resolved: map[string]netip.AddrPort{},
		PathMTU:  map[netip.Addr]int{},
		Tables:   map[string]uint32{},
		Used:     map[uint32]bool{},
	}
	for _, f := range fields(text) {
		switch f[0] {
		case "resolve":
			u.Resolved[f[1]] = netip.MustParseAddrPort(f[2])
		case "path":
			u.PathMTU[netip.MustParseAddr(f[1])] = number(t, f[2])
		case "mtu":
			u.MTU = number(t, f[1])
		case "table":
			u.Tables[f[1]] = uint32(number(t, f[2]))
		case "used":
			u.Used[uint32(number(t, f[1]))] = true
		case "route":
			r := Route{Table: tableMain, Dst: netip.MustParsePrefix(f[1]), Device: f[2], Metric: number(t, f[3])}
			if len(f) > 4 {
				r.Table = uint32(number(t, f[4]))
			}
			u.Routes = append(u.Routes, r)
		case "noipv6":
			u.NoIPv6 = true
		case "link":
			u.LinkMTU = number(t, f[1])
		default:
			t.Fatalf("underlay: %q", f)
		}
	}
	return u
}

// drift changes live by lines: quick (wg-quick had brought it up, not wg-apply) | down | mtu N | port N | mark N |
// key ANOTHER | nofirewall | userspace | address + PREFIX | address - PREFIX | route + PREFIX TABLE PROTOCOL |
// route - PREFIX | norule -4|-6 guide|exemption | forget (what was asked for) | psk NAME |
// peer - NAME | prefix NAME + PREFIX | prefix NAME - PREFIX | endpoint NAME ADDR:PORT | keepalive NAME N |
// handshake NAME AGE | unanswered NAME.
func drift(t *testing.T, l *Live, text string) {
	t.Helper()
	peer := func(name string) *Peer {
		i := slices.IndexFunc(l.Peers, func(p Peer) bool { return p.Name == name })
		if i < 0 {
			t.Fatalf("drift: no peer %s", name)
		}
		return &l.Peers[i]
	}
	for _, f := range fields(text) {
		switch f[0] {
		case "quick":
			l.Ours = false
			for i := range l.Routes {
				l.Routes[i].Protocol = protocolBoot
			}
			for i := range l.Rules {
				l.Rules[i].Protocol = protocolBoot
			}
		case "down":
			l.Up = false
			l.Routes = slices.DeleteFunc(l.Routes, func(r Route) bool { return r.Dst.Addr().Is4() })
		case "mtu":
			l.MTU = number(t, f[1])
		case "port":
			l.ListenPort = uint16(number(t, f[1]))
		case "mark":
			l.FwMark = uint32(number(t, f[1]))
		case "key":
			l.PrivateKey[5]++
		case "nofirewall":
			l.Firewall = Families{}
		case "userspace":
			l.Userspace = true
		case "address":
			a := netip.MustParsePrefix(f[2])
			if f[1] == "+" {
				l.Addresses = append(l.Addresses, a)
			} else {
				l.Addresses = slices.DeleteFunc(l.Addresses, func(b netip.Prefix) bool { return a == b })
			}
		case "route":
			dst := netip.MustParsePrefix(f[2])
			if f[1] == "+" {
				l.Routes = append(l.Routes, Route{Table: uint32(number(t, f[3])), Dst: dst, Protocol: number(t, f[4]), Metric: metric(dst)})
			} else {
				l.Routes = slices.DeleteFunc(l.Routes, func(r Route) bool { return r.Dst == dst })
			}
		case "norule":
			l.Rules = slices.DeleteFunc(l.Rules, func(r Rule) bool {
				return r.V6 == (f[1] == "-6") && r.Guide() == (f[2] == "guide")
			})
		case "forget":
			for i := range l.Peers {
				l.Peers[i].Asked = wgquick.Endpoint{}
			}
		case "psk":
			peer(f[1]).PresharedKey[0]++
		case "peer":
			key := peer(f[2]).PublicKey
			l.Peers = slices.DeleteFunc(l.Peers, func(p Peer) bool { return p.PublicKey == key })
		case "prefix":
			p, a := peer(f[1]), netip.MustParsePrefix(f[3])
			if f[2] == "+" {
				p.AllowedIPs = append(p.AllowedIPs, a)
				slices.SortFunc(p.AllowedIPs, netip.Prefix.Compare)
			} else {
				p.AllowedIPs = slices.DeleteFunc(slices.Clone(p.AllowedIPs), func(b netip.Prefix) bool { return a == b })
			}
		case "endpoint":
			peer(f[1]).Endpoint = netip.MustParseAddrPort(f[2])
		case "keepalive":
			peer(f[1]).Keepalive = uint16(number(t, f[2]))
		case "handshake":
			age, err := time.ParseDuration(f[2])
			if err != nil {
				t.Fatal(err)
			}
			peer(f[1]).LastHandshake = now.Add(-age)
		case "unanswered":
			peer(f[1]).Unanswered = true
		default:
			t.Fatalf("drift: %q", f)
		}
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPlanShowsNoSecret(t *testing.T) {
	key := wgquick.SecretKey(bytes.Repeat([]byte{0xAB}, 32))
	port, mark, off, endpoint := uint16(1), uint32(2), uint16(0), netip.MustParseAddrPort("192.0.2.1:1")
	p := Plan{Interface: "wg0", Steps: []Step{
		SetDevice{"wg0", &key, &port, &mark},
		AddPeer{Iface: "wg0", PresharedKey: key},
		SetPeer{Iface: "wg0", PresharedKey: &key, Endpoint: &endpoint, Keepalive: &off},
	}}
	const want = `wg set wg0 private-key (hidden) listen-port 1 fwmark 2
wg set wg0 peer  preshared-key (hidden)
wg set wg0 peer  preshared-key (hidden) endpoint 192.0.2.1:1 persistent-keepalive off
`
	if d := cmp.Diff(want, p.String()); d != "" {
		t.Error(d)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if s := fmt.Sprintf(verb, p); strings.Contains(strings.ToLower(s), "abab") || strings.Contains(s, key.Reveal()) || strings.Contains(s, "171") {
			t.Errorf("%s shows the key: %s", verb, s)
		}
	}
}
