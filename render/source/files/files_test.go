package files

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const quiet = 50 * time.Millisecond

// folder is a folder under test, with a source of strings that watches it. A content that begins with "bad" does
// not parse; one that ends with "!" says that it is complete.
type folder struct {
	t       *testing.T
	path    string
	files   *Files[string]
	mu      sync.Mutex
	reports []string
}

func watching(t *testing.T, path string, change func(*Config[string])) *folder {
	t.Helper()
	d := &folder{t: t, path: path}
	c := Config[string]{
		Path:     path,
		Suffixes: []string{".conf"},
		Optional: true,
		Quiet:    quiet,
		MaxSize:  1000,
		Parse: func(path string, b []byte, last string) (string, error) {
			if strings.HasPrefix(string(b), "bad") {
				return last, errors.New(string(b))
			}
			return string(b), nil
		},
		Report: func(path string, err error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.reports = append(d.reports, fmt.Sprintf("%s: %v", filepath.Base(path), err))
		},
		Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&c)
	}
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	d.files = f
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = f.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	return d
}

// state is the snapshot in one line: NAME=VALUE or NAME=VALUE(ERROR), and "..." if it is not synced.
func (d *folder) state() string {
	files, synced := d.files.Snapshot()
	var s []string
	for _, f := range files {
		one := filepath.Base(f.Path) + "=" + f.Value
		if f.Err != nil {
			one += "(" + strings.ReplaceAll(f.Err.Error(), d.path+"/", "") + ")"
		}
		s = append(s, one)
	}
	if !synced {
		s = append(s, "...")
	}
	return strings.Join(s, " ")
}

// becomes waits for a state, and fails when there was another than those in passing.
func (d *folder) becomes(want string, passing ...string) {
	d.t.Helper()
	allowed := map[string]bool{d.state(): true, want: true}
	for _, p := range passing {
		allowed[p] = true
	}
	end := time.After(5 * time.Second)
	for {
		got := d.state()
		if got == want {
			return
		}
		if !allowed[got] {
			d.t.Fatalf("on the way to %q: %q", want, got)
		}
		select {
		case <-d.files.Changed():
		case <-time.After(time.Millisecond):
		case <-end:
			d.t.Fatalf("want %q, it stays %q", want, got)
		}
	}
}

func (d *folder) stays(want string) {
	d.t.Helper()
	for end := time.Now().Add(4 * quiet); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if got := d.state(); got != want {
			d.t.Fatalf("want %q, it became %q", want, got)
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestWhichFilesCount(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/b.conf", "B")
	write(t, dir+"/a.conf", "A")
	write(t, dir+"/.hidden.conf", "no")
	write(t, dir+"/a.conf.bak", "no")
	must(t, os.Mkdir(dir+"/folder.conf", 0o755))
	watching(t, dir, nil).becomes("a.conf=A b.conf=B", "a.conf=A ...", "b.conf=B ...")
}

func TestPathIsOneFile(t *testing.T) {
	path := t.TempDir() + "/any.name"
	write(t, path, "one")
	d := watching(t, path, nil)
	d.becomes("any.name=one")
	write(t, path, "two")
	d.becomes("any.name=two")
}

func TestFolderThatIsNotThere(t *testing.T) {
	dir := t.TempDir() + "/not/yet"
	d := watching(t, dir, nil)
	d.becomes("")
	must(t, os.MkdirAll(dir, 0o755))
	write(t, dir+"/a.conf", "A")
	d.becomes("a.conf=A")
}

// A folder that comes back is empty at first, however long it was gone.
func TestFolderThatGoesAndComesBack(t *testing.T) {
	dir := t.TempDir() + "/a/folder"
	must(t, os.MkdirAll(dir, 0o755))
	write(t, dir+"/a.conf", "A")
	d := watching(t, dir, nil)
	d.becomes("a.conf=A")
	for range 3 {
		must(t, os.Remove(dir+"/a.conf"), os.RemoveAll(filepath.Dir(dir)))
		d.stays("a.conf=A")
		if d.files.Faults() == 0 {
			t.Error("nobody is told")
		}
		must(t, os.MkdirAll(dir, 0o755))
		time.Sleep(quiet / 5)
		write(t, dir+"/a.conf", "A")
		d.stays("a.conf=A")
	}
	must(t, os.Remove(dir+"/a.conf"))
	d.becomes("")
	must(t, os.Remove(dir))
	d.stays("")
	if d.files.Faults() != 0 {
		t.Error("a folder that holds none, and goes, is no fault")
	}
}

func TestOneFileThatGoes(t *testing.T) {
	path := t.TempDir() + "/any.name"
	write(t, path, "one")
	d := watching(t, path, nil)
	d.becomes("any.name=one")
	must(t, os.Remove(path))
	d.becomes("")
}

func TestRequiredPathThatIsNotThere(t *testing.T) {
	dir := t.TempDir() + "/not/yet"
	d := watching(t, dir, func(c *Config[string]) { c.Optional = false })
	d.stays("...")
	must(t, os.MkdirAll(dir, 0o755))
	write(t, dir+"/a.conf", "A")
	d.becomes("a.conf=A", "") // the folder is seen first
	must(t, os.RemoveAll(dir))
	d.stays("a.conf=A")
}

func TestFileWithoutEndMarkIsReadWhenQuiet(t *testing.T) {
	dir := t.TempDir()
	d := watching(t, dir, nil)
	d.becomes("")
	f, err := os.Create(dir + "/a.conf")
	must(t, err)
	for range 10 {
		_, err := f.WriteString("x")
		must(t, err)
		time.Sleep(quiet / 5)
		if got := d.state(); got != "" {
			t.Fatalf("read while it was being written: %q", got)
		}
	}
	must(t, f.Close())
	d.becomes("a.conf=xxxxxxxxxx")
}

func TestFileWithEndMarkIsReadAtOnce(t *testing.T) {
	dir := t.TempDir()
	d := watching(t, dir, func(c *Config[string]) {
		c.Quiet = time.Hour
		c.Complete = func(b []byte) bool { return strings.HasSuffix(string(b), "!") }
	})
	d.becomes("")
	write(t, dir+"/a.conf", "half")
	d.stays("")
	write(t, dir+"/a.conf", "whole!")
	d.becomes("a.conf=whole!")
	write(t, dir+"/a.conf", "again!")
	d.becomes("a.conf=again!")
}

func TestBrokenFileKeepsItsLastValue(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a.conf", "A")
	write(t, dir+"/b.conf", "B")
	d := watching(t, dir, nil)
	d.becomes("a.conf=A b.conf=B", "a.conf=A ...", "b.conf=B ...")
	write(t, dir+"/a.conf", "bad")
	d.becomes("a.conf=A(bad) b.conf=B")
	write(t, dir+"/b.conf", "B2")
	d.becomes("a.conf=A(bad) b.conf=B2")
	must(t, os.WriteFile(dir+"/a.conf", []byte("A2"), 0o644))
	d.becomes("a.conf=A2 b.conf=B2")
	if diff := cmp.Diff([]string{"a.conf: bad", "a.conf: <nil>"}, d.reports); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
}

// So it is where the path is that of a file, whatever else happens in its folder.
func TestAFaultOfOneFileIsReportedOnce(t *testing.T) {
	path := t.TempDir() + "/a.conf"
	d := watching(t, path, nil)
	for _, tt := range []struct {
		content, state string
		faults         int
	}{
		{"bad", "a.conf=(bad)", 1},
		{strings.Repeat("x", 1001), "a.conf=(" + path + ": larger than 1000 bytes)", 1},
		{"A", "a.conf=A", 0},
	} {
		write(t, path, tt.content)
		d.becomes(tt.state, "", "...")
		for range 3 {
			d.files.scan(time.Now())
		}
		if got := d.files.Faults(); got != tt.faults {
			t.Errorf("%s: %d faults are counted", tt.state, got)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if diff := cmp.Diff([]string{"a.conf: bad", "a.conf: " + path + ": larger than 1000 bytes", "a.conf: <nil>"}, d.reports); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
}

func TestFileThatIsNone(t *testing.T) {
	for name, tc := range map[string]struct {
		make func(path string) error
		want string
	}{
		"fifo":            {func(p string) error { return syscall.Mkfifo(p, 0o644) }, "a.conf: a regular file is wanted, this is a fifo"},
		"device":          {func(p string) error { return os.Symlink("/dev/null", p) }, "a.conf: a regular file is wanted, this is a device"},
		"link to nowhere": {func(p string) error { return os.Symlink("nowhere", p) }, "a.conf: no such file or directory"},
		"too large":       {func(p string) error { return os.WriteFile(p, make([]byte, 1001), 0o644) }, "a.conf: larger than 1000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, tc.make(dir+"/a.conf"))
			write(t, dir+"/b.conf", "B")
			d := watching(t, dir, nil)
			d.becomes("a.conf=("+tc.want+") b.conf=B", "a.conf=("+tc.want+") ...", "b.conf=B ...")
			must(t, os.Remove(dir+"/a.conf"))
			write(t, dir+"/a.conf", "A")
			d.becomes("a.conf=A b.conf=B")
		})
	}
}

func TestGitWritesAFileAnew(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a.conf", "A")
	d := watching(t, dir, nil)
	d.becomes("a.conf=A")
	must(t, os.Remove(dir+"/a.conf"))
	write(t, dir+"/a.conf", "A2")
	d.becomes("a.conf=A2") // and never "": becomes fails on it
	write(t, dir+"/.tmp", "A3")
	must(t, os.Rename(dir+"/.tmp", dir+"/a.conf"))
	d.becomes("a.conf=A3")
}

func TestFolderSwappedByItsLink(t *testing.T) {
	top := t.TempDir()
	must(t, os.Mkdir(top+"/v1", 0o755), os.Mkdir(top+"/v2", 0o755), os.Symlink("v1", top+"/now"))
	write(t, top+"/v1/a.conf", "A1")
	write(t, top+"/v2/a.conf", "A2")
	d := watching(t, top+"/now", nil)
	d.becomes("a.conf=A1")
	must(t, os.Symlink("v2", top+"/next"), os.Rename(top+"/next", top+"/now"))
	d.becomes("a.conf=A2")
	write(t, top+"/v2/b.conf", "B")
	d.becomes("a.conf=A2 b.conf=B")
}

func TestMountedConfigMap(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/..2026_1", 0o755), os.Symlink("..2026_1", dir+"/..data"), os.Symlink("..data/a.conf", dir+"/a.conf"))
	write(t, dir+"/..2026_1/a.conf", "A1")
	d := watching(t, dir, nil)
	d.becomes("a.conf=A1")
	must(t, os.Mkdir(dir+"/..2026_2", 0o755))
	write(t, dir+"/..2026_2/a.conf", "A2")
	must(t, os.Symlink("..2026_2", dir+"/..data_tmp"), os.Rename(dir+"/..data_tmp", dir+"/..data"))
	must(t, os.RemoveAll(dir+"/..2026_1"))
	d.becomes("a.conf=A2")
}

func TestSameContentIsNoChange(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a.conf", "A")
	d := watching(t, dir, nil)
	d.becomes("a.conf=A")
	select {
	case <-d.files.Changed():
	default:
	}
	write(t, dir+"/a.conf", "A")
	select {
	case <-d.files.Changed():
		t.Error("it is said to have changed")
	case <-time.After(4 * quiet):
	}
}
