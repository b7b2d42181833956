package lab

import (
	"fmt"
	"os"
	"testing"
)

// Figures is the environment variable with a file that takes what tests have measured, for whoever runs them.
const Figures = "WGKUBE_FIGURES"

// Figure tells what a test has measured, in one line.
func Figure(t testing.TB, format string, args ...any) {
	t.Helper()
	line := fmt.Sprintf(format, args...)
	t.Log(line)
	path := os.Getenv(Figures)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	check(t, err)
	defer f.Close()
	_, err = fmt.Fprintf(f, "%s: %s\n", t.Name(), line)
	check(t, err)
}
