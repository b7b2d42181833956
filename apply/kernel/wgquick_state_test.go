package kernel

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"wg-kube/internal/lab"
)

// looks prints all that an interface can be seen by, in parts that begin with "== NAME".
const looks = `
echo "== link and addresses"; printf 'link\naddress\n' | ip -o -batch -
for v in 4 6; do
	echo "== IPv$v"; printf 'rule\nroute show table all\n' | ip -$v -batch -
done
echo "== nftables"; nft list ruleset
cd /proc/sys/net
echo "== sysctl"; grep -rs . ipv4/ip_forward ipv6/conf/all/forwarding ipv4/conf/all ipv4/conf/wg0 ipv6/conf/wg0
echo "== resolv.conf"; cat /etc/resolv.conf
echo "== diary"; cat /run/diary 2>/dev/null
echo "== wg"; wg showconf wg0 2>/dev/null
exit 0
`

// state is what looks prints, in a normal form: for each part its lines.
type state map[string][]string

func stateOf(t *testing.T, h *lab.Host) state {
	t.Helper()
	s := state{}
	for part := range strings.SplitSeq(h.Run(t, "sh", "-c", looks), "== ") {
		name, text, _ := strings.Cut(part, "\n")
		var lines []string
		for line := range strings.Lines(text) {
			if line = incidental.ReplaceAllString(strings.TrimRight(line, " \n"), ""); line != "" && !kernelsOwn.MatchString(line) {
				lines = append(lines, line)
			}
		}
		switch name {
		case "":
			continue
		case "link and addresses":
			for i, line := range lines {
				if m := linkMTU.FindStringSubmatch(line); m != nil {
					s["mtu"], lines[i] = m[1:], strings.Replace(line, m[1], "", 1)
				}
			}
		case "IPv4", "IPv6":
			routes := max(0, slices.IndexFunc(lines, func(line string) bool { return !isRule.MatchString(line) }))
			slices.Sort(lines[routes:]) // their order says nothing; that of rules does
		case "sysctl":
			slices.Sort(lines)
		case "nftables":
			lines = byTable(lines)
		case "wg":
			lines = byPeer(lines)
		}
		s[name] = lines
	}
	return s
}

var (
	linkMTU = regexp.MustCompile(`^wg0: .*( mtu \d+)`)
	isRule  = regexp.MustCompile(`^\d+:\t`)
)

// incidental is what differs from one run to the next, or by design: our protocol and alias.
var incidental = regexp.MustCompile(`^\d+: |@if\d+|NO-CARRIER,| (state|proto|qdisc|alias|link-netnsid|pref) \S+|\\ .*link/.*|\\ `)

// kernelsOwn finds what the kernel adds for the link-local address that it makes up for a userspace device, some time
// after the link is up; and how it made it up.
var kernelsOwn = regexp.MustCompile(`inet6 fe80:.* stable-privacy|^(local |anycast |multicast )?(fe80:|ff00:).* dev wg0|ip6 daddr fe80:|/stable_secret:|^ipv6/conf/wg0/mtu:`)

// byTable sorts the tables of a ruleset. In each it sorts the rules that drop: their order says nothing.
func byTable(lines []string) []string {
	var tables []string
	for i := 0; i < len(lines); i++ {
		first := i
		for i < len(lines) && strings.HasSuffix(lines[i], " drop") {
			i++
		}
		slices.Sort(lines[first:i])
	}
	for table := range strings.SplitAfterSeq(strings.Join(lines, "\n")+"\n", "\n}\n") {
		tables = append(tables, table)
	}
	slices.Sort(tables)
	return strings.Split(strings.Join(tables, ""), "\n")
}

// byPeer sorts the peers, and the prefixes of each.
func byPeer(lines []string) []string {
	for i, line := range lines {
		if list, ok := strings.CutPrefix(line, "AllowedIPs = "); ok {
			prefixes := strings.Split(list, ", ")
			slices.Sort(prefixes)
			lines[i] = "AllowedIPs = " + strings.Join(prefixes, ", ")
		}
	}
	sections := strings.Split(strings.Join(lines, "\n"), "\n[Peer]\n")
	slices.Sort(sections[1:])
	return strings.Split(strings.Join(sections, "\n[Peer]\n"), "\n")
}

// forgetPort is for a listen port that was drawn.
func (s state) forgetPort() {
	s["wg"] = slices.DeleteFunc(s["wg"], func(line string) bool { return strings.HasPrefix(line, "ListenPort") })
}
