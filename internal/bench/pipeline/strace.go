package pipeline

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// changing are system calls that ask the kernel, or a wg-device, to change something.
var changing = regexp.MustCompile(`nlmsg_type=(RTM_(NEW|DEL|SET)|NFNL_SUBSYS_NFTABLES<<8\|NFT_MSG_(NEW|DEL))|"set=1\\n`)

// countChanging counts them in what strace wrote.
func countChanging(trace string) (n int) {
	for line := range strings.Lines(trace) {
		if changing.MatchString(line) {
			n++
		}
	}
	return n
}

// messages counts the messages of a daemon of the machine that change something, while f runs. strace has to be on the
// machine as well: else it does not know what a socket is for.
func (m machine) messages(ctx context.Context, d *daemon, f func() error) (int, error) {
	if _, err := exec.LookPath("strace"); err != nil {
		return 0, err
	}
	out, err := os.CreateTemp("", "strace-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	pid := d.cmd.Process.Pid
	cmd := m.Command("strace", "-f", "-qq", "-s", "64", "-e", "trace=sendto,sendmsg,write,writev", "-o", out.Name(), "-p", strconv.Itoa(pid))
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer cmd.Wait()
	defer cmd.Process.Signal(unix.SIGINT) // it lets go of the daemon
	if err := until(ctx, "strace", func() bool { return traced(pid) }); err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	_ = cmd.Process.Signal(unix.SIGINT)
	_ = cmd.Wait()
	b, err := os.ReadFile(out.Name())
	return countChanging(string(b)), err
}

// traced reports whether every thread of a process is.
func traced(pid int) bool {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err == nil && strings.Contains(string(b), "TracerPid:\t0\n") {
			return false
		}
	}
	return len(tasks) > 0
}
