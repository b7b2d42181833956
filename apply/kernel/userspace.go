package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Userspace says who serves an interface where the kernel has no WireGuard.
type Userspace string

const (
	Start Userspace = "start" // a wg-device that is started here, and that outlives this process
	Ask   Userspace = "ask"   // a wg-device that somebody else starts when the file IFACE.device is in RunDir, which is needed
	Off   Userspace = "off"   // nobody: it is an error
)

// userspace makes the link a wg-device's. One whose link somebody has deleted a moment ago has to be gone: it would
// answer in the place of the new one.
func (s *System) userspace(ctx context.Context, iface string) error {
	err := s.deserted(ctx, iface)
	switch {
	case err != nil:
	case s.cfg.Userspace == Ask:
		err = s.askForDevice(ctx, iface)
	case s.cfg.Userspace == Off:
		err = errors.New("a userspace device is not wanted here")
	default:
		err = s.startDevice(ctx, iface)
	}
	if err != nil {
		return fmt.Errorf("this kernel has no WireGuard: %w", err)
	}
	return nil
}

// askForDevice leaves a file, and waits until link and socket are there. The file goes with the answer: a device
// whose link is deleted later is not to come back unasked.
func (s *System) askForDevice(ctx context.Context, iface string) error {
	request := s.request(iface)
	f, err := os.OpenFile(request, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(request)
	if err := f.Close(); err != nil {
		return err
	}
	if err := s.waitForDevice(ctx, iface, nil); err != nil {
		return fmt.Errorf("nobody answers to %s, see: systemctl status wg-device@%s.path wg-device@%s: %w", request, iface, iface, err)
	}
	return nil
}

func (s *System) request(iface string) string { return filepath.Join(s.cfg.RunDir, iface+".device") }

// startDevice starts a wg-device and waits until link and socket are there. The process is in a session of its own
// and shares nothing with this one: neither our end nor a signal to our group reaches it.
func (s *System) startDevice(ctx context.Context, iface string) error {
	path, err := s.devicePath()
	if err != nil {
		return err
	}
	out, err := s.deviceLog(iface)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(path, iface)
	cmd.Dir = "/"
	// Not our NOTIFY_SOCKET: its READY would be taken for ours.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	if err := s.waitForDevice(ctx, iface, ended); err != nil {
		_ = cmd.Process.Kill() // it is ours, and of no use
		return fmt.Errorf("%s: %w%s", path, err, lastLine(out.Name()))
	}
	return nil
}

// waitForDevice waits until link and socket of a wg-device are there. ended, if it is not nil, says that it has ended.
func (s *System) waitForDevice(ctx context.Context, iface string, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if answers(iface) {
			if l, err := s.findLink(iface); err == nil && l != nil {
				s.cfg.Log.Info("wg-device started", "iface", iface, "reason", "this kernel has no WireGuard")
				return nil
			}
		}
		select {
		case err := <-ended:
			if err == nil {
				err = errors.New("ended at once")
			}
			return err
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// deserted waits until nobody answers for a link that is gone: a wg-device ends by itself then. Where there is a link
// again it is somebody else's.
func (s *System) deserted(ctx context.Context, iface string) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	for answers(iface) {
		if l, err := s.findLink(iface); err == nil && l != nil {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the link is gone, but its wg-device still holds %s", socketOf(iface))
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

func (s *System) devicePath() (string, error) {
	if s.cfg.Device != "" {
		return s.cfg.Device, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "wg-device")
		if fi, err := os.Stat(beside); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return beside, nil
		}
	}
	return exec.LookPath("wg-device")
}

func (s *System) deviceLog(iface string) (*os.File, error) {
	if s.cfg.RunDir == "" {
		fd, err := unix.FcntlInt(os.Stderr.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		return os.NewFile(uintptr(fd), os.Stderr.Name()), err
	}
	return os.OpenFile(filepath.Join(s.cfg.RunDir, iface+".device.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW, 0o640)
}

// lastLine is what a device that ended has said last, as the tail of an error.
func lastLine(log string) string {
	fi, err := os.Stat(log)
	if err != nil || !fi.Mode().IsRegular() {
		return ""
	}
	b, err := os.ReadFile(log)
	b = bytes.TrimSpace(b)
	if err != nil || len(b) == 0 {
		return ""
	}
	return ": " + string(b[bytes.LastIndexByte(b, '\n')+1:])
}
