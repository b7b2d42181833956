package lab

import (
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab/hosts"
)

// Host is a small machine that lasts as long as its test.
type Host struct{ *hosts.Host }

// NewHost makes a host, or skips the test where there can be none.
func NewHost(t testing.TB, name string) *Host {
	t.Helper()
	Need(t)
	h, err := hosts.New(name)
	check(t, err)
	t.Cleanup(h.Close)
	return &Host{h}
}

// Run runs a command on the host, which has to work, and returns what it printed.
func (h *Host) Run(t testing.TB, args ...string) string {
	t.Helper()
	out, code := h.Try(args...)
	if code != 0 {
		t.Fatalf("%s: %s: exit status %d\n%s", h.Name, strings.Join(args, " "), code, tail(out))
	}
	return out
}

// Write writes a file on the host and makes its folder. The file is there as a whole or not at all.
func (h *Host) Write(t testing.TB, name, content string, mode fs.FileMode) {
	t.Helper()
	check(t, h.WriteFile(name, content, mode))
}

// Read returns a file of the host.
func (h *Host) Read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(h.Path(name))
	check(t, err)
	return string(b)
}

// Process is a command that runs on a host until its test ends. What it printed is shown if the test fails.
type Process struct {
	*os.Process
	name string
	log  *os.File
	done chan struct{}
	cmd  *exec.Cmd
}

// Start starts a command on the host. Its environment is the test's, and env ("NAME=value").
func (h *Host) Start(t testing.TB, args ...string) *Process {
	t.Helper()
	return h.StartEnv(t, nil, args...)
}

// StartEnv is Start with more in the environment, each as "NAME=value".
func (h *Host) StartEnv(t testing.TB, env []string, args ...string) *Process {
	t.Helper()
	cmd := h.Command(args...)
	cmd.Env = append(cmd.Environ(), env...)
	return h.StartCommand(t, cmd)
}

// StartCommand starts a command that h.Command made. What it prints, where nobody has set another place for that, is
// in its Log.
func (h *Host) StartCommand(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	log, err := os.CreateTemp("", "log-")
	check(t, err)
	for _, out := range []*io.Writer{&cmd.Stdout, &cmd.Stderr} {
		if *out == nil {
			*out = log
		}
	}
	check(t, cmd.Start())
	p := &Process{Process: cmd.Process, name: h.Name + ": " + strings.Join(cmd.Args, " "), log: log, done: make(chan struct{}), cmd: cmd}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.Kill()
		<-p.done
		if text := p.Log(); t.Failed() && text != "" {
			t.Logf("%s\n%s", p.name, tail(text))
		}
		_ = log.Close()
		_ = os.Remove(log.Name())
	})
	return p
}

// Log is what the process has printed so far.
func (p *Process) Log() string {
	b, _ := os.ReadFile(p.log.Name())
	return string(b)
}

// Exit waits until the process has ended and returns its exit code, -1 for a signal.
func (p *Process) Exit(t testing.TB, within time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		t.Fatalf("%s: still runs after %s", p.name, within)
		return 0
	}
}

// Link puts a wire between two hosts, with an interface at each end. An address is "10.9.0.1/24", or more than one
// with blanks between them, or empty.
func Link(t testing.TB, a *Host, aDev, aAddrs string, b *Host, bDev, bAddrs string) {
	t.Helper()
	check(t, hosts.Connect(
		hosts.End{Host: a.Host, Dev: aDev, Addrs: strings.Fields(aAddrs)},
		hosts.End{Host: b.Host, Dev: bDev, Addrs: strings.Fields(bAddrs)}))
}

// Segment is a switch that lasts as long as its test.
type Segment struct{ sw *hosts.Switch }

// Switch makes a segment that many hosts plug into.
func Switch(t testing.TB) *Segment {
	t.Helper()
	Need(t)
	sw, err := hosts.NewSwitch()
	check(t, err)
	t.Cleanup(sw.Close)
	return &Segment{sw}
}

// Plug connects a host to the segment. Addresses are as for Link.
func (s *Segment) Plug(t testing.TB, h *Host, dev, addrs string) {
	t.Helper()
	check(t, s.sw.Plug(hosts.End{Host: h.Host, Dev: dev, Addrs: strings.Fields(addrs)}))
}

// Loss sends rate packets a second from one host to an address of another, until the returned function is called,
// which says how many were sent and how many of them did not arrive. A sender that the machine held up does not send more
// at once than WireGuard queues.
func Loss(t testing.TB, from, to *Host, addr string, rate int) (stop func() hosts.Lost) {
	t.Helper()
	a, err := netip.ParseAddr(addr)
	check(t, err)
	flow, err := hosts.Probe{From: from.Host, To: to.Host, Addr: a, Rate: rate, Burst: 64}.Start()
	check(t, err)
	stopped := false
	stop = func() hosts.Lost {
		t.Helper()
		stopped = true
		lost, err := flow.Stop()
		check(t, err)
		return lost
	}
	t.Cleanup(func() {
		if !stopped {
			_, _ = flow.Stop()
		}
	})
	return stop
}

// Eventually polls until ok returns true, and fails the test with the words of what when it does not in time.
func Eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}
