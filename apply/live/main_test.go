package live

import (
	"flag"
	"testing"
	"time"

	"wg-kube/internal/lab"
)

var (
	changes = flag.Int("changes", 100, "how often each change is made while packets are counted")
	within  = flag.Duration("within", 150*time.Second, "the time for all kinds of change together: what is slow is done less often")
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
