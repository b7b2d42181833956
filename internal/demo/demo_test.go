package main

import (
	"bytes"
	"context"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"wg-kube/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// The demo is the pipeline from end to end, so it is a test as well.
func TestDemo(t *testing.T) {
	lab.HasKernelWireGuard(t) // or a userspace device; else there is nothing to show
	var bin string
	for _, program := range []string{"wg-render", "wg-apply", "wg-device"} {
		bin = filepath.Dir(lab.Build(t, "wg-kube/cmd/"+program))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	d := &demo{bin: bin, out: &out}
	defer d.close()
	if err := d.tell(ctx); err != nil {
		d.showLogs()
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !regexp.MustCompile(`\d{4,} packets sent, 0 lost`).Match(out.Bytes()) {
		t.Errorf("it does not say that no packet was lost:\n%s", out.String())
	}
}
