package wgquick

import (
	"errors"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

const (
	minMTU4 = 68   // RFC 791
	minMTU6 = 1280 // RFC 8200
	maxMTU  = 65535
)

func readSecret(to *SecretKey, v string) error {
	k, err := ParseSecretKey(v)
	*to = k
	return err
}

func readPublic(to *PublicKey, v string) error {
	k, err := ParsePublicKey(v)
	if err != nil {
		return bad(v, "%w", err)
	}
	*to = k
	return nil
}

// readPort refuses the names of services(5), which wg takes: what they mean depends on the machine.
func readPort(to *uint16, v string) error {
	n, err := strconv.ParseUint(v, 10, 16)
	if errors.Is(err, strconv.ErrRange) {
		return bad(v, "port above 65535")
	}
	if err != nil {
		return bad(v, "not a port number")
	}
	*to = uint16(n)
	return nil
}

func readFwMark(to *uint32, v string) error {
	digits, base := v, 10
	if strings.EqualFold(v, "off") {
		digits = "0"
	} else if hex, ok := strings.CutPrefix(v, "0x"); ok {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil {
		return bad(v, "neither off nor a number from 0 to 0xffffffff")
	}
	*to = uint32(n)
	return nil
}

func readKeepalive(to *uint16, v string) error {
	digits := v
	if strings.EqualFold(v, "off") {
		digits = "0"
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return bad(v, "neither off nor a number of seconds up to 65535")
	}
	*to = uint16(n)
	return nil
}

func addAllowedIPs(to *[]netip.Prefix, v string) error {
	for s := range strings.SplitSeq(v, ",") {
		if s == "" {
			return bad(v, "a comma too many")
		}
		p, err := parsePrefix(s)
		if err != nil {
			return err
		}
		*to = append(*to, p.Masked())
	}
	return nil
}

// addAddresses refuses what the kernel does not take as an address, and what it takes but nobody can mean.
func (r *reading) addAddresses(v string) error {
	for _, s := range words(v) {
		p, err := parsePrefix(s)
		if err != nil {
			return err
		}
		a := p.Addr()
		if a.IsUnspecified() || a.IsMulticast() || a.Is6() && a.IsLoopback() {
			return bad(s, "not an address of an interface")
		}
		same := p
		if a.Is6() {
			same = netip.PrefixFrom(a, a.BitLen()) // the mask makes no second address of it
		}
		if r.addresses[same] {
			return bad(s, "said twice")
		}
		if r.addresses == nil {
			r.addresses = make(map[netip.Prefix]bool)
		}
		r.addresses[same] = true
		r.Interface.Address = append(r.Interface.Address, p)
	}
	return nil
}

// parsePrefix reads an address with or without a mask. It keeps the host bits.
// An IPv4 address in IPv6 form becomes what it is, as on its way through wgctrl.
func parsePrefix(s string) (netip.Prefix, error) {
	host, mask, masked := strings.Cut(s, "/")
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}, bad(s, "not an IP address")
	}
	if a.Zone() != "" {
		return netip.Prefix{}, bad(s, "a zone does not belong here")
	}
	bits := a.BitLen()
	if masked {
		n, err := strconv.ParseUint(mask, 10, 16)
		switch {
		// wg reads 010 as ten, ip as eight.
		case err != nil && !errors.Is(err, strconv.ErrRange), len(mask) > 1 && mask[0] == '0':
			return netip.Prefix{}, bad(s, "the prefix length is not a number")
		case err != nil, int(n) > bits:
			return netip.Prefix{}, bad(s, "prefix too long")
		}
		bits = int(n)
	}
	if a.Is4In6() && bits >= 96 {
		a, bits = a.Unmap(), bits-96
	}
	return netip.PrefixFrom(a, bits), nil
}

func (r *reading) setMTU(v string) error {
	r.mtuLine = r.line
	if v == "" {
		r.Interface.MTU = 0
		return nil
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil || v[0] == '0' { // ip reads a leading zero as octal
		return bad(v, "not a number of bytes")
	}
	if n < minMTU4 || n > maxMTU {
		return bad(v, "not between %d and %d", minMTU4, maxMTU)
	}
	r.Interface.MTU = int(n)
	return nil
}

// readTable keeps a name as it is: only the machine knows its rt_tables(5). A number becomes decimal.
func readTable(to *string, v string) error {
	if strings.ContainsAny(v, blanks) {
		return bad(v, "more than one word")
	}
	if v != "" && '0' <= v[0] && v[0] <= '9' {
		digits, base := v, 10
		if hex, ok := strings.CutPrefix(v, "0x"); ok {
			digits, base = hex, 16
		} else if v != "0" && v[0] == '0' { // octal to ip
			digits = ""
		}
		n, err := strconv.ParseUint(digits, base, 32)
		if err != nil {
			return bad(v, "not the number of a routing table")
		}
		v = strconv.FormatUint(n, 10)
	}
	*to = v
	return nil
}

func addWords(to *[]string, v string) error {
	*to = append(*to, words(v)...)
	return nil
}

// words splits as bash does after wg-quick made each comma a space.
func words(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' })
}

func addHook(to *[]string, v string) error {
	if v != "" {
		*to = append(*to, v)
	}
	return nil
}

func refuseSaveConfig(v string) error {
	switch {
	case strings.EqualFold(v, "false"):
		return nil
	case strings.EqualFold(v, "true"):
		return bad(v, "the file says what the interface is, not the other way round")
	}
	return bad(v, "neither true nor false")
}

// readEndpoint splits where wg does: after the bracket, else at the last colon, so that ::1:51820 is [::1]:51820.
func readEndpoint(to *Endpoint, v string) error {
	var host, port string
	if rest, ok := strings.CutPrefix(v, "["); ok {
		if host, port, ok = strings.Cut(rest, "]"); !ok {
			return bad(v, "no ] after the address")
		}
		if port, ok = strings.CutPrefix(port, ":"); !ok {
			return bad(v, "no port")
		}
	} else {
		colon := strings.LastIndexByte(v, ':')
		if colon < 0 {
			return bad(v, "no port")
		}
		host, port = v[:colon], v[colon+1:]
	}
	var e Endpoint
	if err := readPort(&e.Port, port); err != nil {
		return bad(v, "%w", err)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" && !wellFormed(a.Zone(), "-_.=+", 15) {
			return bad(v, "the zone is not the name of an interface")
		}
		host = a.Unmap().String()
	} else if why := notAName(host); why != "" {
		return bad(v, "%s", why)
	}
	e.Host = host
	*to = e
	return nil
}

// numeric is what inet_aton(3), and with it wg, takes for an IPv4 address, and anything else of dots and digits.
var numeric = regexp.MustCompile(`^(0[xX][0-9a-fA-F]*|[0-9]*)(\.(0[xX][0-9a-fA-F]*|[0-9]*))*$`)

// notAName says why a host that is not an address is not a name either.
func notAName(host string) string {
	switch {
	case host == "":
		return "no host"
	case numeric.MatchString(host):
		return "not an IP address"
	case strings.Contains(host, ":"):
		return "not an IPv6 address"
	case len(host) > 253:
		return "the name is too long"
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		if !wellFormed(label, "-_", 63) {
			return "neither an address nor a name"
		}
		if keyLike(label) {
			return "looks like a key, for which no resolver is asked; write the name in lower case"
		}
	}
	return ""
}

// keyLike reports whether a part of a host name is rather a key, or half of one, than that.
func keyLike(label string) bool {
	const half = 20
	return jumbled(label) && len(label) >= half && strings.ContainsAny(label, "0123456789") &&
		(len(label) >= 2*half || !strings.ContainsAny(label, "-_"))
}

// wellFormed reports whether s is 1 to longest ASCII letters, digits and others.
func wellFormed(s, others string, longest int) bool {
	for _, r := range s {
		if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(others, r)) {
			return false
		}
	}
	return s != "" && len(s) <= longest
}
