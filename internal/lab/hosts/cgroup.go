package hosts

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupEnv is the environment variable with the cgroup in which the machines of this program have theirs.
const cgroupEnv = "WGKUBE_LAB_CGROUP"

// Delegate makes room for the cgroups of machines. Of all that a machine has, a cgroup alone does not go with the
// last process in it: so a copy of the program is left waiting for the end of this one, however that comes, and
// removes what is left. Call it before Enter.
func Delegate() error {
	if os.Getenv(stage) != "" {
		return nil
	}
	root, err := cgroup2()
	if err != nil {
		return err
	}
	path, err := os.MkdirTemp(root, "wg-kube-")
	if err != nil {
		return err
	}
	if err := startUndertaker(path); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return os.Setenv(cgroupEnv, path)
}

// cgroup2 is where the unified hierarchy is mounted. It is not mounted here: that would reset its flags for everybody.
func cgroup2() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[2] == "cgroup2" {
			return f[1], nil
		}
	}
	return "", errors.New("no cgroup2 file system is mounted")
}

func startUndertaker(path string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	// The writing end is left open, and ends with this process.
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	stdin := os.NewFile(uintptr(pipe[0]), "end")
	defer stdin.Close()
	cmd := &exec.Cmd{Path: exe, Args: os.Args, Stdin: stdin, Env: append(os.Environ(), stage+"="+stageBury, cgroupEnv+"="+path),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}} // no signal to our group is for it
	return cmd.Start()
}

// bury waits for the end of the program, and then for that of its processes.
func bury() int {
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := bare(os.Getenv(cgroupEnv)); err != nil {
		return 1
	}
	return 0
}

// newCgroup makes one for a machine.
func newCgroup() (string, error) {
	room := os.Getenv(cgroupEnv)
	if room == "" {
		return "", errors.New("there is no cgroup for it: Delegate was not called, or failed")
	}
	return os.MkdirTemp(room, "machine-")
}

// bare removes a cgroup and those below it, when the processes in them have ended.
func bare(path string) (err error) {
	for range 500 {
		err = prune(path)
		if _, gone := os.Stat(path); errors.Is(gone, os.ErrNotExist) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

func prune(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := prune(filepath.Join(path, e.Name())); err != nil {
				return err
			}
		}
	}
	return unix.Rmdir(path)
}
