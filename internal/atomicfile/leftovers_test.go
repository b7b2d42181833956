package atomicfile

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/renameio/v2"
)

func TestRemoveLeftovers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "wg0.conf")
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	name, _ := filepath.Rel(dir, f.Name())
	if err := f.Cleanup(); err != nil || !regexp.MustCompile(`^\.wg0\.conf[0-9]{1,19}$`).MatchString(name) {
		t.Errorf("renameio calls its temporary file %q: %v", name, err)
	}
	for _, name := range []string{".wg0.conf9223372036854775807", ".wg0.conf123456789012345"} {
		write(t, filepath.Join(dir, name), "", 0o600)
	}
	stay := []string{
		".wg0.conf", ".wg0.conf.swp", ".wg0.conf20261122003552", ".wg1.conf1234567890123456789", ".wg0.conf1234567890123456789~",
		"wg0.conf", "wg0.conf1234567890123456789",
	}
	for _, name := range stay {
		write(t, filepath.Join(dir, name), "", 0o600)
	}
	if err := os.Mkdir(filepath.Join(dir, ".wg0.conf1234567890123456780"), 0o700); err != nil {
		t.Fatal(err)
	}
	stay = append(stay, ".wg0.conf1234567890123456780")
	if err := RemoveLeftovers(path); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	slices.Sort(stay)
	if !slices.Equal(left, stay) {
		t.Errorf("left is %q\nwant %q", left, stay)
	}
	if err := RemoveLeftovers(filepath.Join(dir, "*.conf")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".wg1.conf1234567890123456789")); err == nil {
		t.Error("a pattern is not understood")
	}
	if err := RemoveLeftovers(filepath.Join(dir, "nosuch", "wg0.conf")); err != nil {
		t.Error(err)
	}
}
