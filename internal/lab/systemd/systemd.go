// Package systemd gives tests machines with a real systemd as PID 1, booted in half a second: units are started as
// they are on a node. The machine that the tests run on is neither changed nor seen by them.
//
// A package whose tests need them says so once:
//
//	func TestMain(m *testing.M) { systemd.Main(m) }
package systemd

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/hosts"
)

// why holds the reason why there can be no machines here.
const why = "WGKUBE_LAB_NO_SYSTEMD"

// Main is lab.Main for a package with tests that need machines.
func Main(m *testing.M) {
	if err := hosts.Delegate(); err != nil {
		_ = os.Setenv(why, err.Error())
	}
	lab.Main(m)
}

// boot bounds what takes a second.
const boot = time.Minute

// Machine is a host with a systemd, which lasts as long as its test.
type Machine struct {
	*lab.Host
	machine *hosts.Machine
}

// New makes a machine that is switched off, or skips the test where there can be none. Files can be written and
// programs run before Boot.
func New(t testing.TB, name string) *Machine {
	t.Helper()
	lab.Need(t)
	if reason := os.Getenv(why); reason != "" {
		lab.Skip(t, reason)
	}
	for _, program := range []string{"/lib/systemd/systemd", "/usr/bin/setpriv"} {
		if _, err := exec.LookPath(program); err != nil {
			lab.Skip(t, program+" is not installed")
		}
	}
	inner, err := hosts.NewMachine(name)
	if err != nil {
		t.Fatal(err)
	}
	m := &Machine{&lab.Host{Host: inner.Host}, inner}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s: %s", name, m.Journal())
		}
		inner.Close()
	})
	return m
}

// Boot boots the machine, and returns when every unit that is to be started has been.
func (m *Machine) Boot(t testing.TB) {
	t.Helper()
	m.SwitchOn(t)
	m.Up(t)
}

// SwitchOn returns as soon as systemctl(1) works.
func (m *Machine) SwitchOn(t testing.TB) {
	t.Helper()
	if err := m.machine.SwitchOn(); err != nil {
		t.Fatal(err)
	}
}

// Up waits until the machine has booted. It may be degraded: what has failed is the test's to judge.
func (m *Machine) Up(t testing.TB) {
	t.Helper()
	lab.Eventually(t, boot, m.Name+": it is up", func() bool {
		out, _ := m.Try("systemctl", "is-system-running", "--wait")
		return strings.HasPrefix(out, "running") || strings.HasPrefix(out, "degraded")
	})
}

// Unplug cuts the power. The disk stays, and what was linked to the machine is gone; it can be linked and booted again.
func (m *Machine) Unplug(t testing.TB) {
	t.Helper()
	err := m.machine.Unplug()
	m.Host.Host = m.machine.Host
	if err != nil {
		t.Fatal(err)
	}
}

// Journal is what was logged, of some units or of all.
func (m *Machine) Journal(units ...string) string {
	args := []string{"journalctl", "--boot", "--no-pager", "--output=short-monotonic"}
	for _, u := range units {
		args = append(args, "--unit="+u)
	}
	out, _ := m.Try(args...)
	return out
}

// Property is one of those that "systemctl show" knows of a unit.
func (m *Machine) Property(t testing.TB, unit, name string) string {
	t.Helper()
	return strings.TrimSpace(m.Run(t, "systemctl", "show", "--value", "--property="+name, unit))
}
