package wgquick_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wg-kube/templates/wgquick"
)

// FuzzParse holds Parse and Marshal to their laws, on any bytes:
// Parse does not panic; a fault has a line and shows no secret;
// what is accepted can be written, and reads back the same; writing it twice gives the same bytes.
func FuzzParse(f *testing.F) {
	good, bad := snippets(f)
	for _, s := range append(good, bad...) {
		f.Add([]byte(s))
	}
	files, err := filepath.Glob(filepath.Join(testdata, "*.conf"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden files: %v", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := wgquick.Parse("a", b)
		if err != nil {
			var faults wgquick.Faults
			if !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("%T is not a list of faults", err)
			}
			for _, fault := range faults {
				if (fault.Line < 1 || fault.Line > bytes.Count(b, []byte("\n"))+1) && len(faults) < 1000 {
					t.Errorf("no such line: %s", fault)
				}
				if secret := fault.Key == "PrivateKey" || fault.Key == "PresharedKey"; secret && strings.Contains(fault.Msg, `"`) {
					t.Errorf("shows a secret: %s", fault)
				}
			}
			return
		}
		if c.End != wgquick.Complete(b) {
			t.Errorf("End is %v, Complete is not", c.End)
		}
		first, err := c.Marshal()
		if err != nil {
			t.Fatalf("read but not written: %v", err)
		}
		back, err := wgquick.Parse("back", first)
		if err != nil {
			t.Fatalf("written but not read: %v\n%s", err, first)
		}
		if d := compare(c, back); d != "" {
			t.Fatalf("reads back as something else (-want +got):\n%s", d)
		}
		if !c.SameMeaning(back) {
			t.Error("SameMeaning does not think so")
		}
		second, err := back.Marshal()
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("written twice: %v\n%s\n%s", err, first, second)
		}
	})
}
