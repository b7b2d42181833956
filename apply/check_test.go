package apply

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wg-kube/templates/wgquick"
)

// zeros never ends.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestFilesThatAreTooLong(t *testing.T) {
	if b, err := readAll("x", io.LimitReader(zeros{}, wgquick.MaxSize), 0); err != nil || len(b) != wgquick.MaxSize {
		t.Errorf("the longest that is read: %d bytes, %v", len(b), err)
	}
	// It was short enough when it was opened. Its first part alone may be a valid file with fewer peers.
	if _, err := readAll("x", zeros{}, 0); err == nil || !strings.HasPrefix(err.Error(), "x: more than") {
		t.Errorf("one that is longer: %v", err)
	}
	path := filepath.Join(t.TempDir(), "wg0.conf")
	write(t, path, "[Interface]\n")
	must(t, os.Truncate(path, wgquick.MaxSize+1))
	if err := Check(path, false); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("checked: %v", err)
	}
}
