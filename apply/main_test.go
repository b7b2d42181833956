package apply

import (
	"testing"

	"wg-kube/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
