package main

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// The demo is the pipeline from end to end, so it is a test as well.
func TestDemo(t *testing.T) {
	lab.HasKernelWireGuard(t) // or a userspace device; else there is nothing to show
	for _, name := range []string{"NODE_NAME", "WG_ADDRESS", "KUBECONFIG", "HUB_ALLOWED_IPS", "ANNOTATION_PREFIX"} {
		t.Setenv(name, "meant for somebody else")
	}
	var bin string
	for _, program := range []string{"wg-render", "wg-apply", "wg-device"} {
		bin = filepath.Dir(lab.Build(t, "wg-kube/cmd/"+program))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	d := &demo{bin: bin, out: &out}
	defer d.close()
	began := time.Now()
	if err := d.tell(ctx); err != nil {
		d.showLogs()
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Logf("told in %v: %s", time.Since(began), regexp.MustCompile(`[\d.]+ s later`).Find(out.Bytes()))
	if !regexp.MustCompile(`\d{4,} packets sent, 0 lost`).Match(out.Bytes()) {
		t.Errorf("it does not say that no packet was lost:\n%s", out.String())
	}
}

func TestDaemonThatEnds(t *testing.T) {
	lab.Need(t)
	d := &demo{bin: "/nonexistent", out: io.Discard}
	defer d.close()
	began := time.Now()
	err := d.tell(t.Context())
	if err == nil || !strings.HasSuffix(err.Error(), "hub: wg-apply ended: exit status 127") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("that took %v", took)
	}
}
