// Package proc reads from /proc what processes take: time of the processor, and memory. It asks no process anything.
package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// CPU is how long the threads of a process have run, to the nanosecond; one that has ended does not count any more,
// but a Go program ends few. Of a kernel without schedstat it is all that the process has run, to a hundredth of a second.
func CPU(pid int) (sum time.Duration, err error) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if len(tasks) == 0 {
		return coarseCPU(pid)
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue
		}
		ran, _, _ := bytes.Cut(b, []byte(" "))
		ns, err := strconv.ParseInt(string(ran), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", task, err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

func coarseCPU(pid int) (time.Duration, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, fmt.Errorf("process %d: ended", pid)
	}
	stat, err := p.Stat()
	if err != nil {
		return 0, fmt.Errorf("process %d: %w", pid, err)
	}
	return time.Duration(stat.CPUTime() * float64(time.Second)), nil
}

// Memory is what a process has in memory (RSS), in MB.
func Memory(pid int) (float64, error) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kb / 1024, err
		}
	}
	return 0, fmt.Errorf("%s: no VmRSS", path)
}

// Usage is CPU by process.
type Usage map[int]time.Duration

// Here is the usage of all processes in the network namespace of this one. On a machine these are all there are, the
// kernel's own included; in a namespace they are those on that side of a wire.
func Here() (Usage, error) {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	u := Usage{}
	for _, dir := range all {
		if ns, err := os.Readlink(dir + "/ns/net"); err != nil || ns != own {
			continue // somebody else's, or ended
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		if u[pid], err = CPU(pid); err != nil {
			delete(u, pid) // ended
		}
	}
	return u, nil
}

// Since is what was used since before. A process that has ended meanwhile does not count.
func (u Usage) Since(before Usage) (sum time.Duration) {
	for pid, now := range u {
		sum += max(0, now-before[pid]) // less than before: another one with the same number
	}
	return sum
}
