// Package lab gives tests the real parts: hosts made of namespaces, programs built once, a kernel with WireGuard,
// an API server. What a test makes here is gone when the test ends, also when it fails.
//
// A package whose tests need hosts says so once:
//
//	func TestMain(m *testing.M) { lab.Main(m) }
package lab

import (
	"fmt"
	"os"
	"testing"

	"wg-kube/internal/lab/hosts"
)

// why holds the reason why there can be no hosts here.
const why = "WGKUBE_LAB_UNAVAILABLE"

// Main runs the tests of a package behind a wall of namespaces of their own, and exits. Where there can be none
// they run as they are: those that need hosts then skip, and the others work.
func Main(m *testing.M) {
	if err := hosts.Enter(); err != nil {
		_ = os.Setenv(why, err.Error())
	}
	os.Exit(m.Run())
}

// Need skips a test that makes or changes interfaces where it would do so on the machine itself.
func Need(t testing.TB) {
	t.Helper()
	if hosts.Inside() {
		return
	}
	reason := os.Getenv(why)
	if reason == "" {
		reason = "TestMain does not call lab.Main"
	}
	Skip(t, reason)
}

// Skip ends a test that cannot run here, with the reason. Under WGKUBE_REQUIRE=all that is a failure.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("WGKUBE_REQUIRE") == "all" {
		t.Fatalf("cannot run, and WGKUBE_REQUIRE=all: %s", reason)
	}
	t.Skip(reason)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tail(s string) string {
	const most = 16 << 10
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("... (%d bytes left out)\n%s", len(s)-most, s[len(s)-most:])
}
