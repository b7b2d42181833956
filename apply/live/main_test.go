//go:build live

package live

import (
	"flag"
	"testing"

	"wg-kube/internal/lab"
)

var (
	// The full run takes 100. With fewer the package takes a few minutes on either kernel.
	changes = flag.Int("changes", 10, "how often each change is made while packets are counted")
	update  = flag.Bool("update", false, "write what was lost into docs/loss.md")
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "8") // they mostly wait; -parallel still has the last word
	lab.Main(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
