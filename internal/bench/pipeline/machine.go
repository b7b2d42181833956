package pipeline

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"wg-kube/internal/bench/proc"
	"wg-kube/internal/lab/hosts"
)

const (
	iface     = "wg0"
	inForce   = "/etc/wireguard/wg0.conf"
	proposals = "/run/wg-render"
	proposal  = proposals + "/wg0.conf"
)

// hang bounds a wait for something that comes: nothing is measured by it.
const hang = 5 * time.Minute

// machine is a host with our programs on it.
type machine struct {
	*hosts.Host
	bin string
}

func (m *measuring) boot(name string) (machine, error) {
	h, err := hosts.New(name)
	return machine{h, m.Bin}, err
}

// in runs f with the machine's network and files, on a thread of its own that ends with it. Whatever f starts must be
// started by f itself: a goroutine of its own would be at home.
func (m machine) in(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: nobody else is to get a thread that is somewhere else
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return err
			}
			for _, ns := range []struct {
				name string
				kind int
			}{{"net", unix.CLONE_NEWNET}, {"mnt", unix.CLONE_NEWNS}} {
				fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/%s", m.PID(), ns.name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
				if err != nil {
					return err
				}
				err = unix.Setns(fd, ns.kind)
				_ = unix.Close(fd)
				if err != nil {
					return fmt.Errorf("%s: %s namespace: %w", m.Name, ns.name, err)
				}
			}
			return f()
		}()
	}()
	return <-done
}

// run runs a command that has to work, and says how long it took.
func (m machine) run(args ...string) (time.Duration, error) {
	began := time.Now()
	out, code := m.Try(args...)
	took := time.Since(began)
	if code != 0 {
		return 0, fmt.Errorf("%s: %s: exit status %d: %s", m.Name, strings.Join(args, " "), code, strings.TrimSpace(out))
	}
	return took, nil
}

// daemon is a program that runs until its machine is closed.
type daemon struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start starts one of our programs on the machine. Nothing in the caller's environment is meant for it.
func (m machine) start(program string, args ...string) (*daemon, error) {
	return m.startAs(program, m.Command(append([]string{filepath.Join(m.bin, program)}, args...)...))
}

func (m machine) startAs(program string, cmd *exec.Cmd) (*daemon, error) {
	d := &daemon{name: m.Name + ": " + program, cmd: cmd, log: m.Path("/run/" + program + ".log"), done: make(chan struct{})}
	log, err := os.Create(d.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, []string{"PATH=" + os.Getenv("PATH")}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait()
		close(d.done)
	}()
	return d, nil
}

// said is the end of what the daemon has logged, for an error.
func (d *daemon) said() string {
	b, _ := os.ReadFile(d.log)
	return d.name + " said: " + string(b[max(0, len(b)-2000):])
}

// untilQuiet waits until the daemon has used no CPU for a while: it has dealt with all that came.
func (d *daemon) untilQuiet(ctx context.Context) error {
	const quiet = 300 * time.Millisecond // longer than --settle
	for end := time.Now().Add(hang); ; {
		before, err := proc.CPU(d.cmd.Process.Pid)
		if err != nil {
			return fmt.Errorf("%w; %s", err, d.said())
		}
		if err := pause(ctx, quiet); err != nil {
			return err
		}
		now, err := proc.CPU(d.cmd.Process.Pid)
		if err == nil && now-before < 2*time.Millisecond {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: never at rest", d.name)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

func until(ctx context.Context, what string, ok func() bool) error {
	for end := time.Now().Add(hang); !ok(); {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not within %s", what, hang)
		}
	}
	return nil
}
