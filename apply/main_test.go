package apply

import (
	"testing"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/trace"
)

func TestMain(m *testing.M) {
	trace.Main()
	lab.Main(m)
}
