// Package systemd holds the units, and the tests that start them under a real systemd.
package systemd

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/systemd"
	"wg-kube/templates/wgquick"
)

func TestMain(m *testing.M) { systemd.Main(m) }

// hang bounds a wait for something that takes a second or two.
const hang = time.Minute

// newSpoke is a machine on which "make install" was run, and that is switched off.
func newSpoke(t *testing.T) *systemd.Machine {
	t.Helper()
	m := systemd.New(t, "spoke")
	makeInstall(t, m)
	m.Run(t, "systemd-sysusers") // on a machine that runs, make does that
	m.Run(t, "systemd-tmpfiles", "--create", "/usr/local/lib/tmpfiles.d/wg-kube.conf")
	return m
}

// makeInstall installs onto the machine's disk, from outside it.
func makeInstall(t *testing.T, m *systemd.Machine) {
	t.Helper()
	run(t, "make", "-C", "..", "install", "BIN="+build(t), "DESTDIR="+m.Path("/"))
}

// build builds the programs of a spoke and returns the folder that they are in.
func build(t *testing.T) (dir string) {
	t.Helper()
	for _, program := range []string{"wg-render", "wg-apply", "wg-device"} {
		dir = filepath.Dir(lab.Build(t, "wg-kube/cmd/"+program))
	}
	return dir
}

// run runs a command outside the machine.
func run(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(cmd.Environ(), "MAKEFLAGS=") // not those of the make that runs the tests
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

const (
	hubUnderlay   = "192.0.2.1"
	spokeUnderlay = "192.0.2.2"
	hubOverlay    = "100.96.0.1"
	spokeOverlay  = "100.96.0.2"
)

var (
	hubKey   = wgquick.SecretKey{0x10} // the last three bits of a key do not count
	spokeKey = wgquick.SecretKey{0x20}
)

// newHub is the other end: a host with a wg0 that wg-quick has brought up, and that waits to be called.
func newHub(t *testing.T) *lab.Host {
	t.Helper()
	hub := lab.NewHost(t, "hub")
	hub.Write(t, "/etc/wireguard/wg0.conf", fmt.Sprintf(`[Interface]
Address = %s/32
PrivateKey = %s
ListenPort = 51820

[Peer]
PublicKey = %s
AllowedIPs = %s/32
`, hubOverlay, hubKey.Reveal(), spokeKey.Public(), spokeOverlay), 0o600)
	lab.WGQuickUp(t, hub, "wg0")
	return hub
}

// spokeFile is the spoke's wg0.conf as a person writes it.
var spokeFile = fmt.Sprintf(`[Interface]
Address = %s/32
PrivateKey = %s
ListenPort = 51820

[Peer]
PublicKey = %s
Endpoint = %s:51820
AllowedIPs = %s/32
PersistentKeepalive = 25
`, spokeOverlay, spokeKey.Reveal(), hubKey.Public(), hubUnderlay, hubOverlay)

// wire plugs the hub and the spoke together, the hub first: a machine knows no process outside it.
func wire(t *testing.T, spoke *systemd.Machine, hub *lab.Host) {
	t.Helper()
	lab.Link(t, hub, "eth0", hubUnderlay+"/24", spoke.Host, "eth0", spokeUnderlay+"/24")
}

// reaches waits until a ping comes back through the tunnel.
func reaches(t *testing.T, m *lab.Host, addr string) {
	t.Helper()
	lab.Eventually(t, hang, m.Name+" reaches "+addr, func() bool {
		_, code := m.Try("ping", "-c", "1", "-W", "1", addr)
		return code == 0
	})
}

// active waits until a unit is.
func active(t *testing.T, m *systemd.Machine, unit string) {
	t.Helper()
	lab.Eventually(t, hang, unit+" is active", func() bool { return m.Property(t, unit, "ActiveState") == "active" })
}

// pid of a unit's main process.
func pid(t *testing.T, m *systemd.Machine, unit string) string {
	t.Helper()
	return m.Property(t, unit, "MainPID")
}

// logged is what the program of a unit said.
func logged(m *systemd.Machine, unit, words string) bool {
	return strings.Contains(m.Journal(unit), words)
}
