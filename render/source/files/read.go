package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// version tells one state of a file from another. ctime moves with every change of content, whatever mtime says.
type version struct {
	dev, ino uint64
	size     int64
	ctime    syscall.Timespec
}

var none version

func versionOf(fi fs.FileInfo) version {
	st := fi.Sys().(*syscall.Stat_t)
	return version{uint64(st.Dev), st.Ino, st.Size, st.Ctim}
}

// errUnsteady is a file that changed while it was read.
var errUnsteady = errors.New("it changes while it is read")

// read reads a regular file and says which version of it that was. It waits for nobody: a fifo is refused, not opened
// until a writer comes.
func read(path string, maxSize int64) ([]byte, version, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, none, Plain(err)
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return nil, none, Plain(err)
	}
	if !before.Mode().IsRegular() {
		return nil, none, fmt.Errorf("%s: a regular file is wanted, this is %s", path, kind(before.Mode()))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, none, Plain(err)
	}
	if int64(len(b)) > maxSize {
		return nil, none, fmt.Errorf("%s: larger than %d bytes", path, maxSize)
	}
	after, err := f.Stat()
	if err != nil {
		return nil, none, Plain(err)
	}
	if versionOf(before) != versionOf(after) {
		return nil, none, errUnsteady
	}
	return b, versionOf(before), nil
}

func kind(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "a fifo"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "none"
}

// Plain is err, if it comes from a system call, as a person wants to read it: the path, then what is wrong, without
// the name of the call.
func Plain(err error) error {
	var call *fs.PathError
	if errors.As(err, &call) {
		return fmt.Errorf("%s: %w", call.Path, call.Err)
	}
	return err
}
