package lab

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sync"
	"testing"

	"wg-kube/internal/lab/hosts"
)

// Bin is the environment variable with the folder of programs that were built before. Where there is no go command,
// as in the User-mode Linux, it has to be set.
const Bin = "WGKUBE_BIN"

// one program is built at a time: they share most of their packages.
var building sync.Mutex

// Build returns the path of the program that the package pkg is ("wg-kube/cmd/wg-apply"): that in $WGKUBE_BIN,
// else one built once for all tests of this process. It is the same path on every host.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	if bin := os.Getenv(Bin); bin != "" {
		program, err := filepath.Abs(filepath.Join(bin, path.Base(pkg)))
		check(t, err)
		if _, err := os.Stat(program); err != nil {
			t.Fatalf("%s: %v", Bin, err)
		}
		return program
	}
	Need(t)
	building.Lock()
	defer building.Unlock()
	program := filepath.Join(hosts.Shared, "bin", path.Base(pkg))
	if _, err := os.Stat(program); err == nil {
		return program
	}
	cmd := exec.Command("go", "build", "-o", program, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath -buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, tail(string(out)))
	}
	return program
}
