package apply

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestShare(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	c := Config{RunDir: filepath.Join(dir, "run"), Proposals: filepath.Join(dir, "proposals")}
	must(t, os.Mkdir(c.RunDir, 0o755))
	must(t, os.Mkdir(c.Proposals, 0o755))
	for range 2 { // the second time there is nothing to do
		must(t, c.Share(4711))
		for path, mode := range map[string]os.FileMode{c.RunDir: os.ModeSetgid | 0o750, c.Proposals: 0o770} {
			fi, err := os.Stat(path)
			must(t, err)
			if is := fi.Sys().(*syscall.Stat_t); is.Uid != 0 || is.Gid != 4711 || fi.Mode()&^os.ModeDir != mode {
				t.Errorf("%s: %d:%d %s, want 0:4711 %s", path, is.Uid, is.Gid, fi.Mode(), mode)
			}
		}
	}

	must(t, os.Chown(c.Proposals, 4712, 4712))
	if err := c.Share(4711); err == nil || !strings.HasPrefix(err.Error(), c.Proposals+": belongs to user 4712") {
		t.Errorf("another's folder: %v", err)
	}
	must(t, os.Remove(c.Proposals))
	must(t, os.Symlink(c.RunDir, c.Proposals))
	if err := c.Share(4711); err == nil || !strings.Contains(err.Error(), "not a folder") {
		t.Errorf("a link: %v", err)
	}
	must(t, os.Remove(c.Proposals))
	if err := c.Share(4711); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("nothing: %v", err)
	}
}
