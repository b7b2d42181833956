package apply

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzReadKey reads any file as a private key. No error shows what is in it.
func FuzzReadKey(f *testing.F) {
	f.Add([]byte("AAABZIOiweD/Hj1ce5q52PcWNVRzkrHQ7w4tTGuKqUg=\n"))
	f.Add([]byte("AAABZIOiweD/Hj1ce5q52PcWNVRzkrHQ7w4tTGuKqUgx=\n"))
	f.Add([]byte(strings.Repeat("x", 300)))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "k")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		key, err := ReadKey(path)
		if (err == nil) == key.IsZero() {
			t.Errorf("%v, and zero: %v", err, key.IsZero())
		}
		if text := strings.TrimSpace(string(b)); len(text) > 8 && err != nil && strings.Contains(strings.TrimPrefix(err.Error(), path), text) {
			t.Errorf("%q is shown: %v", text, err)
		}
	})
}
