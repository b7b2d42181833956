// Package atomicfile replaces files so that nobody ever sees half of one, and a crash leaves the old one or the
// new one. It never widens permissions after the fact and never follows a link that stands where the file should.
package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
)

// Write makes b the content of path, durably: temporary file in the same folder, fsync, rename, fsync of the folder.
// The file is created with exactly mode. It belongs to the folder's group where the process may say so, so that
// whom root lets into the folder can read what mode lets the group read. Nobody else may write path meanwhile: what
// another Write of it has left, that failed or was killed, is removed first.
func Write(path string, b []byte, mode fs.FileMode) error {
	err := replace(path, b, mode)
	var of *fs.PathError
	var move *os.LinkError
	switch { // the temporary file has another name each time, and the same fault is to read the same
	case err == nil:
		return nil
	case errors.As(err, &of):
		err = fmt.Errorf("%s: %w", of.Op, of.Err)
	case errors.As(err, &move):
		err = fmt.Errorf("%s: %w", move.Op, move.Err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

func replace(path string, b []byte, mode fs.FileMode) error {
	if err := RemoveLeftovers(path); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	folder, err := os.Stat(dir)
	if err != nil {
		return err
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }() // after the rename there is nothing to clean up
	fi, err := f.Stat()                // in a folder with the set-group-ID bit it is the group's from the start
	if err != nil {
		return err
	}
	if gid := group(folder); mode&0o070 != 0 && gid != group(fi) {
		if err := f.Chown(-1, gid); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return syncDir(dir)
}

// WriteIfChanged is Write unless path already is a regular file with that content and mode.
func WriteIfChanged(path string, b []byte, mode fs.FileMode) (changed bool, err error) {
	fi, err := os.Lstat(path)
	if err == nil && fi.Mode() == mode && fi.Size() == int64(len(b)) {
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, b) {
			return false, nil
		}
	}
	return true, Write(path, b, mode)
}

func group(fi fs.FileInfo) int { return int(fi.Sys().(*syscall.Stat_t).Gid) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
