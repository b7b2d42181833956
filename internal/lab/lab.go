// Package lab gives tests the real parts: network namespaces of their own, a kernel with WireGuard, an API server.
// What a test makes here is gone when the test ends, also when it fails.
package lab

import (
	"os"
	"testing"
)

// Skip ends a test that cannot run here, with the reason. Under WGKUBE_REQUIRE=all that is a failure.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("WGKUBE_REQUIRE") == "all" {
		t.Fatalf("cannot run, and WGKUBE_REQUIRE=all: %s", reason)
	}
	t.Skip(reason)
}
