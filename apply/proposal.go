package apply

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"wg-kube/internal/watch"
	"wg-kube/templates/wgquick"
)

// proposed reports whether b begins as wg-render begins a file.
func proposed(b []byte) bool {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return string(bytes.TrimSpace(line)) == "# "+wgquick.ProposalHead
}

// readProposal reads a file in a folder whose owner is not trusted. Nothing that can be planted there leads
// anywhere else: no link is followed, no fifo waited for, and the file must be root's own, the folder's owner's or,
// where root shares the folder with a group, of that group, under this one name.
func readProposal(path string, settle *watch.Settler) (*text, error) {
	for range 3 {
		t, err := tryProposal(path, settle)
		if !errors.Is(err, errMoved) {
			return t, err
		}
	}
	return nil, notYet(settle.Quiet)
}

func tryProposal(path string, settle *watch.Settler) (*text, error) {
	folder, err := os.OpenFile(filepath.Dir(path), os.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, plain(filepath.Dir(path), err)
	}
	defer folder.Close()
	owner, err := folder.Stat()
	if err != nil {
		return nil, plain(folder.Name(), err)
	}
	fd, err := unix.Openat(int(folder.Fd()), filepath.Base(path), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, plain(path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, plain(path, err)
	}
	if err := errors.Join(regular(fi), unshared(fi)); err != nil {
		return nil, plain(path, err)
	}
	is, folderIs := fi.Sys().(*syscall.Stat_t), owner.Sys().(*syscall.Stat_t)
	switch {
	case is.Nlink == 0:
		return nil, errMoved
	case is.Nlink > 1:
		return nil, fmt.Errorf("%s: has %d names: a hard link is not taken", path, is.Nlink)
	case is.Uid != 0 && is.Uid != folderIs.Uid && !(sharedByRoot(folderIs) && is.Gid == folderIs.Gid):
		return nil, fmt.Errorf("%s: belongs to user %d, not to user %d as its folder does", path, is.Uid, folderIs.Uid)
	}
	return read(path, f, fi, settle)
}

// sharedByRoot reports whether a folder is root's, and its group writes in it.
func sharedByRoot(folder *syscall.Stat_t) bool { return folder.Uid == 0 && folder.Mode&0o020 != 0 }
