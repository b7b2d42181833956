package render

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"wg-kube/internal/atomicfile"
	"wg-kube/render/source/files"
)

// lock makes this the only wg-render that writes the proposal, until unlock is called or the process ends. It does
// not wait. The lock belongs to whom the folder belongs to, lest root, trying once by hand, locks the service out.
func (l *Loop) lock() error {
	if l.locked != nil {
		return nil
	}
	folder, err := os.Stat(l.Out)
	if err != nil {
		return files.Plain(err)
	}
	path := filepath.Join(l.Out, "."+l.Self.Interface+".lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return files.Plain(err)
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Sys().(*syscall.Stat_t).Nlink != 1 {
		_ = f.Close()
		return fmt.Errorf("%s: not a file of one name, and root would give it away: remove it", path)
	}
	is := folder.Sys().(*syscall.Stat_t)
	_ = f.Chown(int(is.Uid), int(is.Gid)) // who is not root needs no such thing
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		_ = f.Close()
		return fmt.Errorf("%s: another wg-render writes it", l.path())
	case err != nil:
		_ = f.Close()
		return fmt.Errorf("%s: lock: %w", path, err)
	}
	l.locked = f
	// Nobody else writes here now. What another one left that was killed while it did is of no use.
	if err := atomicfile.RemoveLeftovers(l.path()); err != nil {
		l.Log.Warn("note", "err", files.Plain(err))
	}
	return nil
}

func (l *Loop) unlock() {
	if l.locked != nil {
		_ = l.locked.Close()
		l.locked = nil
	}
}
