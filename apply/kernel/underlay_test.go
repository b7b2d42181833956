package kernel

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTableNames(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rt_tables")
	text := "#\n# reserved values\n#\n255\tlocal\n0x10  hex\n\n 7 seven # a comment\nnot a table\n99999999999 big\n-1 minus\n12\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := map[string]uint32{}
	if err := readTables(file, got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]uint32{"local": 255, "hex": 16, "seven": 7}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if names, err := tableNames(); err != nil || names["main"] != 254 {
		t.Errorf("main is %d, %v", names["main"], err)
	}
}
