// Package files keeps what a file, or each file of a folder, says: read again when it changes, whole and not half.
// It is what the sources that read files have in common, whatever the files hold.
//
// It never forgets because of bad input: what a file said last stays its value while the file cannot be read, and
// a file is gone only when it has been gone for a while (git removes a file before it writes it anew). What was in a
// folder stays when the folder goes: a mount or a checkout is missing then, and who means it removes the files.
package files

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"wg-kube/internal/retry"
	"wg-kube/internal/watch"
)

// Config says which files and how they are read.
type Config[T any] struct {
	Path     string        // a file, a folder, or a link to one; it need not exist
	Suffixes []string      // which files of a folder count, by the end of their name; never those that begin with a dot
	Optional bool          // nothing at Path means that there is no file, where there was no folder with files; else it is a fault
	Quiet    time.Duration // how long a file must have been left alone before it is read, and be gone before it is dropped
	MaxSize  int64         // bytes; a larger file is a fault
	Parse    Parse[T]      // called once for each content

	Complete func(b []byte) bool          // b says itself that it is whole, and is read at once; nil: no file does
	Same     func(a, b T) bool            // the change from a to b is none; nil: every other content is a change
	Report   func(path string, err error) // called when a fault appears or changes, and with nil when it is gone; nil: nobody is told
	Log      *slog.Logger
}

// Parse makes of b, the content of the file at path, what it says. last is what it said before, the zero value if
// nothing. What Parse returns is the file's value even when there is an error with it.
type Parse[T any] func(path string, b []byte, last T) (T, error)

// File is one file and what it says.
type File[T any] struct {
	Path  string
	Value T     // what Parse made of it when it could be read last; the zero value: it never could
	Err   error // what is wrong with the file as it is now
	Good  bool  // it was read without an error once
}

// Files is a file or the files of a folder.
type Files[T any] struct {
	Config[T]
	watcher *watch.Watcher
	settler watch.Settler
	changed chan struct{}
	retry   retry.Backoff // what cannot be read may be so again without an event

	mu     sync.Mutex
	files  map[string]*file[T] // by path
	faults map[string]string   // by path: what was reported last
	synced bool
}

type file[T any] struct {
	File[T]
	version version   // of what was read; none: it must be read again
	sum     [32]byte  // of the content that was parsed
	missing time.Time // since when it is gone; zero: it is there
}

// New starts to watch. Run must be called to read anything.
func New[T any](c Config[T]) (*Files[T], error) {
	w, err := watch.New(c.Log, c.Path)
	if err != nil {
		return nil, err
	}
	return &Files[T]{
		Config:  c,
		watcher: w,
		settler: watch.Settler{Quiet: c.Quiet},
		retry:   retry.Backoff{First: time.Second, Last: time.Minute},
		changed: make(chan struct{}, 1),
		faults:  map[string]string{},
		files:   map[string]*file[T]{},
	}, nil
}

// Run reads until ctx is done. It returns nil.
func (f *Files[T]) Run(ctx context.Context) error {
	var watching sync.WaitGroup
	watching.Go(func() { f.watcher.Run(ctx) })
	defer watching.Wait()
	for {
		var again <-chan time.Time
		if wait := f.scan(time.Now()); wait > 0 {
			again = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-f.watcher.C:
		case <-again:
		}
	}
}

// Changed has a signal waiting when Snapshot may return something else than before.
func (f *Files[T]) Changed() <-chan struct{} { return f.changed }

// Snapshot returns the files by name. synced is false until each file that is there has been read once, well or badly.
func (f *Files[T]) Snapshot() (files []File[T], synced bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.files {
		files = append(files, one.File)
	}
	slices.SortFunc(files, func(a, b File[T]) int { return cmp.Compare(a.Path, b.Path) })
	return files, f.synced
}

// Faults returns how many files, the path itself included, cannot be read as they are now.
func (f *Files[T]) Faults() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.faults)
}

// scan reads what has changed. It returns when to scan again: zero, at the next event.
func (f *Files[T]) scan(now time.Time) (again time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	paths, err := f.list()
	changed, unread, failed := false, false, err != nil
	there := map[string]bool{}
	for _, path := range paths {
		there[path] = true
		c, wait := f.look(path, now)
		changed = changed || c
		one := f.files[path]
		unread = unread || one == nil
		failed = failed || one != nil && one.Err != nil && one.version == none
		again = sooner(again, wait)
	}
	if one := f.files[f.Path]; one != nil && err == nil { // not a folder: there is nothing to say beside what is said of it
		f.report(f.Path, one.Err)
	} else {
		f.report(f.Path, err)
	}
	for path, one := range f.files {
		if there[path] || err != nil {
			one.missing = time.Time{}
			continue
		}
		wait := f.miss(path, one, now)
		changed = changed || wait == 0
		again = sooner(again, wait)
	}
	if err == nil && !f.synced && !unread {
		f.synced, changed = true, true
	}
	if changed {
		select {
		case f.changed <- struct{}{}:
		default:
		}
	}
	if !failed {
		f.retry.Reset()
		return again
	}
	return sooner(again, f.retry.Next())
}

// sooner is the shorter of two waits, where zero is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return a + b
	}
	return min(a, b)
}

// list returns the paths of the files that there are.
func (f *Files[T]) list() ([]string, error) {
	fi, err := os.Stat(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && f.Optional && (len(f.files) == 0 || f.files[f.Path] != nil):
		return nil, nil
	case err != nil:
		return nil, Plain(err)
	case !fi.IsDir():
		return []string{f.Path}, nil
	}
	entries, err := os.ReadDir(f.Path)
	if err != nil {
		return nil, Plain(err)
	}
	var paths []string
	for _, e := range entries {
		name := e.Name()
		counts := func(suffix string) bool { return strings.HasSuffix(name, suffix) }
		if strings.HasPrefix(name, ".") || !slices.ContainsFunc(f.Suffixes, counts) {
			continue
		}
		path := filepath.Join(f.Path, name)
		if fi, err := os.Stat(path); err == nil && fi.IsDir() {
			continue
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// look reads the file at path if it is another one than was read. It returns how long it must still be left alone
// before it counts as quiet, zero if it does.
func (f *Files[T]) look(path string, now time.Time) (changed bool, wait time.Duration) {
	fi, err := os.Stat(path)
	if err != nil {
		if _, gone := os.Lstat(path); gone != nil {
			return false, f.Quiet // it went since the folder was read; a link to nowhere is a fault
		}
		return f.fault(path, Plain(err)), 0
	}
	one := f.files[path]
	if one != nil && one.version == versionOf(fi) {
		return false, 0
	}
	wait = f.settler.Wait(path, fi, now)
	if wait > 0 && f.Complete == nil {
		return false, wait
	}
	b, version, err := read(path, f.MaxSize)
	switch {
	case errors.Is(err, errUnsteady):
		return false, f.Quiet
	case err != nil:
		return f.fault(path, err), 0
	case wait > 0 && !f.Complete(b):
		return false, wait
	case wait > 0:
		version = none // to be looked at again when it is quiet
	}
	one = f.at(path)
	one.version = version
	if sum := sha256.Sum256(b); sum != one.sum {
		was := one.File
		one.sum = sum
		one.Value, one.Err = f.Parse(path, b, was.Value)
		one.Good = one.Good || one.Err == nil
		f.report(path, one.Err)
		changed = f.Same == nil || was.Err != nil || one.Err != nil || !f.Same(was.Value, one.Value)
	}
	return changed, wait
}

// fault keeps what the file said last, and says that it cannot be read now.
func (f *Files[T]) fault(path string, err error) (changed bool) {
	one := f.at(path)
	changed = one.Err == nil || one.Err.Error() != err.Error()
	one.Err, one.version, one.sum = err, none, [32]byte{}
	f.report(path, err)
	return changed
}

// miss drops the file when it has been gone for long enough. It returns how long that is from now.
func (f *Files[T]) miss(path string, one *file[T], now time.Time) (wait time.Duration) {
	if one.missing.IsZero() {
		one.missing = now
	}
	if wait = f.Quiet - now.Sub(one.missing); wait > 0 {
		return wait
	}
	delete(f.files, path)
	f.settler.Forget(path)
	f.report(path, nil)
	return 0
}

func (f *Files[T]) at(path string) *file[T] {
	if f.files[path] == nil {
		f.files[path] = &file[T]{File: File[T]{Path: path}}
	}
	return f.files[path]
}

// report tells of a fault once, and once that it is mended.
func (f *Files[T]) report(path string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if f.faults[path] == text {
		return
	}
	f.faults[path] = text
	if err == nil {
		delete(f.faults, path)
	}
	if f.Report != nil {
		f.Report(path, err)
	}
}
