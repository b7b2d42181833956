package command

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// address is what wg-quick takes for the address of a resolver. Any other word is a search domain.
var address = regexp.MustCompile(`^[0-9.]+$|:`)

// Record is what wg-quick tells resolvconf for the words of DNS=. It is empty where no resolver is among them: wg-quick
// then sets nothing, whatever the search domains.
func Record(dns []string) string {
	var servers, search []string
	for _, word := range dns {
		if address.MatchString(word) {
			servers = append(servers, "nameserver "+word+"\n")
		} else {
			search = append(search, word)
		}
	}
	if len(servers) == 0 {
		return ""
	}
	record := strings.Join(servers, "")
	if len(search) > 0 {
		record += "search " + strings.Join(search, " ") + "\n"
	}
	return record
}

// SetDNS gives a Record to resolvconf, exclusively and before all others, in place of the one it had.
func (r Runner) SetDNS(ctx context.Context, record string) error {
	return r.resolvconf(ctx, record, "-a", resolvconfName(r.Iface), "-m", "0", "-x")
}

// UnsetDNS takes it away. A record that is not there is no error.
func (r Runner) UnsetDNS(ctx context.Context) error {
	return r.resolvconf(ctx, "", "-d", resolvconfName(r.Iface), "-f")
}

func (r Runner) resolvconf(ctx context.Context, in string, args ...string) error {
	path, err := find("resolvconf", "Debian: openresolv, or systemd-resolved with its own")
	if err == nil {
		cmd := exec.Command(path, args...)
		cmd.Stdin = strings.NewReader(in)
		err = r.run(ctx, "resolvconf", strings.Join(args, " "), cmd)
	}
	if err != nil {
		return fmt.Errorf("%s: DNS: %w", r.File, err)
	}
	return nil
}

// interfaceOrder belongs to Debian's resolvconf, which asks that interfaces come under a prefix that it can sort by.
const interfaceOrder = "/etc/resolvconf/interface-order"

// resolvconfName is what resolvconf calls the interface: "wg0", or "tun.wg0" where there is an order of interfaces.
func resolvconfName(iface string) string {
	b, err := os.ReadFile(interfaceOrder)
	if err != nil {
		return iface
	}
	return prefixIn(string(b)) + iface
}

var prefix = regexp.MustCompile(`^([A-Za-z0-9-]+)\*$`)

// prefixIn is the first prefix in an order of interfaces, with its dot, or empty.
func prefixIn(order string) string {
	for line := range strings.Lines(order) {
		if m := prefix.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			return m[1] + "."
		}
	}
	return ""
}
