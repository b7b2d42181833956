package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// RemoveLeftovers removes the temporary files that a Write of path leaves when it is killed, or when nothing can be
// removed any more: they may hold a secret.
// The last element of path may be a pattern of filepath.Match. Nobody may be writing there meanwhile.
func RemoveLeftovers(path string) error {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !leftover(e.Name(), base) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// leftover reports whether renameio may have given this name to a temporary file for base: ".", base, and a random
// number of 63 bits. One in ten thousand of these is shorter than what is asked for here; a date never is longer.
func leftover(name, base string) bool {
	of := strings.TrimRight(name, "0123456789")
	if digits := len(name) - len(of); digits < 15 || digits > 19 {
		return false
	}
	hidden, ok := strings.CutPrefix(of, ".")
	matches, err := filepath.Match(base, hidden)
	return ok && matches && err == nil
}
