package kernel

import (
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"wg-kube/templates/wgquick"
)

// difference is one way in which wg-apply means to differ from wg-quick. It is told by one of the fields below.
type difference struct {
	what   string // as docs/wg-quick.md says it
	before string // the first version of wg-quick that does it like us; empty: none does

	unasked bool   // it goes when it is asked for
	in      string // only a file in which this is found has it

	fault   string                                           // wg-apply refuses what wg-quick takes, in these words
	takes   string                                           // wg-apply takes what wg-quick refuses in these words
	waits   string                                           // both fail, in these words of ours, but the interface comes up
	differs func(c *wgquick.Config, theirs, ours state) bool // both take it: takes out what differs by design

	used atomic.Bool
}

// deliberate is the list of them, but for the files that Parse refuses: of those templates/wgquick has the list, and
// judges every file of testdata/parity by it.
var deliberate = []*difference{
	{what: "A route that would swallow a peer's own endpoint is refused",
		fault: `holds the endpoint`},
	{what: "`FwMark = 255` beside a default route is refused",
		fault: `FwMark: 255: `},
	{what: "A `Table` that does not exist is refused",
		fault: `Table: ".*": neither auto, off, a number, nor`},
	{what: "`Table = local` is refused",
		fault: `Table: ".*": this table is the kernel's own`},
	{what: "A file without an `[Interface]` section is refused",
		fault: `no \[Interface\] section`},
	{what: "A name that cannot be resolved keeps nothing else from coming up",
		waits: `: Endpoint: \S+: (no such host|the resolver)`},
	{what: "The MTU that is worked out for a tunnel with IPv6 is never below 1280",
		takes: `ip link set mtu (\d{1,3}|1[01]\d\d|12[0-7]\d) up(?s:.*)No such device`},
	{what: "The MTU that is worked out for a tunnel with IPv6 is never below 1280",
		differs: func(c *wgquick.Config, theirs, ours state) bool {
			floor := c.Interface.MTU == 0 && slices.Equal(ours["mtu"], []string{" mtu 1280"}) && theirs["mtu"][0] < " mtu 1280" &&
				slices.ContainsFunc(c.Interface.Address, func(a netip.Prefix) bool { return a.Addr().Is6() })
			if floor { // the kernel has taken IPv6 off theirs
				for _, part := range []string{"mtu", "link and addresses", "IPv6", "sysctl"} {
					drop(part, theirs, ours)
				}
			}
			return floor
		}},
	{what: "The way to an endpoint is that of the tunnel's own packets, with their mark",
		differs: func(c *wgquick.Config, theirs, ours state) bool {
			return c.Interface.MTU == 0 && c.Interface.FwMark != 0 && hasEndpoint(c) && drop("mtu", theirs, ours)
		}},
	{what: "The MTU is that of the narrowest way to an endpoint", before: "1.0.20260223",
		differs: func(c *wgquick.Config, theirs, ours state) bool {
			return c.Interface.MTU == 0 && len(c.Peers) > 1 && hasEndpoint(c) && drop("mtu", theirs, ours)
		}},
	{what: "A path MTU that is locked counts",
		differs: func(c *wgquick.Config, theirs, ours state) bool {
			locked := c.Interface.MTU == 0 && hasEndpoint(c) && strings.Contains(strings.Join(theirs["IPv4"], ""), " mtu lock ")
			return locked && drop("mtu", theirs, ours)
		}},
	{what: "An IPv4 address in IPv6 form is the IPv4 address", in: `(?i)::ffff:`,
		differs: func(_ *wgquick.Config, theirs, ours state) bool {
			return dropAny(theirs, ours, "mtu", "wg", "link and addresses", "IPv4", "IPv6", "nftables", "sysctl")
		}},
	{what: "What a hook changes of what the file says is set back", in: `(?m)^PostUp = (ip link set|ip addr|wg set) `,
		differs: func(_ *wgquick.Config, theirs, ours state) bool {
			return dropAny(theirs, ours, "mtu", "wg", "link and addresses", "IPv4")
		}},
	{what: "A hook knows `INTERFACE` and `CONFIG_FILE`, and no other variable of the script", in: `\$\{ADDRESSES`,
		differs: func(_ *wgquick.Config, theirs, ours state) bool { return drop("diary", theirs, ours) }},
	{what: "`PreUp`", before: "1.0.20260223", in: `(?m)^PreUp = ip link show`,
		differs: func(_ *wgquick.Config, theirs, ours state) bool { return drop("diary", theirs, ours) }},
	{what: "`#` in a hook", before: "1.0.20260223", in: `(?m)^PostUp = .*#`,
		takes: `unexpected EOF while looking for matching`},
	{what: "`DNS` is off unless asked for", unasked: true,
		differs: func(c *wgquick.Config, theirs, ours state) bool {
			return len(c.Interface.DNS) > 0 && drop("resolv.conf", theirs, ours)
		}},
	{what: "Hooks are off unless asked for", unasked: true,
		differs: func(c *wgquick.Config, theirs, ours state) bool {
			return len(c.Interface.PostUp) > 0 && drop("IPv4", theirs, ours)
		}},
	{what: "Hooks are off unless asked for", unasked: true,
		takes: `(?m)^\[#\] false$`},
}

func hasEndpoint(c *wgquick.Config) bool {
	return slices.ContainsFunc(c.Peers, func(p wgquick.Peer) bool { return !p.Endpoint.IsZero() })
}

// drop takes a part out of both states and reports whether it was another in each.
func drop(part string, theirs, ours state) bool {
	differs := !slices.Equal(theirs[part], ours[part])
	delete(theirs, part)
	delete(ours, part)
	return differs
}

// dropAny is drop for several parts.
func dropAny(theirs, ours state, parts ...string) (differ bool) {
	for _, part := range parts {
		differ = drop(part, theirs, ours) || differ
	}
	return differ
}

// known reports whether a difference in a file is a deliberate one, and remembers that it was seen.
func known(f parityFile, is func(d *difference) bool) bool {
	for _, d := range deliberate {
		if d.applies() && !(d.unasked && f.asked()) && (d.in == "" || matches(d.in, f.conf)) && is(d) {
			d.used.Store(true)
			return true
		}
	}
	return false
}

func matches(pattern, text string) bool {
	return pattern != "" && regexp.MustCompile(pattern).MatchString(text)
}

// applies reports whether the wg-quick that is installed has the difference.
func (d *difference) applies() bool { return d.before == "" || installed() < d.before }

// installed is the version of the wireguard-tools, in which the last part is the date.
func installed() string {
	out, _ := exec.Command("wg", "--version").Output()
	_, version, _ := strings.Cut(string(out), " v")
	version, _, _ = strings.Cut(version, " ")
	return version
}

// The list that people read is whole.
func TestDifferencesAreInTheDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/wg-quick.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range deliberate {
		if !strings.Contains(string(text), "| "+d.what+" |") {
			t.Errorf("docs/wg-quick.md does not say: %s", d.what)
		}
	}
}

// allUsed fails for a difference that no file shows.
func allUsed(t *testing.T) {
	t.Helper()
	for _, d := range deliberate {
		if d.applies() && !d.used.Load() {
			t.Errorf("no file shows that: %s", d.what)
		}
	}
}
