package apiserver

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"wg-kube/internal/lab"
)

// Kubectl is where kubectl is, of the server's version. Where it cannot be, the test is skipped with the reason.
func Kubectl(t testing.TB) string {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		lab.Skip(t, err.Error())
	}
	return filepath.Join(bin, "kubectl")
}

// Shell runs a script of sh(1) in the folder dir, for which kubectl is an administrator's of this server. It returns
// what the script prints; a command of it that fails ends the test.
func (s *Server) Shell(t testing.TB, dir, script string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = append(os.Environ(), "PATH="+s.bin+":"+os.Getenv("PATH"), "HOME="+s.dir, "KUBECONFIG="+s.kubeconfig())
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v: %s%s", script, err, &stdout, &stderr)
	}
	return stdout.String()
}

func (s *Server) kubeconfig() string { return filepath.Join(s.dir, "kubeconfig") }
