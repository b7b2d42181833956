package hosts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is a host that is booted: its PID 1 is the systemd of the machine that it runs on, and its disk is that
// machine's, of which it keeps to itself what it changes. /run, /tmp and /dev are its own. The rest is as for a host;
// commands run in / and with a short environment.
type Machine struct {
	*Host
	disk   string // a folder: what it has changed
	cgroup string
}

const switchOn = "on\n"

// NewMachine makes a machine that is switched off: there is no systemd yet, but its files can be written and its
// programs run. It needs Delegate and Enter to have worked. Close it when it is no longer needed.
func NewMachine(name string) (*Machine, error) {
	if !Inside() {
		return nil, errors.New("hosts: not behind the wall: Enter was not called, or failed")
	}
	disk, err := os.MkdirTemp(Shared, "disk-")
	if err != nil {
		return nil, err
	}
	m := &Machine{Host: &Host{Name: name}, disk: disk}
	for _, dir := range []string{"changed", "work", "root"} {
		if err := os.Mkdir(filepath.Join(disk, dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := m.assemble(); err != nil {
		return nil, errors.Join(fmt.Errorf("machine %s: %w", name, err), os.RemoveAll(disk))
	}
	return m, nil
}

// assemble makes the namespaces, with the disk in them.
func (m *Machine) assemble() (err error) {
	if m.cgroup, err = newCgroup(); err != nil {
		return err
	}
	stdin, hold, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	if _, err := fmt.Fprintf(hold, "%s\n%s\n%s\n", m.Name, m.disk, m.cgroup); err != nil {
		return err
	}
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS |
		unix.CLONE_NEWIPC | unix.CLONE_NEWPID}
	holder, err := again(stageBoot, attr, stdin, nil, os.Stderr)
	if err != nil {
		return errors.Join(err, hold.Close(), bare(m.cgroup))
	}
	m.Host = &Host{
		Name:   m.Name,
		holder: holder,
		hold:   hold,
		own:    []string{"--pid", "--ipc", "--wdns=/"},
		env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
			"LANG=C.UTF-8", "TERM=dumb", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"},
	}
	return nil
}

// SwitchOn starts systemd and returns when that listens to systemctl(1), which is before the units are started.
func (m *Machine) SwitchOn() error {
	if _, err := m.hold.(*os.File).WriteString(switchOn); err != nil {
		return err
	}
	for range 1500 {
		if _, err := os.Stat(m.Path("/run/systemd/private")); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("machine %s: systemd does not start", m.Name)
}

// Unplug ends the machine as a power cut does. It is switched off then, as NewMachine made it, with what is on its
// disk; what was plugged into it is gone.
func (m *Machine) Unplug() error {
	m.end()
	return m.assemble()
}

// Close ends every process on the machine, and nothing is left of it.
func (m *Machine) Close() {
	m.end()
	_ = os.RemoveAll(m.disk)
}

func (m *Machine) end() {
	_ = m.holder.Process.Kill() // the kernel kills the others with it
	_ = m.holder.Wait()
	_ = m.hold.Close()
	_ = bare(m.cgroup)
}
