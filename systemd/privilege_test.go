package systemd

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"wg-kube/internal/lab"
)

// exposure is what "systemd-analyze security" may say of a unit at most: from 0, which can do nothing, to 10.
var exposure = map[string]float64{
	"wg-render@.service":            1.5,
	"wg-apply.service":              2.0,
	"wg-apply.service with hooks":   3.0,
	"wg-device@.service":            2.0,
	"wg-key@.service":               1.5,
	"wg-render-credential@.service": 1.0,
}

func TestExposure(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		lab.Skip(t, "systemd-analyze is not installed")
	}
	units, err := filepath.Glob("system/*.service")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, unit := range units {
		files[filepath.Base(unit)] = unit
	}
	hooked := t.TempDir()
	if out, err := exec.Command("cp", "-r", "system/wg-apply.service", "optional/hooks/wg-apply.service.d", hooked).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files["wg-apply.service with hooks"] = filepath.Join(hooked, "wg-apply.service")

	for _, name := range slices.Sorted(maps.Keys(files)) {
		most, known := exposure[name]
		if !known {
			t.Errorf("%s: how exposed it may be is not said", name)
			continue
		}
		got, why := analyze(t, files[name])
		if got > most {
			t.Errorf("%s: exposure %.1f, wanted %.1f at most\n%s", name, got, most, why)
		}
		t.Logf("%s: %.1f", name, got)
	}
}

// analyze returns the figure for a unit file, and what it is made of.
func analyze(t *testing.T, unit string) (float64, string) {
	t.Helper()
	out, err := exec.Command("systemd-analyze", "security", "--offline=yes", "--no-pager", unit).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", unit, err, out)
	}
	found := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
	if found == nil {
		t.Fatalf("%s: no figure:\n%s", unit, out)
	}
	figure, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return figure, string(out)
}

func TestTheUnitsAreUnderstood(t *testing.T) {
	m := newSpoke(t)
	out, code := m.Try("systemd-analyze", "verify", "--man=no", "wg-apply.service", "wg-render@wg0.service",
		"wg-key@wg0.service", "wg-device@wg0.service", "wg-device@wg0.path", "wg-render-credential@wg0.path", "wg-render-credential@wg0.service")
	if code != 0 || out != "" {
		t.Errorf("exit status %d\n%s", code, out)
	}
}

// What a sandbox lets through is tried in it, by a command that runs before the daemon. A line in capitals should not
// be there.
const (
	probeRender = `
cat /etc/wireguard/keys/wg9/0.key && echo READS A KEY
ls /etc/wireguard && echo LISTS THE KEYS
cat /etc/wg-kube/secret && echo READS WHAT IS ROOTS OWN
touch /run/wg-kube/x && echo WRITES THE STATUS
touch /etc/x && echo WRITES ETC
touch /home/x && echo WRITES HOME
ip link add name dummy0 type bridge && echo MAKES LINKS
unshare --user true && echo MAKES NAMESPACES
mount -t tmpfs x /mnt && echo MOUNTS
ls /dev/net/tun && echo HAS DEVICES
touch /var/lib/wg-render/x && echo writes its folder
`
	mayRender = "writes its folder\n"

	probeApply = `
cat /var/lib/wg-render/theirs && echo READS WHAT IS NOT ITS OWN
chown daemon /run/wg-kube && echo GIVES AWAY
touch /etc/x && echo WRITES ETC
touch /var/lib/wg-render/x && echo WRITES PROPOSALS
echo 1 >/proc/sys/net/ipv4/ip_forward && echo SETS ANYTHING
unshare --net true && echo MAKES NAMESPACES
mount -t tmpfs x /mnt && echo MOUNTS
ls /dev/net/tun && echo HAS DEVICES
ls /var/lib/wg-render >/dev/null && echo sees proposals
touch /run/wg-kube/x /etc/wireguard/x && echo writes its folders
ip link add name dummy0 type bridge && ip link delete dummy0 && echo makes links
echo 1 >/proc/sys/net/ipv4/conf/all/src_valid_mark && echo sets src_valid_mark
`
	mayApply = "sees proposals\nwrites its folders\nmakes links\nsets src_valid_mark\n"
)

func TestPrivileges(t *testing.T) {
	m := newSpoke(t)
	m.Write(t, "/etc/wireguard/keys/wg9/0.key", "a key that everybody may read\n", 0o644)
	m.Write(t, "/etc/wg-kube/secret", "root's own\n", 0o600)
	m.Write(t, "/var/lib/wg-render/theirs", "the renderer's own\n", 0o600)
	m.Run(t, "chown", "wg-render:", "/var/lib/wg-render/theirs")
	for unit, probe := range map[string]string{"wg-render@": probeRender, "wg-apply": probeApply} {
		script := "/usr/local/bin/probe-" + unit
		m.Write(t, script, "#!/bin/sh\n("+strings.TrimSpace(probe)+") >/tmp/may 2>/dev/null\nsed -n 's/^[a-zA-Z_ ]*$/probe: &/p' /tmp/may\n", 0o755)
		m.Write(t, "/etc/systemd/system/"+unit+".service.d/probe.conf", "[Service]\nExecStartPre="+script+"\n", 0o644)
	}
	m.Boot(t)
	m.Run(t, "chmod", "755", "/etc/wireguard") // as somebody may do it
	m.Run(t, "systemctl", "enable", "--now", "wg-apply", "wg-render@wg0")

	for _, c := range []struct {
		unit, user   string
		capabilities string // as in /proc/PID/status
		may          string
	}{
		{"wg-render@wg0", "wg-render", "0000000000000000", mayRender},
		{"wg-apply", "root", "0000000000001000", mayApply}, // CAP_NET_ADMIN
	} {
		t.Run(c.unit, func(t *testing.T) {
			var may strings.Builder
			for line := range strings.Lines(m.Journal(c.unit)) {
				if _, words, ok := strings.Cut(line, "probe: "); ok {
					may.WriteString(words)
				}
			}
			if may.String() != c.may {
				t.Errorf("it may:\n%swanted:\n%s", &may, c.may)
			}
			proc := "/proc/" + pid(t, m, c.unit)
			if got := strings.TrimSpace(m.Run(t, "stat", "-c", "%U", proc)); got != c.user {
				t.Errorf("it runs as %s", got)
			}
			status := m.Read(t, proc+"/status")
			for _, want := range []string{"CapPrm:\t" + c.capabilities, "CapEff:\t" + c.capabilities, "CapBnd:\t" + c.capabilities,
				"CapAmb:\t" + fmt.Sprintf("%016d", 0), "NoNewPrivs:\t1", "Seccomp:\t2"} {
				if !strings.Contains(status, want+"\n") {
					t.Errorf("not %q:\n%s", want, status)
				}
			}
		})
	}
}
