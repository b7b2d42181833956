package wgquick

import (
	"bytes"
	"os"
	"testing"
)

// A key with a row in the table that Marshal does not know would be read and never written.
func TestEveryKeyIsWritten(t *testing.T) {
	text, err := os.ReadFile("../../testdata/wgquick/full.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		written := bytes.Contains(text, []byte("\n"+k.name+" = "))
		if want := k.name != "SaveConfig"; written != want {
			t.Errorf("[%s] %s is in full.conf: %v, want %v", k.section, k.name, written, want)
		}
	}
}
