package wgquick_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wg-kube/templates/wgquick"
)

// accepted is what wg-quick and Parse take, and what it means.
func accepted(t testing.TB) map[string]acceptedFile {
	iface := func(i wgquick.Interface) *wgquick.Config { return &wgquick.Config{Interface: i} }
	peer := func(p wgquick.Peer) *wgquick.Config {
		p.PublicKey = public(t, keyB)
		return &wgquick.Config{Peers: []wgquick.Peer{p}}
	}
	host := func(h string) *wgquick.Config {
		return peer(wgquick.Peer{Endpoint: wgquick.Endpoint{Host: h, Port: 51820}})
	}
	return map[string]acceptedFile{
		"an empty file":                      {"", &wgquick.Config{}},
		"an interface without key":           {"[Interface]\n", &wgquick.Config{}},
		"a fragment":                         {"[Peer]\nPublicKey=%B%\n", peer(wgquick.Peer{})},
		"no last newline":                    {"[Interface]\nListenPort = 5", iface(wgquick.Interface{ListenPort: 5})},
		"CRLF":                               {"[Interface]\r\nListenPort = 5\r\nMTU = 1400\r\n", iface(wgquick.Interface{ListenPort: 5, MTU: 1400})},
		"any case":                           {"[iNTERFACE]\nlistenport = 5\nmtu = 1400\n", iface(wgquick.Interface{ListenPort: 5, MTU: 1400})},
		"tabs and no blanks":                 {"\t[Interface]\n\tListenPort=5\n", iface(wgquick.Interface{ListenPort: 5})},
		"white space inside wg's keys":       {"[ Pe er ]\nPublic Key = %B%\nEndpoint = 192.0.2.1 : 5 18 20\n", host("192.0.2.1")},
		"a comment after a header":           {"[Interface] # ours\nListenPort = 5 # five\n", iface(wgquick.Interface{ListenPort: 5})},
		"two interface sections merge":       {"[Interface]\nListenPort = 5\nAddress = 10.0.0.1/24\n[Peer]\nPublicKey = %B%\n[Interface]\nListenPort = 6\nAddress = 10.0.1.1/24\n", &wgquick.Config{Interface: wgquick.Interface{ListenPort: 6, Address: prefixes("10.0.0.1/24", "10.0.1.1/24")}, Peers: []wgquick.Peer{{PublicKey: public(t, keyB)}}}},
		"the last of a repeated key wins":    {"[Peer]\nPublicKey = %A%\nPublicKey = %B%\nEndpoint = a:1\nEndpoint = b.example:51820\n", host("b.example")},
		"addresses accumulate":               {"[Interface]\nAddress = 10.0.0.1/24,10.0.1.1/24 10.0.2.1\nAddress = fd00::1\n", iface(wgquick.Interface{Address: prefixes("10.0.0.1/24", "10.0.1.1/24", "10.0.2.1/32", "fd00::1/128")})},
		"an empty wg-quick value":            {"[Interface]\nAddress =\nMTU = 1400\nMTU =\nTable=\nDNS = #\nPostUp =\n", iface(wgquick.Interface{})},
		"a trailing comma in an address":     {"[Interface]\nAddress = 10.0.0.1/24,\n", iface(wgquick.Interface{Address: prefixes("10.0.0.1/24")})},
		"one address in two subnets":         {"[Interface]\nAddress = 10.0.0.1/24, 10.0.0.1/25\n", iface(wgquick.Interface{Address: prefixes("10.0.0.1/24", "10.0.0.1/25")})},
		"allowed IPs accumulate, masked":     {"[Peer]\nPublicKey = %B%\nAllowedIPs = 10.1.2.3/8, fd00::1/64\nAllowedIPs=192.0.2.1\n", peer(wgquick.Peer{AllowedIPs: prefixes("10.0.0.0/8", "fd00::/64", "192.0.2.1/32")})},
		"IPv4 in IPv6 form":                  {"[Peer]\nPublicKey = %B%\nAllowedIPs = ::ffff:192.0.2.1/128, ::ffff:10.0.0.1/104\n", peer(wgquick.Peer{AllowedIPs: prefixes("192.0.2.1/32", "10.0.0.0/8")})},
		"a default route":                    {"[Peer]\nPublicKey = %B%\nAllowedIPs = 0.0.0.0/0, ::/0\n", peer(wgquick.Peer{AllowedIPs: prefixes("0.0.0.0/0", "::/0")})},
		"an endpoint with brackets":          {"[Peer]\nPublicKey = %B%\nEndpoint = [2001:DB8:0::1]:51820\n", host("2001:db8::1")},
		"an endpoint without brackets":       {"[Peer]\nPublicKey = %B%\nEndpoint = 2001:db8::1:51820\n", host("2001:db8::1")},
		"a name in brackets":                 {"[Peer]\nPublicKey = %B%\nEndpoint = [hub.example.org]:51820\n", host("hub.example.org")},
		"an endpoint with a zone":            {"[Peer]\nPublicKey = %B%\nEndpoint = [fe80::1%eth0.5]:51820\n", host("fe80::1%eth0.5")},
		"keepalive":                          {"[Peer]\nPublicKey = %B%\nPersistentKeepalive = 25\n", peer(wgquick.Peer{PersistentKeepalive: 25})},
		"keepalive off":                      {"[Peer]\nPublicKey = %B%\nPersistentKeepalive = Off\n", peer(wgquick.Peer{})},
		"keys":                               {"[Interface]\nPrivateKey = %A%\n[Peer]\nPublicKey = %B%\nPresharedKey = %C%\n", &wgquick.Config{Interface: wgquick.Interface{PrivateKey: secret(t, keyA)}, Peers: []wgquick.Peer{{PublicKey: public(t, keyB), PresharedKey: secret(t, keyC)}}}},
		"fwmark in decimal":                  {"[Interface]\nFwMark = 051820\n", iface(wgquick.Interface{FwMark: 51820})},
		"fwmark in hex":                      {"[Interface]\nFwMark = 0xFFffffff\n", iface(wgquick.Interface{FwMark: 0xffffffff})},
		"fwmark off":                         {"[Interface]\nFwMark = off\n", iface(wgquick.Interface{})},
		"table by name":                      {"[Interface]\nTable = main\n", iface(wgquick.Interface{Table: "main"})},
		"table in hex":                       {"[Interface]\nTable = 0x10\n", iface(wgquick.Interface{Table: "16"})},
		"DNS":                                {"[Interface]\nDNS = 10.0.0.1, fd00::1 example.org\nDNS = corp\n", iface(wgquick.Interface{DNS: []string{"10.0.0.1", "fd00::1", "example.org", "corp"}})},
		"hooks keep their #":                 {"[Interface]\nPostUp = echo '#' # x\nPostUp = b = c\n", iface(wgquick.Interface{PostUp: []string{"echo '#' # x", "b = c"}})},
		"hooks that ini.v1 would misread":    {"[Interface]\nPreUp = `a\nPostUp = \"\"\"b\nPreDown = 'c' \\\nPostDown = %(x)s ; d\u00a0\n", iface(wgquick.Interface{PreUp: []string{"`a"}, PostUp: []string{`"""b`}, PreDown: []string{`'c' \`}, PostDown: []string{"%(x)s ; d\u00a0"}})},
		"the same hook twice runs twice":     {"[Interface]\nPostUp = a\nPostUp = a\n", iface(wgquick.Interface{PostUp: []string{"a", "a"}})},
		"SaveConfig = false":                 {"[Interface]\nSaveConfig = FALSE\n", &wgquick.Config{}},
		"MTU 1280 beside an IPv6 address":    {"[Interface]\nMTU = 1280\nAddress = fd00::1\n", iface(wgquick.Interface{MTU: 1280, Address: prefixes("fd00::1/128")})},
		"MTU 576 beside an IPv4 address":     {"[Interface]\nMTU = 576\nAddress = 10.0.0.1\n", iface(wgquick.Interface{MTU: 576, Address: prefixes("10.0.0.1/32")})},
		"comments before the first section":  {"# a\n\n#b\n#\n# # c\n# origin: Node/x\n[Interface]\n", &wgquick.Config{Head: []string{"a", "b", "", "# c", "origin: Node/x"}}},
		"an origin":                          {"# ours\n# origin: Node/a u\n# and\n\n[Peer]\nPublicKey = %B%\n", &wgquick.Config{Head: []string{"ours", "and"}, Peers: []wgquick.Peer{{Origin: wgquick.Origin{Kind: "Node", Name: "a", UID: "u"}, PublicKey: public(t, keyB)}}}},
		"an origin belongs to the next peer": {"[Peer]\nPublicKey = %B%\n# origin: Node/a\n# origin: crd/b/c\n[Peer]\nPublicKey = %C%\n", &wgquick.Config{Peers: []wgquick.Peer{{PublicKey: public(t, keyB)}, {Origin: wgquick.Origin{Kind: "crd", Name: "b/c"}, PublicKey: public(t, keyC)}}}},
		"an origin inside a peer":            {"[Peer]\n# origin: Node/a\nPublicKey = %B%\n", peer(wgquick.Peer{})},
		"origins that are none":              {"[Interface]\n# origin: Node\n# origin: /a\n# origin: a/\n# origin: a/b c d\n# held: since yesterday\n# held: since 0000-01-01T00:00:00+01:00\n[Peer]\nPublicKey = %B%\n", peer(wgquick.Peer{})},
		"held":                               {"[Interface]\n# held: since 2026-11-21T23:00:00.5+01:00, until somebody says so\n[Peer]\nPublicKey = %B%\n", peer(wgquick.Peer{Held: time.Date(2026, 11, 21, 22, 0, 0, 0, time.UTC)})},
		"a hub":                              {"[Interface]\n# hub: x\n[Peer]\nPublicKey = %B%\n", peer(wgquick.Peer{Hub: true})},
		"came while a name had no address":   {"[Interface]\n# came while a name had no address: 10.0.0.0/8, fd00::/8\n# came while a name had no address: soon\n[Peer]\nPublicKey = %B%\n", peer(wgquick.Peer{Unjudged: prefixes("10.0.0.0/8", "fd00::/8")})},
		"refused":                            {"[Interface]\n# refused: not here\n[Peer]\nPublicKey = %B%\n# a\n# refused: x y\n\n# refused:  z\n", &wgquick.Config{Peers: []wgquick.Peer{{PublicKey: public(t, keyB)}}, Refused: []string{"x y", " z"}}},
		"comments that reverse text":         {"# \u202eabc\n# \x1b[31m\n# ok\n[Interface]\n", &wgquick.Config{Head: []string{"ok"}}},
		"an end mark that does not hold":     {"[Interface]\n# end sha256:00\n", &wgquick.Config{}},
	}
}

type acceptedFile struct {
	text string
	want *wgquick.Config
}

func TestParseAccepts(t *testing.T) {
	for name, tc := range accepted(t) {
		t.Run(name, func(t *testing.T) {
			got, err := wgquick.Parse("wg0.conf", []byte(withKeys(tc.text)))
			if err != nil {
				t.Fatal(err)
			}
			if d := compare(tc.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			b, err := got.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			again, err := wgquick.Parse("again", b)
			if err != nil {
				t.Fatal(err)
			}
			if d := compare(got, again); d != "" {
				t.Errorf("marshalled (-want +got):\n%s", d)
			}
		})
	}
}

// How most of the files below begin.
const (
	inInterface = "[Interface]\n"
	inPeer      = "[Peer]\nPublicKey = %B%\n"
)

// refused is what Parse does not take, and what it says.
var refused = map[string]struct{ text, want string }{
	"a key before any section":        {"ListenPort = 5\n", `a:1: ListenPort: stands before the first section`},
	"an unknown section":              {"[Peers]\nx\n", `a:1: no such section: there are [Interface] and [Peer]`},
	"an open section":                 {"[Interface\n", `a:1: no such section: there are [Interface] and [Peer]`},
	"text after a header":             {"[Interface] x\n", `a:1: [Interface]: text after the section's header`},
	"blanks in wg-quick's header":     {"[ Interface ]\n", `a:1: [Interface]: white space in the header: wg-quick does not know it as [Interface]`},
	"a byte order mark":               {"\ufeff[Interface]\n", `a:1: [Interface]: begins with a byte order mark; save the file without one`},
	"a semicolon":                     {inInterface + "; MTU = 5\n", `a:2: [Interface]: a comment begins with #, not with ;`},
	"a colon":                         {inInterface + "MTU: 5\n", `a:2: [Interface]: not of the form Key = value`},
	"a key alone":                     {inInterface + "Table\n", `a:2: [Interface]: not of the form Key = value`},
	"a NUL":                           {inInterface + "MTU = 5\x00\n", `a:2: [Interface]: not text: the line has bytes that are not UTF-8`},
	"Latin-1":                         {inInterface + "# M\xfcller\n", `a:2: [Interface]: not text: the line has bytes that are not UTF-8`},
	"Latin-1 beside a header":         {"[Interface] # M\xfcller\nMTU = 5\n", `a:1: not text: the line has bytes that are not UTF-8`},
	"an unknown key":                  {inInterface + "Adress = 10.0.0.1\n", `a:2: [Interface]: Adress: no such key`},
	"a Kelvin sign":                   {inInterface + "Private\u212aey = %A%\n", `a:2: [Interface]: no such key`},
	"half of a key as a line":         {inInterface + "%A%\n", `a:2: [Interface]: no such key`},
	"blanks in wg-quick's keys":       {inInterface + "M T U = 1400\n", `a:2: [Interface]: M T U: no such key`},
	"a peer's key":                    {inInterface + "Endpoint = a:1\n", `a:2: [Interface]: Endpoint: belongs under [Peer]`},
	"an address under a peer":         {inPeer + "Address = 10.0.0.1\n", `a:3: [Peer] %B%: Address: belongs under [Interface]`},
	"an empty value":                  {inInterface + "ListenPort = # 5\n", `a:2: [Interface]: ListenPort: has no value`},
	"a peer without key":              {"# origin: Node/x\n[Peer]\nAllowedIPs = 10.0.0.0/8\n", `a:2: [Peer] x: PublicKey: missing: it says who the peer is`},
	"a short public key":              {"[Peer]\nPublicKey = abc\n", `a:2: [Peer]: PublicKey: "abc": not a key: 44 characters of base64 are wanted`},
	"the zero public key":             {"[Peer]\nPublicKey = %Z%\n", `a:2: [Peer]: PublicKey: "(hidden)": the zero key belongs to nobody`},
	"a private key in bad form":       {inInterface + "PrivateKey = AQEB\n", `a:2: [Interface]: PrivateKey: not a key: 44 characters of base64 are wanted`},
	"bits after the end of a key":     {inPeer + "PresharedKey = AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQF=\n", `a:3: [Peer] %B%: PresharedKey: not a key: 44 characters of base64 are wanted`},
	"the same peer twice":             {inPeer + "# origin: Node/x\n" + inPeer, `a:4: [Peer] x: PublicKey: "%B%": the same peer as in line 1`},
	"a private key as an address":     {inInterface + "Address = %A%\n", `a:2: [Interface]: Address: "(hidden)": not an IP address`},
	"a private key as a public one":   {"[Peer]\nPublicKey = x%A%\n", `a:2: [Peer]: PublicKey: "(hidden)": not a key: 44 characters of base64 are wanted`},
	"a port above 65535":              {inInterface + "ListenPort = 65536\n", `a:2: [Interface]: ListenPort: "65536": port above 65535`},
	"a port by name":                  {inInterface + "ListenPort = domain\n", `a:2: [Interface]: ListenPort: "domain": not a port number`},
	"a mark beyond 32 bits":           {inInterface + "FwMark = 0x100000000\n", `a:2: [Interface]: FwMark: "0x100000000": neither off nor a number from 0 to 0xffffffff`},
	"a mark of 0x":                    {inInterface + "FwMark = 0x\n", `a:2: [Interface]: FwMark: "0x": neither off nor a number from 0 to 0xffffffff`},
	"a long prefix":                   {"# origin: Node/spoke-7 u\n" + inPeer + "AllowedIPs = 10.0.0.0/33\n", `a:4: [Peer] spoke-7: AllowedIPs: "10.0.0.0/33": prefix too long`},
	"a very long prefix":              {inPeer + "AllowedIPs = ::/99999999999999999999\n", `a:3: [Peer] %B%: AllowedIPs: "::/99999999999999999999": prefix too long`},
	"a dotted mask":                   {inPeer + "AllowedIPs = 10.0.0.0/255.0.0.0\n", `a:3: [Peer] %B%: AllowedIPs: "10.0.0.0/255.0.0.0": the prefix length is not a number`},
	"a mask of nothing":               {inPeer + "AllowedIPs = 10.0.0.0/\n", `a:3: [Peer] %B%: AllowedIPs: "10.0.0.0/": the prefix length is not a number`},
	"a trailing comma":                {inPeer + "AllowedIPs = 10.0.0.0/8,\n", `a:3: [Peer] %B%: AllowedIPs: "10.0.0.0/8,": a comma too many`},
	"a zone in allowed IPs":           {inPeer + "AllowedIPs = fe80::1%eth0\n", `a:3: [Peer] %B%: AllowedIPs: "fe80::1%eth0": a zone does not belong here`},
	"a short address":                 {inInterface + "Address = 10.1/16\n", `a:2: [Interface]: Address: "10.1/16": not an IP address`},
	"an octal prefix length":          {inInterface + "Address = 10.0.0.1/024\n", `a:2: [Interface]: Address: "10.0.0.1/024": the prefix length is not a number`},
	"the unspecified address":         {inInterface + "Address = ::/64\n", `a:2: [Interface]: Address: "::/64": not an address of an interface`},
	"the unspecified IPv4 address":    {inInterface + "Address = 0.0.0.0/8\n", `a:2: [Interface]: Address: "0.0.0.0/8": not an address of an interface`},
	"a multicast address":             {inInterface + "Address = ff02::1\n", `a:2: [Interface]: Address: "ff02::1": not an address of an interface`},
	"an address twice":                {inInterface + "Address = 10.0.0.1/24\nAddress = 10.0.0.1/24\n", `a:3: [Interface]: Address: "10.0.0.1/24": said twice`},
	"an IPv6 address in two subnets":  {inInterface + "Address = fd00::1/64, fd00::1/48\n", `a:2: [Interface]: Address: "fd00::1/48": said twice`},
	"an MTU of 1279 with IPv6":        {inInterface + "MTU = 1279\nAddress = fd00::1\n", `a:2: [Interface]: MTU: "1279": too small for the IPv6 address fd00::1/128, which needs 1280`},
	"an MTU of 67":                    {inInterface + "MTU = 67\n", `a:2: [Interface]: MTU: "67": not between 68 and 65535`},
	"an MTU in words":                 {inInterface + "MTU = large\n", `a:2: [Interface]: MTU: "large": not a number of bytes`},
	"an MTU in hexadecimal":           {inInterface + "MTU = 0x5dc\n", `a:2: [Interface]: MTU: "0x5dc": not a number of bytes`},
	"a table of two words":            {inInterface + "Table = a b\n", `a:2: [Interface]: Table: "a b": more than one word`},
	"a table beyond 32 bits":          {inInterface + "Table = 4294967296\n", `a:2: [Interface]: Table: "4294967296": not the number of a routing table`},
	"SaveConfig":                      {inInterface + "SaveConfig = true\n", `a:2: [Interface]: SaveConfig: "true": the file says what the interface is, not the other way round`},
	"SaveConfig = maybe":              {inInterface + "SaveConfig = maybe\n", `a:2: [Interface]: SaveConfig: "maybe": neither true nor false`},
	"keepalive too long":              {inPeer + "PersistentKeepalive = 65536\n", `a:3: [Peer] %B%: PersistentKeepalive: "65536": neither off nor a number of seconds up to 65535`},
	"an endpoint without port":        {inPeer + "Endpoint = hub\n", `a:3: [Peer] %B%: Endpoint: "hub": no port`},
	"a bracket without port":          {inPeer + "Endpoint = [::1]\n", `a:3: [Peer] %B%: Endpoint: "[::1]": no port`},
	"an open bracket":                 {inPeer + "Endpoint = [::1:5\n", `a:3: [Peer] %B%: Endpoint: "[::1:5": no ] after the address`},
	"an endpoint port above 65535":    {inPeer + "Endpoint = hub:99999\n", `a:3: [Peer] %B%: Endpoint: "hub:99999": "99999": port above 65535`},
	"an endpoint without host":        {inPeer + "Endpoint = :5\n", `a:3: [Peer] %B%: Endpoint: ":5": no host`},
	"an IPv4 endpoint out of range":   {inPeer + "Endpoint = 300.1.1.1:5\n", `a:3: [Peer] %B%: Endpoint: "300.1.1.1:5": not an IP address`},
	"an endpoint that may be a key":   {inPeer + "Endpoint = wn4jikWxQGganGycD6aHb98nt1AuNSHmkvG5QnEi4Fo:5\n", `a:3: [Peer] %B%: Endpoint: "(hidden)": looks like a key, for which no resolver is asked; write the name in lower case`},
	"an IPv4 endpoint cut short":      {inPeer + "Endpoint = 127.1:5\n", `a:3: [Peer] %B%: Endpoint: "127.1:5": not an IP address`},
	"an IPv4 endpoint in hexadecimal": {inPeer + "Endpoint = 0xc0.0x000207:5\n", `a:3: [Peer] %B%: Endpoint: "0xc0.0x000207:5": not an IP address`},
	"an IPv6 endpoint out of form":    {inPeer + "Endpoint = 1::2::3:5\n", `a:3: [Peer] %B%: Endpoint: "1::2::3:5": not an IPv6 address`},
	"an endpoint with a slash":        {inPeer + "Endpoint = https://hub:5\n", `a:3: [Peer] %B%: Endpoint: "https://hub:5": not an IPv6 address`},
	"an endpoint with an umlaut":      {inPeer + "Endpoint = hüb:5\n", `a:3: [Peer] %B%: Endpoint: "hüb:5": neither an address nor a name`},
	"every fault, in order": {"x\n[Interface]\nMTU = 1\n" + "[Peer]\nEndpoint = a\nAllowedIPs = b\nFoo = c\n", `a:1: not of the form Key = value
a:3: [Interface]: MTU: "1": not between 68 and 65535
a:4: [Peer]: PublicKey: missing: it says who the peer is
a:5: [Peer]: Endpoint: "a": no port
a:6: [Peer]: AllowedIPs: "b": not an IP address
a:7: [Peer]: Foo: no such key`},
}

func TestParseRefuses(t *testing.T) {
	for name, tc := range refused {
		t.Run(name, func(t *testing.T) {
			c, err := wgquick.Parse("a", []byte(withKeys(tc.text)))
			if err == nil {
				t.Fatalf("accepted as %+v", c)
			}
			if d := cmp.Diff(withKeys(tc.want), err.Error()); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestParseAllowed(t *testing.T) {
	proposal := wgquick.Allow{
		Interface: []string{"Address", "ListenPort", "MTU"},
		Peer:      []string{"PublicKey", "AllowedIPs", "Endpoint"},
	}
	fragment := wgquick.Allow{Interface: []string{}}
	for name, tc := range map[string]struct {
		allow wgquick.Allow
		text  string
		want  string
	}{
		"what it may say": {proposal, "[Interface]\naddress = 10.0.0.1\n[Peer]\nPublicKey = %B%\nAllowedIPs = 10.0.0.2\n", ""},
		"a command":       {proposal, "[Interface]\npostup = rm -rf /\n", `a:2: [Interface]: PostUp: may not be said here`},
		"a private key":   {proposal, "[Interface]\nPrivate Key = %A%\n", `a:2: [Interface]: PrivateKey: may not be said here`},
		"a preshared key": {proposal, "[Peer]\nPublicKey = %B%\nPresharedKey = %A%\n", `a:3: [Peer] %B%: PresharedKey: may not be said here`},
		"a fragment":      {fragment, "[Peer]\nPublicKey = %B%\nPresharedKey = %A%\n", ""},
		"an interface":    {fragment, "[Interface]\nListenPort = 5\n[Peer]\nPublicKey = %B%\n", `a:1: [Interface]: this section may not stand here`},
		"a peer too many": {wgquick.Allow{Peers: 1}, "[Peer]\nPublicKey = %B%\n[Peer]\nPublicKey = %C%\nAllowedIPs = x\n", "a:3: [Peer]: more than 1 peers, which --max-peers allows; the rest is not read"},
		"no peers":        {wgquick.Allow{Peer: []string{}}, "[Peer]\nx\n", `a:1: [Peer]: this section may not stand here`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wgquick.ParseAllowed("a", []byte(withKeys(tc.text)), tc.allow)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if d := cmp.Diff(withKeys(tc.want), got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestLinesAreBounded(t *testing.T) {
	_, err := wgquick.Parse("a", []byte(strings.Repeat("\n", 1<<21)))
	if err == nil || err.Error() != "a:1048577: more than 1048576 lines; the rest is not read" {
		t.Errorf("%v", err)
	}
}

func TestFaultsAreBounded(t *testing.T) {
	_, err := wgquick.Parse("a", []byte(strings.Repeat("[Peer]\n", 1<<20)))
	faults, ok := err.(wgquick.Faults)
	if !ok || len(faults) > 1001 {
		t.Fatalf("%d faults", len(faults))
	}
	if last := faults[len(faults)-1].Error(); last != "a: too many faults; the rest is not shown" {
		t.Errorf("the last one: %s", last)
	}
	long := strings.Repeat("x", 1<<20)
	_, err = wgquick.Parse("a", []byte("[Interface]\n# origin: Node/"+long+"\n[Peer]\n"+strings.Repeat("AllowedIPs = "+long[:100]+"\n", 1000)))
	if n := len(err.Error()); n > 1<<20 {
		t.Errorf("a long name and many faults make %d bytes", n)
	}
}

// snippets are the texts of both tables, always in the same order.
func snippets(t testing.TB) (good, bad []string) {
	all := accepted(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		good = append(good, withKeys(all[name].text))
	}
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		bad = append(bad, withKeys(refused[name].text))
	}
	return good, bad
}
