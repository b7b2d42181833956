package apply

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wg-kube/internal/lab"
	"wg-kube/internal/watch"
	"wg-kube/templates/wgquick"
)

// atOnce is a settler for files that nobody writes any more.
func atOnce() *watch.Settler { return &watch.Settler{} }

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

// marshal is p as wg-render would write it.
func rendered(t testing.TB, n ...int) string {
	t.Helper()
	var peers []wgquick.Peer
	for _, i := range n {
		peers = append(peers, peer(i))
	}
	return renderedOf(t, peers...)
}

// renderedOf is a proposal of these peers.
func renderedOf(t testing.TB, peers ...wgquick.Peer) string {
	t.Helper()
	c := proposal(peers...)
	c.Head = []string{wgquick.ProposalHead, "For the hub test."}
	b, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Whoever plants a link does not learn from the status what there is where it leads, and nobody waits for that.
func TestALinkIsRefusedWhereverItLeads(t *testing.T) {
	for name, to := range map[string]string{"a file": "secret", "nothing": "not-there", "itself": "wg0.conf"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, "wg0")
			h.Resync = time.Hour
			path, secret := h.proposal("wg0"), filepath.Join(h.Proposals, "secret")
			write(t, secret, "secret")
			h.write(t, path, rendered(t, 1))
			h.run(t)
			h.eventually(t, "it is in force", func() bool { return h.kernel.peers("wg0") == 1 })
			time.Sleep(2 * tick) // what is younger is like nothing else
			must(t, os.Remove(path))
			h.eventually(t, "it is gone", func() bool { return h.status(t, "wg0").Proposed == "" })
			must(t, os.Symlink(to, path))
			h.eventually(t, "the link is refused", func() bool {
				refused := h.status(t, "wg0").Refused
				return len(refused) == 1 && strings.HasSuffix(refused[0], "a symbolic link, not a regular file")
			})
			was := versionAt(path)
			must(t, os.Remove(secret))
			if versionAt(path) != was {
				t.Error("what the link leads to is looked at")
			}
		})
	}
}

func TestReadProposalRefuses(t *testing.T) {
	tests := []struct {
		name  string
		plant func(t *testing.T, path string)
		want  string
	}{
		{"a symbolic link", func(t *testing.T, path string) {
			write(t, path+".target", rendered(t))
			must(t, os.Symlink(path+".target", path))
		}, "a symbolic link"},
		{"a symbolic link to a secret", func(t *testing.T, path string) { must(t, os.Symlink("/etc/shadow", path)) }, "a symbolic link"},
		{"a hard link", func(t *testing.T, path string) {
			write(t, path, rendered(t))
			must(t, os.Link(path, path+".other"))
		}, "has 2 names"},
		{"a fifo", func(t *testing.T, path string) { must(t, unix.Mkfifo(path, 0o600)) }, "not a regular file"},
		{"a folder", func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, "a folder"},
		{"a socket", func(t *testing.T, path string) {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			must(t, err)
			defer unix.Close(fd)
			t.Chdir(filepath.Dir(path)) // the name of a socket is short
			must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Base(path)}))
		}, "not a regular file"},
		{"a file of another user", func(t *testing.T, path string) {
			needRoot(t)
			write(t, path, rendered(t))
			must(t, os.Chown(path, 4711, 4711))
		}, "belongs to user 4711"},
		{"a file of another group, in a folder that root shares", func(t *testing.T, path string) {
			needRoot(t)
			must(t, os.Chown(filepath.Dir(path), 0, 4711))
			must(t, os.Chmod(filepath.Dir(path), 0o770))
			write(t, path, rendered(t))
			must(t, os.Chown(path, 4712, 4712))
		}, "belongs to user 4712"},
		{"a file that its group may write", func(t *testing.T, path string) {
			write(t, path, rendered(t))
			must(t, os.Chmod(path, 0o660))
		}, "mode 0660"},
		{"a file that everybody may write", func(t *testing.T, path string) {
			write(t, path, rendered(t))
			must(t, os.Chmod(path, 0o602))
		}, "mode 0602"},
		{"one byte more than 16 MiB", func(t *testing.T, path string) {
			write(t, path, "")
			must(t, os.Truncate(path, wgquick.MaxSize+1))
		}, "16777217 bytes"},
		{"a truncated file of wg-render", func(t *testing.T, path string) {
			s := rendered(t, 1, 2, 3)
			write(t, path, s[:strings.LastIndex(s, "[Peer]")])
		}, "cut short or edited"},
		{"an edited file of wg-render", func(t *testing.T, path string) {
			write(t, path, strings.Replace(rendered(t, 1), "10.0.0.1", "10.0.0.9", 1))
		}, "cut short or edited"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "wg0.conf")
			tt.plant(t, path)
			_, err := readProposal(path, atOnce())
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), path+": ") {
				t.Errorf("got %v, want %s: ...%s...", err, path, tt.want)
			}
			if strings.Contains(tt.name, "hard link") {
				return
			}
			if _, err := readInForce(path, atOnce()); err == nil && !strings.Contains(tt.name, "a symbolic link") {
				t.Error("it is taken as a file in force")
			}
		})
	}
}

func TestReadProposalTakes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "wg0.conf")
	write(t, path, rendered(t, 1))
	must(t, os.Chmod(path, 0o600))
	if _, err := readProposal(path, &watch.Settler{Quiet: time.Hour}); err != nil {
		t.Errorf("a file with an end mark is read at once: %v", err)
	}
	must(t, os.Remove(path))
	write(t, path, "[Interface]\n")
	if _, err := readProposal(path, &watch.Settler{Quiet: time.Hour}); !errors.As(err, new(notYet)) {
		t.Errorf("a file made by hand is read when quiet: %v", err)
	}
	if _, err := readProposal(path, atOnce()); err != nil {
		t.Error(err)
	}
	if os.Geteuid() == 0 { // wg-render's folder, with a file of its own and one of root's
		must(t, os.Chown(dir, 4711, 4711))
		if _, err := readProposal(path, atOnce()); err != nil {
			t.Errorf("root's own file in the folder of another: %v", err)
		}
		must(t, os.Chown(path, 4711, 4711))
		if _, err := readProposal(path, atOnce()); err != nil {
			t.Errorf("a file of the folder's owner: %v", err)
		}
		must(t, os.Chown(dir, 0, 4711))
		must(t, os.Chmod(dir, 0o770))
		if _, err := readProposal(path, atOnce()); err != nil {
			t.Errorf("a file of the group with which root shares the folder: %v", err)
		}
	}
}

func TestAllowed(t *testing.T) {
	key := "rSf/Xt9xxgvIFPXJ9vQ5cUWrsrwjR4xnjAWcwPzeQBE="
	for _, line := range []string{
		"PrivateKey = " + key, "PostUp = touch /tmp/x", "PreUp = x", "PreDown = x", "PostDown = x",
		"DNS = 1.1.1.1", "Table = off", "FwMark = 1", "SaveConfig = true",
	} {
		t.Run(strings.Fields(line)[0], func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "wg0.conf")
			write(t, path, "[Interface]\nAddress = 10.0.0.1/24\n"+line+"\n")
			err := Check(path, true)
			if err == nil || !strings.HasPrefix(err.Error(), path+":3: ") {
				t.Errorf("%s: %v", line, err)
			}
			if err != nil && strings.Contains(err.Error(), key) {
				t.Error("the error shows the key")
			}
		})
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		lab.Skip(t, "needs root, to give a file away")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
