package hosts

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Host is a small machine. Its /run, with the WireGuard sockets in it, its /etc/wireguard and its
// /etc/resolv.conf are empty and its own; the rest of the file system is the machine's.
type Host struct {
	Name   string
	holder *exec.Cmd
	hold   io.Closer // the host lasts until this is closed
	own    []string  // more flags of nsenter(1)
	env    []string  // that commands have; nil: ours
}

// New makes a host. It works only after Enter. Close it when it is no longer needed.
func New(name string) (*Host, error) {
	if !Inside() {
		return nil, errors.New("hosts: not behind the wall: Enter was not called, or failed")
	}
	stdin, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS}
	holder, err := again(stageHost, attr, stdin, nil, os.Stderr)
	if err != nil {
		_ = hold.Close()
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	h := &Host{Name: name, holder: holder, hold: hold}
	if out, code := h.Try("hostname", name); code != 0 {
		h.Close()
		return nil, fmt.Errorf("host %s: %s", name, out)
	}
	return h, nil
}

// hold is the process that a host's namespaces belong to.
func hold() int {
	err := setHost()
	answer(err)
	if err != nil {
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

func setHost() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	// A new /run is made beside the old one, because the shared folder has to come along.
	fresh, err := os.MkdirTemp(Shared, "run-")
	if err != nil {
		return err
	}
	if err := tmpfs(fresh); err != nil {
		return err
	}
	if err := os.Mkdir(fresh+"/lab", 0o755); err != nil {
		return err
	}
	if err := unix.Mount(Shared, fresh+"/lab", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("%s: %w", Shared, err)
	}
	if err := unix.Mount(fresh, "/run", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("/run: %w", err)
	}
	return furnish()
}

// PID is the process that holds the host's namespaces, for nsenter(1) and /proc.
func (h *Host) PID() int { return h.holder.Process.Pid }

// Command is a command on the host, in the present directory, not started yet.
// Its process is the command itself, so that signals reach it.
func (h *Host) Command(args ...string) *exec.Cmd {
	wd, err := os.Getwd()
	if err != nil {
		wd = "/"
	}
	enter := []string{"--target", strconv.Itoa(h.PID()), "--net", "--mount", "--uts", "--wdns=" + wd}
	cmd := exec.Command("nsenter", slices.Concat(enter, h.own, []string{"--"}, args)...)
	cmd.Env = h.env
	return cmd
}

// Try runs a command on the host and returns what it printed, both streams together, and its exit code;
// -1 when it could not be started. It does not wait for what the command leaves in the background.
func (h *Host) Try(args ...string) (out string, code int) {
	f, err := os.CreateTemp("", "out-")
	if err != nil {
		return err.Error(), -1
	}
	defer f.Close()
	defer os.Remove(f.Name())
	cmd := h.Command(args...)
	cmd.Stdout, cmd.Stderr = f, f // a file and no pipe: a daemon may keep it open
	err = cmd.Run()
	b, _ := os.ReadFile(f.Name())
	if cmd.ProcessState == nil {
		return err.Error(), -1
	}
	return string(b), exitCode(cmd.ProcessState.Sys().(syscall.WaitStatus))
}

// Do runs f with the host's network on a thread of its own. Sockets that f opens stay on the host.
func (h *Host) Do(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			home, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				return err
			}
			defer home.Close()
			there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", h.PID()))
			if err != nil {
				return err
			}
			defer there.Close()
			if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			err = f()
			if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
				return errors.Join(err, back) // the thread stays locked, and ends with this goroutine
			}
			runtime.UnlockOSThread()
			return err
		}()
	}()
	return <-done
}

// Path is where a file of the host is seen from outside it, for os.ReadFile and the like.
func (h *Host) Path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(h.PID()), "root", name)
}

// WriteFile writes a file on the host, at once or not at all, and makes its folder.
func (h *Host) WriteFile(name, content string, mode fs.FileMode) error {
	path := h.Path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".lab-")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// Close ends every process on the host, and with the last one its interfaces and its files.
func (h *Host) Close() {
	for _, pid := range h.processes() {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	_ = h.hold.Close()
	_ = h.holder.Wait()
}

// processes are those in the host's network namespace, its holder and this program excepted.
func (h *Host) processes() []int {
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", h.PID()))
	if err != nil {
		return nil
	}
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == h.PID() || pid == os.Getpid() {
			continue
		}
		if ns, err := os.Readlink("/proc/" + e.Name() + "/ns/net"); err == nil && ns == own {
			pids = append(pids, pid)
		}
	}
	return pids
}

// must runs a command that has to work.
func (h *Host) must(args ...string) error {
	if out, code := h.Try(args...); code != 0 {
		return fmt.Errorf("%s: %s: exit status %d: %s", h.Name, strings.Join(args, " "), code, strings.TrimSpace(out))
	}
	return nil
}
