package hosts

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// boot is PID 1 of a machine. When it is switched on it gives way to systemd.
func boot() int {
	runtime.LockOSThread() // the cgroup namespace is this thread's alone, until it becomes another program
	in := bufio.NewReader(os.Stdin)
	var at [3]string
	for i := range at {
		line, _ := in.ReadString('\n')
		at[i] = strings.TrimSuffix(line, "\n")
	}
	err := setMachine(at[0], at[1], at[2])
	answer(err)
	if err != nil {
		return 1
	}
	if word, _ := in.ReadString('\n'); word != switchOn {
		return 0
	}
	if err := systemd(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return 1
}

// systemd replaces this process. The real clock and the kernel's modules are not the machine's.
func systemd() error {
	null, err := unix.Open("/dev/null", unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	for fd := range 3 {
		if err := unix.Dup3(null, fd, 0); err != nil {
			return err
		}
	}
	const without = "-sys_module,-sys_time,-sys_rawio"
	return syscall.Exec("/usr/bin/setpriv",
		[]string{"setpriv", "--bounding-set", without, "--inh-caps", without,
			"/lib/systemd/systemd", "--log-target=journal", "--show-status=no"},
		[]string{"container=lab", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})
}

// setMachine enters the machine's cgroup and its root.
func setMachine(name, disk, cgroup string) error {
	if err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte("0"), 0o644); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cgroup namespace: %w", err)
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return err
	}
	unix.Umask(0)
	changed, root := filepath.Join(disk, "changed"), filepath.Join(disk, "root")
	first, err := os.ReadDir(changed)
	if err != nil {
		return err
	}
	layers := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", changed, filepath.Join(disk, "work"))
	if err := unix.Mount("overlay", root, "overlay", 0, layers); err != nil {
		return fmt.Errorf("overlay over /: %w", err)
	}
	if len(first) == 0 {
		if err := forgetOwner(root, name); err != nil {
			return err
		}
	}
	if err := mountAll(root); err != nil {
		return err
	}
	if err := makeDevices(root + "/dev"); err != nil {
		return err
	}
	old := "/run/old"
	if err := os.Mkdir(root+old, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(root, root+old); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount(old, unix.MNT_DETACH); err != nil {
		return err
	}
	if err := os.Remove(old); err != nil {
		return err
	}
	// What a systemd outside a container does by itself: without it a unit does not see its credentials.
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// units that want what a machine in namespaces does not have, or that would change what is not its own.
var masked = []string{
	"systemd-logind.service", "systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service",
	"systemd-udevd.service", "systemd-hwdb-update.service", "systemd-sysctl.service", "systemd-modules-load.service",
	"systemd-binfmt.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "ldconfig.service",
	"getty.target", "console-getty.service", "proc-sys-fs-binfmt_misc.automount",
}

// forgetOwner takes from a fresh disk what the owner of the real one has set up: which units are enabled, above all.
func forgetOwner(root, name string) error {
	for _, pattern := range []string{"/etc/systemd/system/*", "/etc/rc?.d/*", "/etc/fstab", "/etc/resolv.conf",
		"/usr/sbin/policy-rc.d", "/var/log/journal", "/etc/wireguard", "/etc/wg-kube", "/var/lib/wg-render"} {
		found, err := filepath.Glob(root + pattern)
		if err != nil {
			return err
		}
		for _, path := range found {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	for _, dir := range []string{"/etc/systemd/system", "/proc", "/sys", "/dev", "/run", "/tmp"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			return err
		}
	}
	// Without a machine ID systemd takes this for the first boot ever, and enables whatever it knows.
	id, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	if err != nil {
		return err
	}
	for file, content := range map[string]string{
		"/etc/machine-id": strings.ReplaceAll(string(id), "-", ""),
		"/etc/hostname":   name + "\n",
	} {
		if err := os.WriteFile(root+file, []byte(content), 0o644); err != nil {
			return err
		}
	}
	units := root + "/etc/systemd/system/"
	for _, unit := range masked {
		if err := os.Symlink("/dev/null", units+unit); err != nil {
			return err
		}
	}
	return os.Symlink("/lib/systemd/system/multi-user.target", units+"default.target")
}

// mountAll mounts what is no disk.
func mountAll(root string) error {
	const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}{
		{"proc", "/proc", "proc", plain, ""},
		{"sysfs", "/sys", "sysfs", plain | unix.MS_RDONLY, ""},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", plain, ""},
		{"tmpfs", "/dev", "tmpfs", unix.MS_NOSUID, "mode=755"},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		// Of the settings of the kernel those of the network namespace are the machine's. PID 1 would raise others.
		{root + "/proc/sys", "/proc/sys", "", unix.MS_BIND, ""},
		{root + "/proc/sys/net", "/proc/sys/net", "", unix.MS_BIND, ""},
		{"", "/proc/sys", "", unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY, ""},
	} {
		if err := unix.Mount(m.source, root+m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount on %s: %w", m.target, err)
		}
	}
	sysrq := root + "/proc/sysrq-trigger"
	if _, err := os.Stat(sysrq); err != nil {
		return nil
	}
	return unix.Mount("/dev/null", sysrq, "", unix.MS_BIND, "")
}

func makeDevices(dev string) error {
	for _, dir := range []string{"/pts", "/shm", "/net", "/mqueue"} {
		if err := os.Mkdir(dev+dir, 0o755); err != nil {
			return err
		}
	}
	for name, number := range map[string][2]uint32{"null": {1, 3}, "zero": {1, 5}, "full": {1, 7}, "random": {1, 8},
		"urandom": {1, 9}, "tty": {5, 0}, "net/tun": {10, 200}} {
		if err := unix.Mknod(dev+"/"+name, unix.S_IFCHR|0o666, int(unix.Mkdev(number[0], number[1]))); err != nil {
			return fmt.Errorf("/dev/%s: %w", name, err)
		}
	}
	for name, target := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0",
		"stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(target, dev+"/"+name); err != nil {
			return err
		}
	}
	if err := unix.Mount("devpts", dev+"/pts", "devpts", 0, "newinstance,ptmxmode=666,mode=620,gid=5"); err != nil {
		return fmt.Errorf("/dev/pts: %w", err)
	}
	return unix.Mount("tmpfs", dev+"/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777")
}
