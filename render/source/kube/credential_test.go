package kube

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"
)

// As kubeadm writes it, but for the server.
const kubeletConf = `apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster: {server: "https://192.0.2.1:6443"}
users:
- name: default-auth
  user:
    client-certificate: /nonexistent/pki/kubelet-client-current.pem
    client-key: /nonexistent/pki/kubelet-client-current.pem
contexts:
- name: lab
  context: {cluster: lab, user: default-auth}
current-context: lab
`

func TestWhatSystemdHandsOver(t *testing.T) {
	own, theirs := t.TempDir(), t.TempDir()
	write := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kubeconfig := filepath.Join(theirs, "kubelet.conf")
	write(kubeconfig, kubeletConf)
	if _, err := load(kubeconfig); err == nil {
		t.Error("a certificate is read that is not there")
	}

	t.Setenv("CREDENTIALS_DIRECTORY", own)
	pem := filepath.Join(own, "kubelet-client-current.pem")
	write(pem, "a certificate and its key")
	c, err := load(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(c.config.CertData); got != "a certificate and its key" || string(c.config.KeyData) != got {
		t.Errorf("certificate %q, key %q", got, c.config.KeyData)
	}
	if len(c.files) != 2 || c.files[0] != kubeconfig && c.files[1] != kubeconfig {
		t.Errorf("watched: %q", c.files)
	}

	// The kubeconfig itself, which the service may not even see at its place.
	write(filepath.Join(own, "kubelet.conf"), kubeletConf)
	if _, err := load("/nonexistent/kubelet.conf"); err != nil {
		t.Error(err)
	}
}

func TestUnchecked(t *testing.T) {
	for name, tc := range map[string]struct {
		config rest.Config
		want   string
	}{
		"a certificate authority": {rest.Config{Host: "https://192.0.2.1:6443", TLSClientConfig: rest.TLSClientConfig{CAData: []byte("x")}}, ""},
		"those of the machine":    {rest.Config{Host: "https://api.example:6443"}, ""},
		"none":                    {rest.Config{Host: "https://192.0.2.1:6443", TLSClientConfig: rest.TLSClientConfig{Insecure: true}}, "insecure-skip-tls-verify"},
		"no TLS":                  {rest.Config{Host: "http://192.0.2.1:8080"}, "no TLS"},
		"kubectl proxy":           {rest.Config{Host: "http://127.0.0.1:8001"}, ""},
		"kubectl proxy by name":   {rest.Config{Host: "localhost:8001"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (credential{config: &tc.config}).unchecked(); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
