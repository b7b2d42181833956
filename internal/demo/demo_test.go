package main

import (
	"bytes"
	"context"
	"errors"
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
	// A machine that is busy with other tests loses packets by itself, now and then. apply/live tells the two apart.
	const tries = 3
	for n := 1; ; n++ {
		out, err := told(t, bin)
		if err == nil && regexp.MustCompile(`\d{4,} packets sent, 0 lost`).MatchString(out) {
			return
		}
		if n == tries || !errors.Is(err, errLost) {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

// told is what the demo says.
func told(t *testing.T, bin string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	d := &demo{bin: bin, out: &out}
	defer d.close()
	err := d.tell(ctx)
	if err != nil {
		d.showLogs()
	}
	return out.String(), err
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
