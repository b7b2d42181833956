package trace

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tracer follows the threads of one program. Its children are left alone.
type tracer struct {
	pid     int
	orders  atomic.Pointer[Order]
	order   *Order // the one that holds
	since   int    // steps since it holds
	steps   int
	hits    []int // how often each fault of the order was looked for
	torn    int
	inside  map[int]*call // threads in a call
	domains map[int]int   // of open sockets, by file descriptor
}

// Where registers are in the user area of a process, which begins with them in the order of unix.PtraceRegs.
const (
	offsetRax     = 10 * 8
	offsetOrigRax = 15 * 8
	endOfRsp      = 20 * 8
)

// registers reads those that a system call is made with. A User-mode Linux gives them out one by one only.
func registers(tid int, r *unix.PtraceRegs) error {
	err := unix.PtraceGetRegs(tid, r)
	if !errors.Is(err, unix.EIO) {
		return err
	}
	b := make([]byte, binary.Size(r))
	if _, err := unix.PtracePeekUser(tid, 0, b[:endOfRsp]); err != nil {
		return err
	}
	_, err = binary.Decode(b, binary.NativeEndian, r)
	return err
}

// poke sets one of them.
func poke(tid int, offset uintptr, to uint64) error {
	_, err := unix.PtracePokeUser(tid, offset, binary.NativeEndian.AppendUint64(nil, to))
	return err
}

// noCall is the number of no system call.
const noCall = ^uint64(0)

// call is a system call under way.
type call struct {
	number uint64
	fail   unix.Errno
	lost   bool
}

// follow runs a program under the orders that come in on stdin, and returns its exit code.
func follow(args []string) (int, error) {
	runtime.LockOSThread() // one thread traces
	t := &tracer{inside: map[int]*call{}, domains: map[int]int{}}
	in := bufio.NewScanner(os.Stdin)
	if !in.Scan() {
		return 1, fmt.Errorf("no order: %w", in.Err())
	}
	if err := t.take(in.Bytes()); err != nil {
		return 1, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 1, err
	}
	p, err := os.StartProcess(args[0], args, &os.ProcAttr{
		Env:   slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, stage+"=") }),
		Files: []*os.File{null, os.Stderr, os.Stderr},
		Sys:   &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		return 1, err
	}
	t.pid = p.Pid
	var ws unix.WaitStatus
	if _, err := unix.Wait4(t.pid, &ws, unix.WALL, nil); err != nil {
		return 1, err
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(t.pid, options|unix.PTRACE_O_TRACEEXEC); err != nil {
		return 1, fmt.Errorf("options: %w", err)
	}
	if filepath.Base(args[0]) == "setpriv" {
		if err := t.become(); err != nil {
			return 1, fmt.Errorf("setpriv: %w", err)
		}
	}
	if err := unix.PtraceSetOptions(t.pid, options); err != nil {
		return 1, fmt.Errorf("options: %w", err)
	}
	if t.orders.Load().Clock != 0 {
		if err := t.hideVDSO(); err != nil {
			return 1, fmt.Errorf("vdso: %w", err)
		}
	}
	go func() {
		for in.Scan() {
			if err := t.take(in.Bytes()); err != nil {
				fmt.Fprintln(os.Stderr, "trace:", err)
			}
		}
	}()
	return t.loop()
}

// become lets what was started go on until it has become another program.
func (t *tracer) become() error {
	t.inside[t.pid] = &call{number: unix.SYS_EXECVE} // which the new program leaves
	for signal := 0; ; {
		if err := unix.PtraceCont(t.pid, signal); err != nil {
			return err
		}
		var ws unix.WaitStatus
		if _, err := unix.Wait4(t.pid, &ws, unix.WALL, nil); err != nil {
			return err
		}
		switch {
		case !ws.Stopped():
			return fmt.Errorf("exit status %d", ws.ExitStatus())
		case ws.TrapCause() == unix.PTRACE_EVENT_EXEC:
			return nil
		}
		signal = int(ws.StopSignal())
	}
}

func (t *tracer) take(line []byte) error {
	o := &Order{}
	if err := json.Unmarshal(line, o); err != nil {
		return err
	}
	t.orders.Store(o)
	return nil
}

// loop lets every thread run to its next system call, until the program has ended.
func (t *tracer) loop() (int, error) {
	known := map[int]bool{t.pid: true}
	tid, signal := t.pid, 0
	for {
		if tid != 0 {
			// A thread that is gone meanwhile is waited for like the others.
			if err := unix.PtraceSyscall(tid, signal); err != nil && err != unix.ESRCH {
				return 1, fmt.Errorf("go on: %w", err)
			}
		}
		var ws unix.WaitStatus
		var err error
		if tid, err = unix.Wait4(-1, &ws, unix.WALL, nil); err != nil {
			if err == unix.EINTR {
				tid = 0
				continue
			}
			return 1, fmt.Errorf("wait: %w", err)
		}
		signal = 0
		switch {
		case ws.Exited() || ws.Signaled():
			delete(t.inside, tid)
			if tid != t.pid {
				tid = 0
				continue
			}
			fmt.Printf("%d steps\n", t.steps)
			if ws.Signaled() {
				return 128 + int(ws.Signal()), nil
			}
			return ws.ExitStatus(), nil
		case !ws.Stopped():
		case ws.StopSignal() == unix.SIGTRAP|0x80:
			if err := t.stop(tid); err != nil && !errors.Is(err, unix.ESRCH) {
				return 1, fmt.Errorf("at a call: %w", err)
			}
		case ws.StopSignal() == unix.SIGTRAP: // a thread was made
		case !known[tid] && ws.StopSignal() == unix.SIGSTOP: // this is it
		default:
			signal = int(ws.StopSignal())
		}
		known[tid] = true
	}
}

// stop is a thread that enters or leaves a call.
func (t *tracer) stop(tid int) error {
	var r unix.PtraceRegs
	if err := registers(tid, &r); err != nil {
		return fmt.Errorf("registers: %w", err)
	}
	if c := t.inside[tid]; c != nil {
		delete(t.inside, tid)
		return t.leave(tid, c, &r)
	}
	c := &call{number: r.Orig_rax}
	t.inside[tid] = c
	if o := t.orders.Load(); o != t.order {
		t.order, t.since, t.hits, t.torn = o, 0, make([]int, len(o.Faults)), o.Torn
	}
	s, ok := stepOf(&r)
	if !ok && !touches[r.Orig_rax] {
		return nil
	}
	to, skip := t.target(tid, s, &r)
	if skip {
		return nil
	}
	name := names[r.Orig_rax]
	if t.order.Modes {
		if mode, at, ok := modeOf(tid, &r); ok {
			fmt.Printf("mode %04o %s %s\n", mode, name, at)
		}
	}
	if ok {
		t.steps++
		t.since++
		if t.since == t.order.Kill {
			fmt.Printf("killed at step %d: %s %s\n", t.since, name, to)
			c.fail = unix.EINTR // the call is not made, whatever the kernel does first
			return errors.Join(poke(tid, offsetOrigRax, noCall), unix.Kill(t.pid, unix.SIGKILL))
		}
	}
	for i, f := range t.order.Faults {
		if len(f.Calls) > 0 && !slices.Contains(f.Calls, name) || len(f.Calls) == 0 && !ok || f.To != "" && f.To != to {
			continue
		}
		t.hits[i]++
		if t.hits[i] <= f.Skip || f.Count > 0 && t.hits[i] > f.Skip+f.Count {
			break
		}
		if c.fail, c.lost = f.Errno, f.Lost; c.lost {
			fmt.Printf("failed %s %s: lost\n", name, to)
		} else {
			fmt.Printf("failed %s %s: %v\n", name, to, f.Errno)
		}
		return poke(tid, offsetOrigRax, noCall)
	}
	return nil
}

// leave is a thread that leaves a call.
func (t *tracer) leave(tid int, c *call, r *unix.PtraceRegs) error {
	switch {
	case c.lost:
		return poke(tid, offsetRax, r.Rdx) // the length, of all that write or send from one buffer
	case c.fail != 0:
		return poke(tid, offsetRax, uint64(-int64(c.fail)))
	case c.number == unix.SYS_SOCKET && int64(r.Rax) >= 0:
		t.domains[int(r.Rax)] = int(r.Rdi)
	case c.number == unix.SYS_CLOCK_GETTIME && r.Rdi == unix.CLOCK_REALTIME && r.Rax == 0 && t.order.Clock != 0:
		return t.shift(tid, uintptr(r.Rsi))
	case c.number == unix.SYS_RECVFROM && t.torn > 0 && int64(r.Rax) >= unix.SizeofNlMsghdr:
		if to, _ := t.target(tid, step{fd: int(r.Rdi)}, r); to == Netlink {
			return t.tear(tid, uintptr(r.Rsi))
		}
	}
	return nil
}

// shift moves the time that was just read.
func (t *tracer) shift(tid int, at uintptr) error {
	var b [8]byte
	if _, err := unix.PtracePeekData(tid, at, b[:]); err != nil {
		return err
	}
	binary.NativeEndian.PutUint64(b[:], binary.NativeEndian.Uint64(b[:])+uint64(t.order.Clock/time.Second))
	_, err := unix.PtracePokeData(tid, at, b[:])
	return err
}

// tear marks what was just read as a dump that something changed under.
func (t *tracer) tear(tid int, at uintptr) error {
	var b [8]byte // length, type, flags
	if _, err := unix.PtracePeekData(tid, at, b[:]); err != nil {
		return err
	}
	flags := binary.NativeEndian.Uint16(b[6:])
	if flags&unix.NLM_F_MULTI == 0 {
		return nil
	}
	binary.NativeEndian.PutUint16(b[6:], flags|unix.NLM_F_DUMP_INTR)
	_, err := unix.PtracePokeData(tid, at, b[:])
	if t.torn--; err == nil {
		fmt.Println("torn")
	}
	return err
}

// step is a call that changes something, and what it changes: an open file, or one by path.
type step struct{ fd int }

const byPath = -1

// stepOf reports whether a call changes something outside the program.
func stepOf(r *unix.PtraceRegs) (step, bool) {
	switch r.Orig_rax {
	case unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_WRITEV, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_FTRUNCATE,
		unix.SYS_FCHMOD, unix.SYS_FCHOWN, unix.SYS_SENDTO, unix.SYS_SENDMSG:
		return step{int(r.Rdi)}, true
	case unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_UNLINKAT, unix.SYS_MKDIRAT, unix.SYS_FCHMODAT,
		unix.SYS_FCHOWNAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT:
		return step{byPath}, true
	case unix.SYS_OPENAT:
		return step{byPath}, r.Rdx&unix.O_CREAT != 0
	}
	return step{int(r.Rdi)}, false
}

// modeOf is the mode that a call gives to something, and the path of that.
func modeOf(tid int, r *unix.PtraceRegs) (mode uint64, path string, ok bool) {
	switch r.Orig_rax {
	case unix.SYS_FCHMOD:
		path, _ = os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, int(r.Rdi)))
		return r.Rsi, path, true
	case unix.SYS_MKDIRAT:
		return r.Rdx, text(tid, uintptr(r.Rsi)), true
	case unix.SYS_FCHMODAT:
		return r.Rdx, text(tid, uintptr(r.Rsi)), true
	case unix.SYS_OPENAT:
		return r.R10, text(tid, uintptr(r.Rsi)), r.Rdx&unix.O_CREAT != 0
	}
	return 0, "", false
}

// text is a string of the program's.
func text(tid int, at uintptr) string {
	b := make([]byte, unix.PathMax)
	n, _ := unix.PtracePeekData(tid, at, b) // it may end before that much
	return unix.ByteSliceToString(b[:n])
}

// touches are calls that change nothing, and can be made to fail.
var touches = map[uint64]bool{
	unix.SYS_READ: true, unix.SYS_RECVFROM: true, unix.SYS_RECVMSG: true, unix.SYS_CONNECT: true, unix.SYS_SOCKET: true,
	unix.SYS_OPENAT: true, unix.SYS_GETDENTS64: true, unix.SYS_NEWFSTATAT: true, unix.SYS_FSTAT: true,
	unix.SYS_FLOCK: true, unix.SYS_INOTIFY_ADD_WATCH: true,
}

var names = map[uint64]string{
	unix.SYS_WRITE: "write", unix.SYS_PWRITE64: "pwrite", unix.SYS_WRITEV: "writev", unix.SYS_FSYNC: "fsync",
	unix.SYS_FDATASYNC: "fdatasync", unix.SYS_FTRUNCATE: "ftruncate", unix.SYS_FCHMOD: "fchmod", unix.SYS_FCHOWN: "fchown",
	unix.SYS_SENDTO: "sendto", unix.SYS_SENDMSG: "sendmsg", unix.SYS_RENAME: "rename", unix.SYS_RENAMEAT: "rename",
	unix.SYS_RENAMEAT2: "rename", unix.SYS_UNLINKAT: "unlink", unix.SYS_MKDIRAT: "mkdir", unix.SYS_FCHMODAT: "chmod",
	unix.SYS_FCHOWNAT: "chown", unix.SYS_LINKAT: "link", unix.SYS_SYMLINKAT: "symlink", unix.SYS_OPENAT: "open",
	unix.SYS_READ: "read", unix.SYS_RECVFROM: "recv", unix.SYS_RECVMSG: "recv", unix.SYS_CONNECT: "connect",
	unix.SYS_SOCKET: "socket", unix.SYS_GETDENTS64: "readdir", unix.SYS_NEWFSTATAT: "stat", unix.SYS_FSTAT: "stat",
	unix.SYS_FLOCK: "flock", unix.SYS_INOTIFY_ADD_WATCH: "inotify",
}

// target says where a call goes to, and whether that is nothing to be concerned with: the log, or what the runtime
// of Go keeps for itself.
func (t *tracer) target(tid int, s step, r *unix.PtraceRegs) (to string, skip bool) {
	switch r.Orig_rax {
	case unix.SYS_SOCKET:
		return domain(int(r.Rdi)), false
	case unix.SYS_OPENAT, unix.SYS_NEWFSTATAT, unix.SYS_INOTIFY_ADD_WATCH:
		return File, false
	}
	if s.fd == byPath {
		return File, false
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, s.fd))
	switch {
	case err != nil, s.fd <= 2, strings.HasPrefix(path, "anon_inode:"), strings.HasPrefix(path, "pipe:"):
		return Other, true
	case strings.HasPrefix(path, "socket:"):
		return domain(t.domains[s.fd]), false
	}
	return File, false
}

func domain(d int) string {
	switch d {
	case unix.AF_NETLINK:
		return Netlink
	case unix.AF_UNIX:
		return Unix
	}
	return Other
}

// hideVDSO takes from the program the page in which it reads the clock without a system call.
func (t *tracer) hideVDSO() error {
	var r unix.PtraceRegs
	if err := registers(t.pid, &r); err != nil {
		return err
	}
	word := func(at uintptr) (uint64, error) {
		var b [8]byte
		_, err := unix.PtracePeekData(t.pid, at, b[:])
		return binary.NativeEndian.Uint64(b[:]), err
	}
	// On the stack of a program that begins: the number of arguments, these, 0, the environment, 0, and pairs of what
	// and value, to a pair of zeros.
	at, zeros := uintptr(r.Rsp)+8, 0
	for zeros < 2 {
		v, err := word(at)
		if err != nil {
			return err
		}
		if v == 0 {
			zeros++
		}
		at += 8
	}
	for ; ; at += 16 {
		const atNull, atIgnore, atSysinfoEhdr = 0, 1, 33
		what, err := word(at)
		if err != nil || what == atNull {
			return err
		}
		if what == atSysinfoEhdr {
			_, err := unix.PtracePokeData(t.pid, at, binary.NativeEndian.AppendUint64(nil, atIgnore))
			return err
		}
	}
}
