package watch

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// hang bounds a wait for something that takes milliseconds.
const hang = 30 * time.Second

func TestEveryWayAFolderChangesIsSeen(t *testing.T) {
	write := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(t *testing.T, target, path string) {
		t.Helper()
		if err := os.Symlink(target, path+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name   string
		watch  string // below the test's folder
		before func(t *testing.T, dir string)
		change []func(t *testing.T, dir string) // each must be seen
	}{
		{
			"a file is written, renamed over, removed", "d",
			func(t *testing.T, dir string) { write(t, dir+"/d/a", "1") },
			[]func(*testing.T, string){
				func(t *testing.T, dir string) { write(t, dir+"/d/a", "2") },
				func(t *testing.T, dir string) { write(t, dir+"/d/.b", "3"); rename(t, dir+"/d/.b", dir+"/d/a") },
				func(t *testing.T, dir string) { os.Remove(dir + "/d/a") },
			},
		},
		{
			"a single file is watched", "d/a",
			func(t *testing.T, dir string) { write(t, dir+"/d/a", "1") },
			[]func(*testing.T, string){
				func(t *testing.T, dir string) { write(t, dir+"/d/.b", "3"); rename(t, dir+"/d/.b", dir+"/d/a") },
				func(t *testing.T, dir string) { write(t, dir+"/d/a", "4") },
			},
		},
		{
			"nothing is there yet, not even the parents", "x/y/z",
			func(*testing.T, string) {},
			[]func(*testing.T, string){
				func(t *testing.T, dir string) { write(t, dir+"/x/y/z/a", "1") },
				func(t *testing.T, dir string) { write(t, dir+"/x/y/z/a", "2") },
			},
		},
		{
			"the folder is a link that is swapped", "d",
			func(t *testing.T, dir string) {
				write(t, dir+"/v1/a", "1")
				write(t, dir+"/v2/a", "2")
				link(t, "v1", dir+"/d")
			},
			[]func(*testing.T, string){
				func(t *testing.T, dir string) { link(t, "v2", dir+"/d") },
				func(t *testing.T, dir string) { write(t, dir+"/v2/a", "3") },
			},
		},
		{
			"a parent is a link that is swapped", "cur/peers",
			func(t *testing.T, dir string) {
				write(t, dir+"/v1/peers/a", "1")
				write(t, dir+"/v2/peers/a", "2")
				link(t, "v1", dir+"/cur")
			},
			[]func(*testing.T, string){
				func(t *testing.T, dir string) { link(t, "v2", dir+"/cur") },
				func(t *testing.T, dir string) { write(t, dir+"/v2/peers/b", "3") },
			},
		},
		{
			"a mounted ConfigMap is updated", "d",
			func(t *testing.T, dir string) {
				write(t, dir+"/d/..v1/a.conf", "1")
				link(t, "..v1", dir+"/d/..data")
				link(t, "..data/a.conf", dir+"/d/a.conf")
			},
			[]func(*testing.T, string){
				func(t *testing.T, dir string) { write(t, dir+"/d/..v2/a.conf", "2"); link(t, "..v2", dir+"/d/..data") },
				func(t *testing.T, dir string) { write(t, dir+"/d/..v3/a.conf", "3"); link(t, "..v3", dir+"/d/..data") },
			},
		},
		{
			"files are links into a checkout elsewhere", "d",
			func(t *testing.T, dir string) {
				write(t, dir+"/git/a.conf", "1")
				write(t, dir+"/d/.keep", "")
				link(t, "../git/a.conf", dir+"/d/a.conf")
			},
			[]func(*testing.T, string){
				func(t *testing.T, dir string) { write(t, dir+"/git/a.conf", "2") },
			},
		},
		{
			"the folder is removed and made again", "d",
			func(t *testing.T, dir string) { write(t, dir+"/d/a", "1") },
			[]func(*testing.T, string){
				func(t *testing.T, dir string) { os.RemoveAll(dir + "/d") },
				func(t *testing.T, dir string) { write(t, dir+"/d/a", "2") },
				func(t *testing.T, dir string) { write(t, dir+"/d/a", "3") },
			},
		},
		{
			"the folder is renamed away and another takes its place", "d",
			func(t *testing.T, dir string) { write(t, dir+"/d/a", "1"); write(t, dir+"/e/a", "2") },
			[]func(*testing.T, string){
				func(t *testing.T, dir string) { rename(t, dir+"/d", dir+"/old"); rename(t, dir+"/e", dir+"/d") },
				func(t *testing.T, dir string) { write(t, dir+"/d/a", "3") },
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			tc.before(t, dir)
			w, err := New(slog.New(slog.NewTextHandler(io.Discard, nil)), filepath.Join(dir, tc.watch))
			if err != nil {
				t.Fatal(err)
			}
			go w.Run(t.Context())
			for i, change := range tc.change {
				quiet(w)
				change(t, dir)
				select {
				case <-w.C:
				case <-time.After(hang):
					t.Fatalf("change %d was not seen", i+1)
				}
			}
		})
	}
}

// quiet waits until the last change has been told of in full.
func quiet(w *Watcher) {
	for {
		select {
		case <-w.C:
		case <-time.After(50 * time.Millisecond):
			return
		}
	}
}

func TestMoved(t *testing.T) {
	write := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, d, elsewhere string) // of d + "a"
		want   bool
	}{
		{"renamed over it", func(t *testing.T, d, _ string) { write(t, d+".b", "2"); rename(t, d+".b", d+"a") }, true},
		{"renamed, where there was none", func(t *testing.T, d, _ string) { os.Remove(d + "a"); write(t, d+"b", "2"); rename(t, d+"b", d+"a") }, true},
		{"two times", func(t *testing.T, d, _ string) {
			for range 2 {
				write(t, d+"b", "2")
				rename(t, d+"b", d+"a")
			}
		}, true},
		{"written in place", func(t *testing.T, d, _ string) { write(t, d+"a", "2") }, false},
		{"renamed, and written to", func(t *testing.T, d, _ string) {
			write(t, d+"b", "2")
			rename(t, d+"b", d+"a")
			time.Sleep(20 * time.Millisecond)
			write(t, d+"a", "3")
		}, false},
		{"made anew", func(t *testing.T, d, _ string) { os.Remove(d + "a"); write(t, d+"a", "2") }, false},
		{"made anew after it was renamed, as by an editor", func(t *testing.T, d, _ string) { rename(t, d+"a", d+"a~"); write(t, d+"a", "2") }, false},
		{"made anew after it was renamed away", func(t *testing.T, d, e string) { rename(t, d+"a", e+"a"); write(t, d+"a", "2") }, false},
		{"renamed from elsewhere: nobody saw where from", func(t *testing.T, d, e string) { write(t, e+"a", "2"); rename(t, e+"a", d+"a") }, false},
		{"a name that looks like an event", func(t *testing.T, d, _ string) {
			os.Remove(d + "a")
			write(t, d+`a" ← "b`, "2")
			if err := os.Link(d+`a" ← "b`, d+"a"); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, elsewhere := t.TempDir()+"/", t.TempDir()+"/"
			write(t, d+"a", "1")
			w, err := New(slog.New(slog.DiscardHandler), d)
			if err != nil {
				t.Fatal(err)
			}
			go w.Run(t.Context())
			tc.change(t, d, elsewhere)
			select {
			case <-w.C:
			case <-time.After(hang):
				t.Fatal("nothing was seen")
			}
			quiet(w)
			fi, err := os.Stat(d + "a")
			if err != nil {
				t.Fatal(err)
			}
			if got := w.Moved(fi); got != tc.want {
				t.Errorf("moved is %v, want %v", got, tc.want)
			}
		})
	}
}

// In a folder of somebody else a link leads nowhere, and costs no watch; what is written there is seen all the same.
func TestNoLinkOfAStrangerIsFollowed(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"ours", "theirs", "elsewhere/a", "elsewhere/b"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"ours/wg0.conf": "a", "theirs/wg0.conf": "b", "theirs/l1": "b", "theirs/l2": "../theirs/l1"} {
		if err := os.Symlink(filepath.Join(dir, "elsewhere", to), filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	w, err := NewBeside(slog.New(slog.DiscardHandler), []string{filepath.Join(dir, "theirs")}, filepath.Join(dir, "ours"))
	if err != nil {
		t.Fatal(err)
	}
	_, a := w.have[filepath.Join(dir, "elsewhere/a")]
	_, b := w.have[filepath.Join(dir, "elsewhere/b")]
	if !a || b {
		t.Errorf("our link is followed: %t, that of a stranger: %t", a, b)
	}
	go w.Run(t.Context())
	if err := os.WriteFile(filepath.Join(dir, "theirs", "wg1.conf"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.C:
	case <-time.After(hang):
		t.Error("nothing was seen")
	}
}

func TestWorkingFolderThatCannotBeEntered(t *testing.T) {
	dir := t.TempDir() + "/gone"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	_, err := New(slog.New(slog.DiscardHandler), "nodes.yaml")
	const want = "nodes.yaml: relative to the working folder, which cannot be entered: no such file or directory"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLinkLoopEnds(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("b", dir+"/a"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", dir+"/b"); err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	folders(dir+"/a/c", 0, out)
	if !out[dir] {
		t.Errorf("folders %v, wanted %s among them", out, dir)
	}
}

func TestSettler(t *testing.T) {
	const quiet = time.Second
	path := filepath.Join(t.TempDir(), "f")
	stat := func() os.FileInfo {
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return fi
	}
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1")
	now := time.Now()
	s := &Settler{Quiet: quiet}
	if d := s.Wait(path, stat(), now); d <= 0 || d > quiet {
		t.Errorf("a file just written: wait %v, wanted about %v", d, quiet)
	}
	if d := s.Wait(path, stat(), now.Add(quiet)); d != 0 {
		t.Errorf("left alone for as long as that: wait %v, wanted none", d)
	}
	write("22")
	if d := s.Wait(path, stat(), now.Add(quiet)); d != quiet {
		t.Errorf("changed after it was seen: wait %v, wanted %v", d, quiet)
	}
	if d := (&Settler{Quiet: quiet}).Wait(path, stat(), now.Add(time.Hour)); d != 0 {
		t.Errorf("an old file at the first look: wait %v, wanted none", d)
	}
	if d := (&Settler{Quiet: quiet}).Wait(path, stat(), now.Add(-time.Hour)); d != quiet {
		t.Errorf("a file from the future: wait %v, wanted %v", d, quiet)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}
