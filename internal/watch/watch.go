// Package watch tells that what a path leads to may have changed: a file written or renamed into place, a folder
// swapped by its symbolic link (git), by a link inside it (a mounted ConfigMap), removed, made again or mounted
// over. It does not say what has changed: whoever is told looks again, so a lost or doubled event costs nothing.
package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Rescan is how often the watched folders are compared with those that the paths lead through now. It finds what
// inotify(7) cannot tell: a mount over a folder, a move of one of its ancestors.
const Rescan = 30 * time.Second

// Watcher watches paths. None of them need exist.
type Watcher struct {
	C       <-chan struct{} // something may have changed; at most one signal waits
	c       chan struct{}
	log     *slog.Logger
	paths   []string
	strange map[string]bool   // those of paths whose links are not followed
	fs      *fsnotify.Watcher // nil: there can be none for now
	have    map[string]inode  // watched folders, as they were when they were added
	failed  map[string]string // folders that cannot be watched, and what was said of them: they are looked at every Rescan

	mu    sync.Mutex
	moved map[string]stamp // files that were renamed into their place, as they were then
}

type inode struct{ dev, ino uint64 }

// New starts to watch: what changes after it returns is seen. Run must be called to be told of it.
func New(log *slog.Logger, paths ...string) (*Watcher, error) { return NewBeside(log, nil, paths...) }

// NewBeside is New, and watches folders of strangers beside that. Of these it follows no link: each costs watches, of
// which all that run as one user have so many together, and may lead to where there is never silence.
func NewBeside(log *slog.Logger, strange []string, paths ...string) (*Watcher, error) {
	w := &Watcher{
		c: make(chan struct{}, 1), log: log,
		strange: map[string]bool{}, have: map[string]inode{}, failed: map[string]string{}, moved: map[string]stamp{},
	}
	w.C = w.c
	for n, p := range slices.Concat(strange, paths) {
		abs, err := filepath.Abs(p)
		if err != nil {
			var why syscall.Errno // the error itself names a path that nobody gave
			if errors.As(err, &why) {
				err = why
			}
			return nil, fmt.Errorf("%s: relative to the working folder, which cannot be entered: %w", p, err)
		}
		w.paths = append(w.paths, abs)
		w.strange[abs] = n < len(strange)
	}
	w.arm()
	return w, nil
}

// Run signals on C until ctx is done.
func (w *Watcher) Run(ctx context.Context) {
	defer func() {
		if w.fs != nil {
			_ = w.fs.Close()
		}
	}()
	rescan := time.NewTicker(Rescan)
	defer rescan.Stop()
	for {
		var events <-chan fsnotify.Event
		var faults <-chan error
		if w.fs != nil {
			events, faults = w.fs.Events, w.fs.Errors
		}
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				return
			}
			w.note(e)
			w.arm()
			w.signal()
		case err, ok := <-faults:
			if !ok {
				return
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				w.log.Warn("watching files", "err", err)
			}
			w.forget()
			w.arm()
			w.signal()
		case <-rescan.C:
			if w.arm() || len(w.failed) > 0 {
				w.signal()
			}
		}
	}
}

// mostMoved bounds what a folder full of files costs. One that is not noted is read a little later.
const mostMoved = 1 << 10

// note notes a file that was renamed into its place, and forgets one to which anything else happens.
func (w *Watcher) note(e fsnotify.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.moved, e.Name)
	if !renamed(e) {
		return
	}
	if len(w.moved) == mostMoved {
		clear(w.moved)
	}
	if fi, err := os.Lstat(e.Name); err == nil && fi.Mode().IsRegular() {
		w.moved[e.Name] = stampOf(fi)
	}
}

// forget forgets what was noted: something may have happened that was not seen.
func (w *Watcher) forget() {
	w.mu.Lock()
	clear(w.moved)
	w.mu.Unlock()
}

// renamed reports whether e is the new name of a file that had another one in a watched folder. It looks the same as a
// file that was created and may still be written to, but for the text of the event, which has the old name beside the
// new one, both in quotes.
func renamed(e fsnotify.Event) bool {
	return e.Has(fsnotify.Create) && strings.Contains(e.String(), `" ← "`)
}

// Moved reports whether fi is a file that was seen to be renamed into its place, from another name in a watched
// folder, and has not been touched since.
func (w *Watcher) Moved(fi fs.FileInfo) bool {
	is := stampOf(fi)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, was := range w.moved {
		if was == is {
			return true
		}
	}
	return false
}

func (w *Watcher) signal() {
	select {
	case w.c <- struct{}{}:
	default:
	}
}

// arm watches the folders that the paths lead through now, and reports whether these are others than before. It looks
// again until it finds nothing new: what was made in a folder before that was watched has no event.
func (w *Watcher) arm() (changed bool) {
	for w.armOnce() {
		changed = true
	}
	return changed
}

func (w *Watcher) armOnce() (changed bool) {
	if !w.open() {
		return false
	}
	want := map[string]bool{}
	for _, p := range w.paths {
		folders(p, 0, want)
		if w.strange[p] {
			continue
		}
		entries, err := os.ReadDir(p)
		if err != nil {
			continue // a file, or not there
		}
		for _, e := range entries { // files that are links to somewhere else
			if e.Type()&os.ModeSymlink != 0 {
				folders(filepath.Join(p, e.Name()), 0, want)
			}
		}
	}
	for dir, was := range w.have {
		if now, ok := inodeOf(dir); !want[dir] || !ok || now != was {
			_ = w.fs.Remove(dir) // gone already, where the folder is
			w.forget()
			delete(w.have, dir)
			changed = true
		}
	}
	for dir := range want {
		if _, ok := w.have[dir]; ok {
			continue
		}
		now, ok := inodeOf(dir)
		if !ok {
			continue
		}
		if !w.tried(dir, w.fs.Add(dir)) {
			continue
		}
		w.have[dir] = now
		changed = true
	}
	maps.DeleteFunc(w.failed, func(dir, _ string) bool { return !want[dir] })
	return changed
}

// open opens inotify(7), which a user can have only so often.
func (w *Watcher) open() bool {
	if w.fs != nil {
		return true
	}
	inotify, err := fsnotify.NewWatcher()
	if err == nil {
		w.fs = inotify
	}
	return w.tried("inotify", err)
}

// tried reports whether something worked. It is tried again and again, and said once.
func (w *Watcher) tried(path string, err error) bool {
	if err == nil {
		delete(w.failed, path)
		return true
	}
	if w.failed[path] != err.Error() {
		w.failed[path] = err.Error()
		w.log.Warn("not watched, and looked at from time to time", "path", path, "err", err)
	}
	return false
}

// maxLinks is the kernel's limit on links in one path (path_resolution(7)).
const maxLinks = 40

// folders adds the folders in which a change can change what path leads to: the one that holds its last existing
// component, those that hold the links on the way, and path itself if it is a folder.
func folders(path string, links int, out map[string]bool) {
	at := "/"
	parts := strings.Split(strings.Trim(filepath.Clean(path), "/"), "/")
	for i, part := range parts {
		next := filepath.Join(at, part)
		fi, err := os.Lstat(next)
		if err != nil {
			out[at] = true
			return
		}
		if fi.Mode()&os.ModeSymlink != 0 {
			out[at] = true
			target, err := os.Readlink(next)
			if err != nil || links >= maxLinks {
				return
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join(at, target)
			}
			folders(filepath.Join(append([]string{target}, parts[i+1:]...)...), links+1, out)
			return
		}
		if i == len(parts)-1 {
			out[at] = true // its being replaced
		}
		at = next
	}
	if fi, err := os.Stat(at); err == nil && fi.IsDir() {
		out[at] = true
	}
}

func inodeOf(path string) (inode, bool) {
	fi, err := os.Stat(path)
	if err != nil {
		return inode{}, false
	}
	st := fi.Sys().(*syscall.Stat_t)
	return inode{uint64(st.Dev), st.Ino}, true
}
