package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is where a run was made.
type Machine struct {
	CPU       string `json:"cpu"`
	Cores     int    `json:"cores"`
	MemoryGB  int    `json:"memoryGB"`
	Kernel    string `json:"kernel"`
	Go        string `json:"go"`
	WireGuard string `json:"wireguard"` // "the kernel's" or "wg-device"
}

// ThisMachine is the one we run on.
func ThisMachine(wireguard string) Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), WireGuard: wireguard}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		m.MemoryGB = int((uint64(si.Totalram)*uint64(si.Unit) + 1<<29) >> 30)
	}
	b, _ := os.ReadFile("/proc/cpuinfo")
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if key, value, _ := strings.Cut(s.Text(), ":"); strings.TrimSpace(key) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	return m
}

func (m Machine) String() string {
	return fmt.Sprintf("%d cores of %s, %d GB, %s, %s, WireGuard: %s", m.Cores, m.CPU, m.MemoryGB, m.Kernel, m.Go, m.WireGuard)
}
