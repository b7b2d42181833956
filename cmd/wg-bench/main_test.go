package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wg-kube/internal/bench"
	"wg-kube/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// run runs wg-bench as it is installed, and returns what it printed.
func run(t *testing.T, args ...string) string {
	t.Helper()
	lab.HasKernelWireGuard(t)
	if _, err := exec.LookPath("wg-quick"); err != nil {
		lab.Skip(t, "wg-quick is not installed (Debian: wireguard-tools)")
	}
	for _, program := range []string{"wg-apply", "wg-render", "wg-device"} {
		lab.Build(t, "wg-kube/cmd/"+program)
	}
	var stderr strings.Builder
	cmd := exec.Command(lab.Build(t, "wg-kube/cmd/wg-bench"), args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("wg-bench %s: %v\n%s\n%s", strings.Join(args, " "), err, stderr.String(), out)
	}
	return string(out)
}

func TestPipeline(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "page.md")
	if err := os.WriteFile(page, []byte("# Figures\n<!-- pipeline -->\nold\n<!-- end of pipeline -->\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := run(t, "pipeline", "--sizes", "3,5", "--rounds", "1", "--rest", "1s", "--nodes", "0", "--dir", dir, "--page", page)
	b, err := os.ReadFile(filepath.Join(dir, "pipeline.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r bench.Run
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Series) == 0 {
		t.Fatalf("no figures:\n%s", b)
	}
	for _, s := range r.Series {
		if len(s.Points) == 0 || s.Points[0].N == 0 {
			t.Errorf("%s: no figures", s.Name)
		}
		if !strings.Contains(out, "| "+s.Name+" |") {
			t.Errorf("%s: in no table:\n%s", s.Name, out)
		}
	}
	if got, _ := os.ReadFile(page); !strings.Contains(string(got), out) || strings.Contains(string(got), "old") {
		t.Errorf("the page is not refreshed:\n%s", got)
	}
	for _, plot := range []string{"added.svg", "added.png", "bring-up.svg", "bring-up.png"} {
		if fi, err := os.Stat(filepath.Join(dir, plot)); err != nil || fi.Size() == 0 {
			t.Errorf("%s: %v", plot, err)
		}
	}
}

func TestCluster(t *testing.T) {
	out := run(t, "pipeline", "--sizes", "0", "--nodes", "6", "--burst", "2", "--rounds", "1", "--rest", "1s")
	if strings.Contains(out, "There are no figures of a cluster") {
		lab.Skip(t, out)
	}
	for _, name := range []string{"a bare watch sees it", "the hub's device has it", "burst: proposals written", "hub: wg-render in memory", "API requests about Nodes at rest"} {
		if !strings.Contains(out, "| "+name+" |") {
			t.Errorf("%s: in no table:\n%s", name, out)
		}
	}
}

func TestTunnel(t *testing.T) {
	dir := t.TempDir()
	out := run(t, "tunnel", "--turns", "1", "--for", "50ms", "--dir", dir)
	for _, row := range []string{"stream", "echo of 1 KB", "echo of 4 KB", "echo of 16 KB"} {
		for _, way := range []string{"with the tunnel", "without the tunnel"} {
			if !strings.Contains(out, "| "+row+" | "+way+" |") {
				t.Errorf("%s, %s: in no table:\n%s", row, way, out)
			}
		}
	}
	for _, name := range []string{"tunnel.json", "tunnel.csv", "tunnel.md"} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"tunnel", "client"}, {"tunnel", "client", "--with", "10.0.0.1"}, {"tunnel", "--payloads", "0"}, {"tunnel", "--payloads", "2000"}, {"tunnel", "--turns", "0"},
		{"tunnel", "--for", "0s"}, {"tunnel", "--format", "xml"}, {"pipeline", "--sizes", "many"}, {"pipeline", "extra"}} {
		cmd := exec.Command(lab.Build(t, "wg-kube/cmd/wg-bench"), args...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 2 {
			t.Errorf("%s: exit code %d, want 2: %s", strings.Join(args, " "), code, out)
		}
	}
}
