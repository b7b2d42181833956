// Package command runs the programs that wg-quick would run beside ip(8) and wg(8): bash for the hooks of a file, and
// resolvconf(8) for its DNS.
//
// Whether they may run is not decided here. What is started gets nothing of ours: no descriptor but a pipe into our
// log, and none of the variables by which a service manager knows us. It has a time limit, which wg-quick has not:
// whoever runs it holds up everything else that would happen to its interface. What it leaves in the background stays,
// until it writes to the pipe when we are gone.
package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"wg-kube/templates/wgquick"
)

// Runner runs programs for one interface. Iface and Log are needed.
type Runner struct {
	Iface string
	File  string        // the wg-quick file, for hooks and errors
	Limit time.Duration // of one program; zero: a minute
	Log   *slog.Logger  // what is run, and each line that it prints
}

const (
	defaultLimit = time.Minute
	lastWords    = 200 * time.Millisecond // for output that is under way when a program ends
)

// run runs a program to its end. In the log, what it says comes under its kind.
func (r Runner) run(ctx context.Context, kind, op string, cmd *exec.Cmd) error {
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = in, in
	cmd.Env = environ(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that it can be ended with all that it started
	err = cmd.Start()
	_ = in.Close()
	if err != nil {
		_ = out.Close()
		return err
	}
	r.Log.Info("run", "op", kind+" "+op)
	said := make(chan string, 1) // the last line
	go func() {
		defer out.Close()
		said <- r.relay(kind, out)
	}()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	limit := r.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = end(cmd, ended, context.Cause(ctx))
	case <-timer.C:
		err = end(cmd, ended, fmt.Errorf("ended after %s, which is as long as it may take", limit))
	}
	select {
	case last := <-said:
		if err != nil && last != "" {
			err = fmt.Errorf("%w: %s", err, last)
		}
	case <-time.After(lastWords): // something in the background keeps the pipe
	}
	return err
}

// end ends a program with all that it started, and returns why.
func end(cmd *exec.Cmd, ended <-chan error, why error) error {
	err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-ended
	if errors.Is(err, syscall.ESRCH) {
		err = nil
	}
	return errors.Join(why, err)
}

// relay logs what a program prints, line by line, for as long as anybody holds the other end, and returns the last.
func (r Runner) relay(kind string, out io.Reader) (last string) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if line := wgquick.HideKeys(strings.TrimSpace(lines.Text())); line != "" {
			r.Log.Info("said", "op", kind, "line", line)
			last = line
		}
	}
	_, _ = io.Copy(io.Discard, out) // a line without end is no reason to stop the program
	return last
}

// managers are the variables by which a service manager knows its service.
var managers = []string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
	"INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MAINPID", "CREDENTIALS_DIRECTORY"}

// environ is our environment as wg-quick would hand it on: with the C locale, and without what is for us alone.
func environ(ours []string) []string {
	env := slices.DeleteFunc(slices.Clone(ours), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "LC_ALL" || slices.Contains(managers, name)
	})
	return append(env, "LC_ALL=C")
}

// find is the path of a program, or an error that says where it comes from.
func find(name, from string) (string, error) {
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%s is not installed (%s)", name, from)
	}
	return path, err
}
