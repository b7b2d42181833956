package systemd

import (
	"os"
	"strings"
	"testing"
)

// The commands of docs/operations.md leave nothing behind but what it says.
func TestRemoval(t *testing.T) {
	page, err := os.ReadFile("../docs/operations.md")
	must(t, err)
	_, section, _ := strings.Cut(string(page), "\n## Removal\n\n")
	commands, _, ok := strings.Cut(section, "\n\n")
	if !ok || !strings.HasPrefix(commands, "    wg-apply down wg0") {
		t.Fatalf("docs/operations.md does not say how all is removed: %s", commands)
	}
	spoke := newSpoke(t)
	spoke.Boot(t)
	spoke.Run(t, "systemctl", "enable", "--now", "wg-apply", "wg-render@wg0")
	active(t, spoke, "wg-apply")
	spoke.Run(t, "bash", "-euc", commands)
	ours := []string{"wg-apply*", "wg-render*", "wg-device*", "wg-key*"}
	find := []string{"find", "/usr/local", "/etc", "/var/lib", "/run", "-name", "*wg-kube*"}
	for _, name := range ours {
		find = append(find, "-o", "-name", name)
	}
	if left := spoke.Run(t, find...); left != "" {
		t.Errorf("it leaves\n%s", left)
	}
	if out := spoke.Run(t, append([]string{"systemctl", "list-units", "--all", "--plain", "--no-legend"}, ours...)...); out != "" {
		t.Errorf("units are left:\n%s", out)
	}
	for _, gone := range [][]string{{"id", "wg-render"}, {"ip", "link", "show", "wg0"}} {
		if out, code := spoke.Try(gone...); code == 0 {
			t.Errorf("%s finds something:\n%s", gone, out)
		}
	}
	spoke.Run(t, "test", "-s", "/etc/wireguard/wg0.conf")
}
