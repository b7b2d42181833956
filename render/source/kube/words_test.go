package kube

import (
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What a credential lacks is said with the file first, and in few words.
func TestWhatIsWrongWithAKubeconfig(t *testing.T) {
	const cluster = "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://192.0.2.1:6443'}}]\n"
	for name, tc := range map[string]struct{ content, want string }{
		"empty":         {"", "not there, or empty"},
		"junk":          {"hello", "no kubeconfig: cannot unmarshal string"},
		"not YAML":      {"\t{[", "yaml: found character that cannot start any token"},
		"another kind":  {"apiVersion: v1\nkind: Pod\n", `no kind "Pod" is registered for version "v1"`},
		"a number":      {"apiVersion: v1\nclusters: 7\n", "no kubeconfig: cannot unmarshal number"},
		"no context":    {cluster, "no current-context"},
		"no such files": {cluster + "users: [{name: u, user: {client-certificate: /no/c, client-key: /no/k}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n", "unable to read client-cert /no/c for u due to open /no/c: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kubeconfig")
			if err := os.WriteFile(path, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := load(path); err == nil || err.Error() != path+": "+tc.want {
				t.Errorf("got %v\nwant %s: %s", err, path, tc.want)
			}
		})
	}
	if _, err := load("/not/there"); err == nil || err.Error() != "/not/there: not there, or empty" {
		t.Errorf("a file that is not there: %v", err)
	}
}

// What became of a request is said without its long URL.
func TestShort(t *testing.T) {
	ask := func(err error) error {
		return &url.Error{Op: "Get", URL: "https://203.0.113.8:6443/api/v1/nodes?timeoutSeconds=534", Err: err}
	}
	dial := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(203, 0, 113, 8), Port: 6443},
		Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}
	for want, err := range map[string]error{
		"203.0.113.8:6443: connect: no route to host":          ask(dial),
		"203.0.113.8:6443: context deadline exceeded":          ask(errors.New("context deadline exceeded")),
		`nodes is forbidden: User "system:node:a" cannot list`: errors.New(`nodes is forbidden: User "system:node:a" cannot list`),
	} {
		if got := short(err).Error(); got != want || strings.Contains(got, "timeoutSeconds") {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
