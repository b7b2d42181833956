package atomicfile

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestWrite(t *testing.T) {
	for _, tc := range []struct {
		name   string
		before func(t *testing.T, path string)
		mode   os.FileMode
	}{
		{"a new file", func(*testing.T, string) {}, 0o640},
		{"over a file with a wider mode", func(t *testing.T, path string) { write(t, path, "old", 0o666) }, 0o600},
		{"a link is replaced and its target left alone", func(t *testing.T, path string) {
			target := filepath.Join(filepath.Dir(path), "target")
			write(t, target, "target", 0o600)
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if b, _ := os.ReadFile(target); string(b) != "target" {
					t.Errorf("the target of the link now says %q", b)
				}
			})
		}, 0o600},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "wg0.conf")
			tc.before(t, path)
			if err := Write(path, []byte("new"), tc.mode); err != nil {
				t.Fatal(err)
			}
			fi, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			if fi.Mode() != tc.mode {
				t.Errorf("mode %v, wanted %v", fi.Mode(), tc.mode)
			}
			if b, _ := os.ReadFile(path); string(b) != "new" {
				t.Errorf("content %q", b)
			}
			left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

func TestWriteGivesTheFileTheFoldersGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("not root: the group stays as it is, which is all that an ordinary user may do")
	}
	dir := t.TempDir()
	const gid = 4711
	chgrp := os.Chown(dir, -1, gid)
	path := filepath.Join(dir, "wg0.json")
	if err := Write(path, []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := fi.Sys().(*syscall.Stat_t).Gid; chgrp == nil && got != gid {
		t.Errorf("group %d, wanted the folder's, %d", got, gid)
	}
}

func TestWriteIfChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for i, tc := range []struct {
		text    string
		mode    os.FileMode
		changed bool
	}{
		{"one", 0o640, true},
		{"one", 0o640, false},
		{"one", 0o600, true},
		{"two", 0o600, true},
		{"two", 0o600, false},
	} {
		changed, err := WriteIfChanged(path, []byte(tc.text), tc.mode)
		if err != nil || changed != tc.changed {
			t.Errorf("write %d: changed %v, wanted %v; %v", i, changed, tc.changed, err)
		}
	}
}

func TestWriteWithoutTheFolderFails(t *testing.T) {
	if err := Write(filepath.Join(t.TempDir(), "no", "f"), nil, 0o600); err == nil {
		t.Error("no error")
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
