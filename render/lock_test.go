package render

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"wg-kube/render/overlay"
)

// Root may try wg-render by hand in the folder of its user, who has planted another name of a file of root's there:
// that file is not given away.
func TestALockThatIsAnotherFile(t *testing.T) {
	b := newBench(t)
	roots := t.TempDir() + "/secret"
	if err := os.WriteFile(roots, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const user = 4711
	if err := os.Chown(b.out, user, user); err != nil && os.Geteuid() == 0 {
		t.Fatal(err)
	}
	if err := os.Link(roots, b.out+"/.wg0.lock"); err != nil {
		t.Fatal(err)
	}
	c := newCluster(overlay.Node{Name: "hub-1"})
	c.synced = true
	if err := b.open(onlySource{c}).Once(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "/.wg0.lock: not a file of one name") {
		t.Errorf("once: %v", err)
	}
	fi, err := os.Stat(roots)
	if err != nil {
		t.Fatal(err)
	}
	if uid := fi.Sys().(*syscall.Stat_t).Uid; int(uid) != os.Geteuid() {
		t.Errorf("it belongs to user %d now", uid)
	}
}
