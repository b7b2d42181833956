package systemd

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wg-kube/internal/lab"
)

func TestMain(m *testing.M) { Main(m) }

func TestMachine(t *testing.T) {
	m := New(t, "box")
	m.Write(t, "/etc/systemd/system/probe.service", `[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=sh -c 'hostname >/etc/seen; ls /etc/shadow; mount -t tmpfs x /mnt'
DynamicUser=yes
ReadWritePaths=/etc
SystemCallFilter=~@mount
SystemCallErrorNumber=EPERM
[Install]
WantedBy=multi-user.target
`, 0o644)
	m.Run(t, "install", "-m", "666", "/dev/null", "/etc/seen")
	m.Run(t, "systemctl", "enable", "probe")
	m.Boot(t)
	if got := m.Read(t, "/etc/seen"); got != "box\n" {
		t.Errorf("a unit that was enabled was not run at boot: %q", got)
	}
	if got := m.Property(t, "probe", "ActiveState"); got != "failed" {
		t.Errorf("a unit that is not let is %s", got)
	}
	if out, code := m.Try("sh", "-c", "echo out; exit 3"); out != "out\n" || code != 3 {
		t.Errorf("a command: %q, exit status %d", out, code)
	}
	if _, err := os.Stat("/etc/seen"); err == nil {
		t.Error("what is written there is seen here")
	}
	m.Unplug(t)
	if got := m.Read(t, "/etc/seen"); got != "box\n" {
		t.Error("the disk was lost with the power")
	}
	m.Boot(t)
}

// A program that has booted machines may be killed at any moment.
func TestNothingIsLeft(t *testing.T) {
	if os.Getenv("LAB_SLEEP") != "" {
		New(t, "box").Boot(t)
		fmt.Println("up", os.Getenv("WGKUBE_LAB_CGROUP"))
		time.Sleep(time.Hour)
	}
	New(t, "probe") // or skip
	for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT, syscall.SIGTERM} {
		t.Run(end.String(), func(t *testing.T) {
			before := processes(t)
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(exe, "-test.run=^TestNothingIsLeft$", "-test.v")
			cmd.Env = append(os.Environ(), "WGKUBE_LAB=", "LAB_SLEEP=1")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			cgroup := ""
			for s := bufio.NewScanner(out); cgroup == "" && s.Scan(); {
				if path, up := strings.CutPrefix(s.Text(), "up "); up {
					cgroup = path
				}
			}
			if _, err := os.Stat(cgroup); err != nil {
				t.Fatalf("while it runs: %v", err)
			}
			if err := cmd.Process.Signal(end); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			lab.Eventually(t, time.Minute, "every process is gone", func() bool { return processes(t) == before })
			if _, err := os.Stat(cgroup); err == nil {
				t.Errorf("%s is left", cgroup)
			}
		})
	}
}

// processes are the command lines of all that run, zombies excepted.
func processes(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && len(b) > 0 {
			fmt.Fprintln(&all, file, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return all.String()
}
