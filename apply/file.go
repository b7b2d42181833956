package apply

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"wg-kube/internal/watch"
	"wg-kube/templates/wgquick"
)

// notYet is the error of a file that may still be in the making: it is to be looked at again after that long.
type notYet time.Duration

func (n notYet) Error() string {
	return fmt.Sprintf("being written; read when quiet for %s", time.Duration(n))
}

// errMoved is the error of a file that was replaced between being opened and being read.
var errMoved = errors.New("replaced while it was read")

// text is what a file held at one moment.
type text struct {
	b    []byte
	hash string // "sha256:..."
	mode fs.FileMode
}

// Hash is the form in which the status names the content of a file.
func hash(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// open opens path for reading, without ever waiting for a writer: a fifo is to be refused, not read.
func open(path string, flags int) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return nil, nil, plain(path, err)
	}
	fi, err := f.Stat()
	if err == nil {
		err = regular(fi)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, plain(path, err)
	}
	return f, fi, nil
}

// plain puts the object first and drops the name of the system call.
func plain(path string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	switch {
	case errors.Is(err, unix.ELOOP):
		err = errors.New("a symbolic link, not a regular file")
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		err = errors.New("not a regular file")
	}
	return fmt.Errorf("%s: %w", path, err)
}

func regular(fi fs.FileInfo) error {
	switch {
	case fi.IsDir():
		return errors.New("a folder, not a regular file")
	case !fi.Mode().IsRegular():
		return fmt.Errorf("not a regular file (%s)", fi.Mode())
	case fi.Size() > wgquick.MaxSize:
		return fmt.Errorf("%d bytes, more than the %d that are read", fi.Size(), wgquick.MaxSize)
	}
	return nil
}

// trusted refuses a file that somebody else than root and the user we run as could have written.
func trusted(fi fs.FileInfo) error {
	if uid := int(fi.Sys().(*syscall.Stat_t).Uid); uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("belongs to user %d, not to root", uid)
	}
	return unshared(fi)
}

func unshared(fi fs.FileInfo) error {
	if fi.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("mode %04o lets others write it; chmod go-w makes it right", fi.Mode().Perm())
	}
	return nil
}

// read reads all of f, which was fi when it was opened. A file without an end mark is left alone until it is quiet.
func read(path string, f *os.File, fi fs.FileInfo, settle *watch.Settler) (*text, error) {
	b, err := readAll(path, f, fi.Size())
	if err != nil {
		return nil, err
	}
	if !wgquick.Complete(b) {
		if proposed(b) {
			return nil, fmt.Errorf("%s: cut short or edited: its last line is not the end mark that wg-render wrote", path)
		}
		if wait := settle.Wait(path, fi, time.Now()); wait > 0 {
			return nil, notYet(wait)
		}
		if now, err := f.Stat(); err != nil || now.Size() != int64(len(b)) || !now.ModTime().Equal(fi.ModTime()) {
			return nil, notYet(settle.Quiet)
		}
	}
	return &text{b, hash(b), fi.Mode()}, nil
}

// readAll reads f, whatever its size was when it was opened. A file with a part missing may be a valid one.
func readAll(path string, f io.Reader, size int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(size, wgquick.MaxSize)) + bytes.MinRead) // room for the end as well
	if _, err := b.ReadFrom(io.LimitReader(f, wgquick.MaxSize+1)); err != nil {
		return nil, plain(path, err)
	}
	if b.Len() > wgquick.MaxSize {
		return nil, fmt.Errorf("%s: more than the %d bytes that are read", path, wgquick.MaxSize)
	}
	return b.Bytes(), nil
}

// parse reads what says a whole interface. A file without an [Interface] section is empty or was cut short: wg-quick
// makes an interface without anything of it, and of a live one nothing would be left.
func parse(path string, b []byte, r *wgquick.Reader) (*wgquick.Config, error) {
	c, err := r.Parse(path, b)
	if err == nil && c.Interface.Line == 0 {
		return nil, fmt.Errorf("%s:1: no [Interface] section: empty, or cut short", path)
	}
	if err == nil && !Ours(c) && !proposed(b) {
		c.Peers = discreetly(c.Peers)
	}
	return c, err
}

// discreetly is peers without the names that are none: whoever writes a file by hand may put a key anywhere, and a
// peer's name is shown everywhere.
func discreetly(peers []wgquick.Peer) []wgquick.Peer {
	none := func(p wgquick.Peer) bool {
		o := p.Origin // a key with a slash in it is cut in two
		return wgquick.Shown(o.Kind) != o.Kind || wgquick.Shown(o.Name) != o.Name
	}
	if !slices.ContainsFunc(peers, none) {
		return peers
	}
	peers = slices.Clone(peers)
	for n := range peers {
		if none(peers[n]) {
			peers[n].Origin = wgquick.Origin{}
		}
	}
	return peers
}

// faults is an error as lines, one a fault.
func faults(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(err.Error()), "\n")
}
