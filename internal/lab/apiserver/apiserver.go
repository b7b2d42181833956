// Package apiserver runs a real kube-apiserver on loopback, on an etcd of its own, for tests: RBAC, the Node
// authorizer and NodeRestriction are on, as in any cluster. No kubelet and no controller runs, so nothing changes
// that the test does not change. It needs no root and no network.
//
// The binaries are built from the module in build/ by build.sh: once, in minutes, into the user's cache.
package apiserver

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"wg-kube/internal/lab"
)

// ErrNoBinaries says that kube-apiserver, kubectl and etcd are not there and cannot be built here.
var ErrNoBinaries = errors.New("no kube-apiserver, kubectl and etcd: run internal/lab/apiserver/build.sh to see why")

// startTimeout is far above the three seconds that it takes on an idle machine.
const startTimeout = 90 * time.Second

// Server is a running kube-apiserver.
type Server struct {
	bin, dir  string
	url       string
	ca        *authority
	admin     *rest.Config
	etcd, api *process
}

// Start runs a server until the test ends. Where that cannot be, the test is skipped with the reason.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := New()
	if errors.Is(err, ErrNoBinaries) {
		lab.Skip(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// New is Start for several tests that share a server. Close ends it.
func New() (_ *Server, err error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "wg-kube-apiserver-")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	if s.ca, err = newAuthority(); err != nil {
		return nil, err
	}
	if err := s.ca.writeServerFiles(dir); err != nil {
		return nil, err
	}
	if s.admin, err = s.user("admin", "system:masters"); err != nil {
		return nil, err
	}
	etcd := "http://" + ports[0]
	s.url = "https://" + ports[1]
	s.admin.Host = s.url
	if err := os.WriteFile(s.kubeconfig(), Kubeconfig(s.admin), 0o600); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(ports[1])

	s.etcd = newProcess(filepath.Join(bin, "etcd"),
		"--data-dir="+filepath.Join(dir, "etcd"),
		"--unsafe-no-fsync",
		"--listen-client-urls="+etcd,
		"--advertise-client-urls="+etcd,
		"--listen-peer-urls=http://127.0.0.1:0",
	)
	s.api = newProcess(filepath.Join(bin, "kube-apiserver"),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--secure-port="+port,
		"--endpoint-reconciler-type=none",
		"--etcd-servers="+etcd,
		"--tls-cert-file="+filepath.Join(dir, "server.crt"),
		"--tls-private-key-file="+filepath.Join(dir, "server.key"),
		"--client-ca-file="+filepath.Join(dir, "ca.crt"),
		"--service-account-issuer="+s.url,
		"--service-account-signing-key-file="+filepath.Join(dir, "server.key"),
		"--service-account-key-file="+filepath.Join(dir, "server.key"),
		"--service-cluster-ip-range=10.96.0.0/16",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
	)
	if err := s.etcd.start(); err != nil {
		return nil, err
	}
	if err := s.StartAPI(); err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends the server and removes its files.
func (s *Server) Close() {
	s.StopAPI()
	s.etcd.kill()
	_ = os.RemoveAll(s.dir) // a folder in the system's own temporary one
}

// StopAPI kills kube-apiserver, as a crash would. etcd keeps what was written.
func (s *Server) StopAPI() { s.api.kill() }

// StartAPI starts kube-apiserver again, at the same address, and returns when it is ready.
func (s *Server) StartAPI() error {
	if err := s.api.start(); err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(s.admin)
	if err != nil {
		return err
	}
	client.Timeout = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for !ready(client, s.url) {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-s.api.done:
			return fmt.Errorf("kube-apiserver ended: %s", s.api.said())
		case <-s.etcd.done:
			return fmt.Errorf("etcd ended: %s", s.etcd.said())
		case <-ctx.Done():
			return fmt.Errorf("kube-apiserver not ready in %v: %s", startTimeout, s.api.said())
		}
	}
	return nil
}

// Wipe replaces the server by an empty one at the same address: no Node, no role, and the first resource versions
// once more.
func (s *Server) Wipe() error {
	return s.whileDown(func(data string) error { return os.RemoveAll(data) })
}

// Backup keeps what the server holds now, and Restore makes that all it holds.
func (s *Server) Backup() error {
	return s.whileDown(func(data string) error { return os.CopyFS(data+".backup", os.DirFS(data)) })
}

// Restore replaces the server by one that holds what it held at the Backup.
func (s *Server) Restore() error {
	return s.whileDown(func(data string) error {
		return errors.Join(os.RemoveAll(data), os.CopyFS(data, os.DirFS(data+".backup")), os.Chmod(data, 0o700))
	})
}

// whileDown does something to the data of etcd.
func (s *Server) whileDown(do func(data string) error) error {
	s.StopAPI()
	s.etcd.kill()
	if err := do(filepath.Join(s.dir, "etcd")); err != nil {
		return err
	}
	if err := s.etcd.start(); err != nil {
		return err
	}
	return s.StartAPI()
}

func ready(client *http.Client, url string) bool {
	r, err := client.Get(url + "/readyz")
	if err != nil {
		return false
	}
	defer r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// Admin is a credential that may do everything.
func (s *Server) Admin() *rest.Config { return rest.CopyConfig(s.admin) }

// User is a credential, by client certificate, of a user in groups. What it may do is up to RBAC, and to the Node
// authorizer for the user system:node:NAME in the group system:nodes.
func (s *Server) User(name string, groups ...string) *rest.Config {
	c, err := s.user(name, groups...)
	if err != nil {
		panic(err) // keys and certificates from memory to memory
	}
	return c
}

func (s *Server) user(name string, groups ...string) (*rest.Config, error) {
	cert, key, err := s.ca.issue(name, groups, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host:            s.url,
		TLSClientConfig: rest.TLSClientConfig{CAData: s.ca.cert, CertData: cert, KeyData: key},
	}, nil
}

// Kubeconfig is c as the content of a kubeconfig file, complete in itself.
func Kubeconfig(c *rest.Config) []byte {
	f := clientcmdapi.NewConfig()
	f.Clusters["lab"] = &clientcmdapi.Cluster{Server: c.Host, CertificateAuthorityData: c.CAData, InsecureSkipTLSVerify: c.Insecure}
	f.AuthInfos["lab"] = &clientcmdapi.AuthInfo{ClientCertificateData: c.CertData, ClientKeyData: c.KeyData}
	f.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab", AuthInfo: "lab"}
	f.CurrentContext = "lab"
	b, err := clientcmd.Write(*f)
	if err != nil {
		panic(err) // a value of ours, from memory to memory
	}
	return b
}

// binaries returns the folder that holds kube-apiserver, kubectl and etcd; it builds them if need be.
func binaries() (string, error) {
	if dir := os.Getenv("WGKUBE_APISERVER"); dir != "" { // where there is no go command, as in the User-mode Linux
		return dir, nil
	}
	here, err := exec.Command("go", "list", "-f", "{{.Dir}}", "wg-kube/internal/lab/apiserver").Output()
	if err != nil {
		return "", fmt.Errorf("%w (go list: %v)", ErrNoBinaries, err)
	}
	var stderr bytes.Buffer
	build := exec.Command(filepath.Join(strings.TrimSpace(string(here)), "build.sh"))
	build.Stderr = &stderr
	out, err := build.Output()
	if err != nil {
		return "", fmt.Errorf("%w (%v: %s)", ErrNoBinaries, err, lastLine(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// freePorts finds ports that nobody listens on now.
func freePorts(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at the end, so that no port comes twice
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
