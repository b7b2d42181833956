// Package trace runs a program and stops it at its system calls: to kill it between any two that change something
// outside, to let one of them fail, or to set its clock. It changes nothing about what a call does when it is let
// through.
//
// strace(1) can inject faults as well. But it counts the calls of each thread on its own, and a goroutine moves from
// one thread to the next: "the third rename" is another one on each run. Here all threads are counted as one.
//
// A process traces from a copy of the test program, so a package that uses this says so first thing:
//
//	func TestMain(m *testing.M) { trace.Main(); lab.Main(m) }
package trace

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wg-kube/internal/lab"
)

// Where a call goes to.
const (
	File    = "file"    // a regular file or a folder, by path or as an open file
	Netlink = "netlink" // a socket to the kernel
	Unix    = "unix"    // a socket to another process, such as a wg-device
	Other   = "other"
)

// Fault is a call that fails, without having been made.
type Fault struct {
	Calls []string // by name, such as "fsync"; none: each that changes something
	To    string   // File, Netlink, Unix or Other; "": wherever
	Errno unix.Errno
	Lost  bool // instead: the program is told that all was written, and nothing comes of it
	Skip  int  // so many of them are let through first
	Count int  // so many of them fail; zero: all, until there is another order
}

// Order is what is done to the program from now on. The next order takes its place.
type Order struct {
	Kill   int           // SIGKILL before this step is done, counted from 1 and from the order on; zero: never
	Faults []Fault       // the first that fits a call counts
	Torn   int           // so many of the dumps read from the kernel are marked as interrupted
	Modes  bool          // each mode that a file or a folder is given is said: "mode 0640 fchmod /run/x"
	Clock  time.Duration // the clock of the wall is off by so much; never, if it is zero in the first order
}

// Program is a program that is traced. It ends with its test.
type Program struct {
	*lab.Process
	orders *os.File

	mu    sync.Mutex
	lines []string
	read  chan struct{} // closed when there are no more lines
}

// stage is the environment variable that makes a copy of the test program a tracer.
const stage = "WGKUBE_TRACE"

// Main makes this process a tracer where it was started as one, and then does not return.
func Main() {
	if os.Getenv(stage) == "" {
		return
	}
	code, err := follow(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "trace:", err)
	}
	os.Exit(code)
}

// Start starts a program on the host under a first order. Where that is setpriv(1), it is the program that setpriv
// becomes. The test is skipped where the processor's system calls are not known.
func Start(t testing.TB, h *lab.Host, first Order, args ...string) *Program {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		lab.Skip(t, "system calls are traced on amd64 only")
	}
	exe, err := os.Executable()
	must(t, err)
	in, orders, err := os.Pipe()
	must(t, err)
	out, report, err := os.Pipe()
	must(t, err)
	p := &Program{orders: orders, read: make(chan struct{})}
	p.Order(t, first)
	cmd := h.Command(append([]string{exe}, args...)...)
	cmd.Env, cmd.Stdin, cmd.Stdout = append(os.Environ(), stage+"=1"), in, report
	p.Process = h.StartCommand(t, cmd)
	_ = in.Close()
	_ = report.Close()
	go p.listen(out)
	t.Cleanup(func() { _ = orders.Close() })
	return p
}

// Order gives a new order. It holds from the next call on that the tracer sees.
func (p *Program) Order(t testing.TB, o Order) {
	t.Helper()
	b, err := json.Marshal(o)
	must(t, err)
	_, err = p.orders.Write(append(b, '\n'))
	must(t, err)
}

func (p *Program) listen(from io.ReadCloser) {
	defer from.Close()
	defer close(p.read)
	for s := bufio.NewScanner(from); s.Scan(); {
		p.mu.Lock()
		p.lines = append(p.lines, s.Text())
		p.mu.Unlock()
	}
}

// Said is what the tracer has done so far, one line each: "failed fsync file input/output error", "killed at step 7:
// renameat file". A line in the end counts the steps: "23 steps".
func (p *Program) Said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// Failed is how many calls failed so far, or were torn.
func (p *Program) Failed() (n int) {
	for _, line := range p.Said() {
		if strings.HasPrefix(line, "failed") || line == "torn" {
			n++
		}
	}
	return n
}

// Steps waits for the end of the program and returns how many steps it took, and whether it was killed at one.
func (p *Program) Steps(t testing.TB, within time.Duration) (n int, killed bool) {
	t.Helper()
	p.Exit(t, within)
	<-p.read
	for _, line := range p.Said() {
		killed = killed || strings.HasPrefix(line, "killed")
		_, _ = fmt.Sscanf(line, "%d steps", &n)
	}
	return n, killed
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
