package watch

import (
	"io/fs"
	"syscall"
	"time"
)

// Settler tells when a file that does not say itself that it is complete has been left alone for long enough to be
// read. It goes by what it saw and when, not by the file's own times alone: a clock may jump.
type Settler struct {
	Quiet time.Duration             // how long a file must stay the same
	Moved func(fi fs.FileInfo) bool // whether a file was renamed into its place as it is, see Watcher; nil: nobody knows
	seen  map[string]seen
}

type seen struct {
	stat  stamp
	since time.Time // monotonic
}

type stamp struct {
	inode        inode
	size         int64
	mtime, ctime syscall.Timespec
}

func stampOf(fi fs.FileInfo) stamp {
	st := fi.Sys().(*syscall.Stat_t)
	return stamp{inode{uint64(st.Dev), st.Ino}, st.Size, st.Mtim, st.Ctim}
}

// Wait returns how long to wait before path may be read, zero for now. fi is what it is at this moment.
// A file that was last changed longer ago than Quiet, by its own time, may be read at once, and so may one that was
// renamed into its place: whoever does that has written all of it.
func (s *Settler) Wait(path string, fi fs.FileInfo, now time.Time) time.Duration {
	if s.Moved != nil && s.Moved(fi) {
		return 0
	}
	is := stampOf(fi)
	was, ok := s.seen[path]
	if !ok || was.stat != is {
		if s.seen == nil {
			s.seen = map[string]seen{}
		}
		was = seen{is, now}
		if age := now.Sub(time.Unix(is.ctime.Unix())); !ok && age > s.Quiet {
			was.since = now.Add(-age)
		}
		s.seen[path] = was
	}
	return max(0, s.Quiet-now.Sub(was.since))
}

// Forget drops what is known of path: it is gone.
func (s *Settler) Forget(path string) { delete(s.seen, path) }
