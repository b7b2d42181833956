// Package hosts makes small machines out of Linux namespaces: each has a network, a /run, an /etc/wireguard and
// a host name of its own, and they are wired with veth pairs and switches. The tests and the demo live in them.
//
// It refuses to touch the machine it runs on. A program first calls Enter, which puts it behind a wall of
// namespaces; every host is made behind that wall, and what is behind it is gone when the program ends, however it
// ends: processes, interfaces, mounts and files. No packet crosses the wall.
//
// The package needs iproute2 and util-linux, and either root or user namespaces.
package hosts

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// stage is the environment variable that tells a copy of the program which part it plays.
const (
	stage       = "WGKUBE_LAB"
	stageFirst  = "first"  // PID 1 behind the wall
	stageInside = "inside" // the program itself, behind the wall
	stageHost   = "host"   // holds the namespaces of one host
	stageBoot   = "boot"   // becomes the systemd of one machine
	stageBury   = "bury"   // outlives the program, and removes the cgroups of its machines
)

// Shared is a folder in memory that is the same in every host and that goes with the wall.
// TMPDIR points into it behind the wall.
const Shared = "/run/lab"

// Inside reports whether the program is behind the wall.
func Inside() bool { return os.Getenv(stage) == stageInside }

// Enter runs the program once more, with the same arguments, behind a wall of namespaces, and exits as that run
// does. There it returns nil. It returns an error, and has changed nothing, where namespaces cannot be made.
// Call it first thing in main.
func Enter() error {
	switch os.Getenv(stage) {
	case stageInside:
		return nil
	case stageFirst:
		os.Exit(first())
	case stageHost:
		os.Exit(hold())
	case stageBoot:
		os.Exit(boot())
	case stageBury:
		os.Exit(bury())
	}
	code, err := enter(os.Geteuid() != 0)
	if err != nil && os.Geteuid() == 0 { // root of a container may lack CAP_SYS_ADMIN and still be let into its own
		code, err = enter(true)
	}
	if err != nil {
		return fmt.Errorf("namespaces: %w", err)
	}
	os.Exit(code)
	return nil
}

func enter(userNamespace bool) (code int, err error) {
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if userNamespace {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = identity(os.Geteuid())
		attr.GidMappings = identity(os.Getegid())
	}
	// The death signal comes when the thread that made the child ends, so that thread has to stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd, err := again(stageFirst, attr, os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		return 0, err
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	return exitCode(cmd.ProcessState.Sys().(syscall.WaitStatus)), nil
}

// again starts another copy of this program as the given stage and returns when it says that it is set up.
func again(as string, attr *syscall.SysProcAttr, stdin, stdout, stderr *os.File) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	said, say, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer said.Close()
	cmd := &exec.Cmd{Path: exe, Args: os.Args, Env: append(os.Environ(), stage+"="+as), SysProcAttr: attr,
		ExtraFiles: []*os.File{say}}
	if stdin != nil { // a nil *os.File in an interface is not nil
		cmd.Stdin = stdin
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err = cmd.Start()
	_ = say.Close()
	if err != nil {
		return nil, err
	}
	word, _ := io.ReadAll(said)
	if string(word) == ready {
		return cmd, nil
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if len(word) == 0 {
		return nil, errors.New("the copy of this program ended before it was set up")
	}
	return nil, errors.New(string(word))
}

// What a stage says on file descriptor 3: this, or an error.
const ready = "ready"

func answer(err error) {
	f := os.NewFile(3, "answer")
	defer f.Close()
	if err != nil {
		fmt.Fprint(f, err)
		return
	}
	fmt.Fprint(f, ready)
}

// first is PID 1 behind the wall: it sets the scene, runs the program and buries every orphan.
func first() int {
	// ip and wg are not in the PATH of an ordinary user everywhere.
	_ = os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
	err := setScene()
	answer(err)
	if err != nil {
		return 1
	}
	exe, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_ = os.Setenv(stage, stageInside)
	_ = os.Setenv("TMPDIR", Shared+"/tmp")
	program, err := os.StartProcess(exe, os.Args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		if err == nil && pid == program.Pid && !ws.Stopped() {
			return exitCode(ws)
		}
	}
}

func identity(id int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
}

// exitCode is the shell's: a signal counts as 128 and its number.
func exitCode(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
