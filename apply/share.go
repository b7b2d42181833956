package apply

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Share gives the two folders that wg-render has a part in to its group: it may read the status, or its copy, and write
// proposals. Where systemd-tmpfiles makes them there is no need for that. It takes no capability of a root who is in
// the group.
func (c Config) Share(gid int) error {
	return errors.Join(share(cmp.Or(c.StatusCopy, c.RunDir), gid, fs.ModeSetgid|0o750), share(c.Proposals, gid, 0o770))
}

func share(dir string, gid int, mode fs.FileMode) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return plain(dir, err)
	}
	if !fi.IsDir() {
		return fmt.Errorf("%s: not a folder", dir)
	}
	is := fi.Sys().(*syscall.Stat_t)
	if int(is.Uid) != os.Geteuid() {
		return fmt.Errorf("%s: belongs to user %d, and is shared by nobody else: remove it, or give it back", dir, is.Uid)
	}
	if int(is.Gid) != gid {
		if err := os.Lchown(dir, -1, gid); err != nil {
			return fmt.Errorf("%w: only who is in group %d may give it to that", plain(dir, err), gid)
		}
	}
	if fi.Mode()&(fs.ModeSetgid|fs.ModePerm) != mode {
		if err := os.Chmod(dir, mode); err != nil {
			return plain(dir, err)
		}
	}
	return nil
}
