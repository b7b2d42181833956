package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"wg-kube/internal/lab"
)

const (
	// profile is what podman and CRI-O take for RuntimeDefault. Debian's buildah depends on it.
	profile = "/usr/share/containers/seccomp.json"
	// numbers has those of the system calls that the profile names.
	numbers = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
)

// runtimeDefault is the filter for system calls under which a container runtime starts whoever asks for RuntimeDefault,
// and who has no capability that the profile makes an exception for. CAP_NET_ADMIN is none.
func runtimeDefault(t *testing.T) (filter []bpf.RawInstruction) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		lab.Skip(t, "system calls are known by their numbers on amd64 alone")
	}
	b, err := os.ReadFile(profile)
	must(t, err)
	var p struct {
		DefaultErrnoRet uint32
		Syscalls        []struct {
			Names    []string
			Action   string
			ErrnoRet uint32
			Args     []struct {
				Index, Value uint32
				Op           string
			}
			Includes struct{ Caps, Arches []string }
		}
	}
	must(t, json.Unmarshal(b, &p))
	b, err = os.ReadFile(numbers)
	if err != nil {
		lab.Skip(t, err.Error()+" (Debian: linux-libc-dev)")
	}
	number := map[string]uint32{}
	for _, define := range regexp.MustCompile(`(?m)^#define __NR_(\w+) (\d+)$`).FindAllStringSubmatch(string(b), -1) {
		n, err := strconv.ParseUint(define[2], 10, 32)
		must(t, err)
		number[define[1]] = uint32(n)
	}

	// Of struct seccomp_data: the number of the call, the architecture, and the lower half of an argument.
	const nr, arch, args = 0, 4, 16
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: arch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AUDIT_ARCH_X86_64, SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_KILL_PROCESS},
	}
	for _, rule := range p.Syscalls {
		if len(rule.Includes.Caps) > 0 || len(rule.Includes.Arches) > 0 && !slices.Contains(rule.Includes.Arches, runtime.GOARCH) {
			continue
		}
		action := map[string]uint32{"SCMP_ACT_ALLOW": unix.SECCOMP_RET_ALLOW, "SCMP_ACT_ERRNO": unix.SECCOMP_RET_ERRNO | rule.ErrnoRet}[rule.Action]
		for _, name := range rule.Names {
			n, ok := number[name]
			if !ok {
				continue // of another architecture, or too new for these headers
			}
			// The first that fits is the one: whatever does not goes on behind its end.
			end := uint8(2*len(rule.Args) + 1)
			program = append(program, bpf.LoadAbsolute{Off: nr, Size: 4}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: n, SkipTrue: end})
			for i, arg := range rule.Args {
				cond, ok := map[string]bpf.JumpTest{"SCMP_CMP_EQ": bpf.JumpNotEqual, "SCMP_CMP_NE": bpf.JumpEqual}[arg.Op]
				if !ok {
					t.Fatalf("%s: %s: %s is not known here", profile, name, arg.Op)
				}
				program = append(program, bpf.LoadAbsolute{Off: args + 8*arg.Index, Size: 4},
					bpf.JumpIf{Cond: cond, Val: arg.Value, SkipTrue: end - uint8(2*i+2)})
			}
			program = append(program, bpf.RetConstant{Val: action})
		}
	}
	filter, err = bpf.Assemble(append(program, bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | p.DefaultErrnoRet}))
	must(t, err)
	return filter
}

// install puts this thread, and whatever it becomes, under a filter. no_new_privs must be set.
func install(filter []bpf.RawInstruction) error {
	if len(filter) == 0 {
		return nil
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: (*unix.SockFilter)(unsafe.Pointer(&filter[0]))}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	return nil
}
