package kube

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"wg-kube/render/source/files"
)

// userAgent is what the API server's audit log knows this program by.
const userAgent = "wg-render"

// inClusterFiles is where a pod finds what is not in its environment. client-go itself reads the token again.
var inClusterFiles = []string{"/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"}

// credential is how to reach the API server and as whom: what the files said when they were read.
type credential struct {
	config *rest.Config
	file   *clientcmdapi.Config // as written; nil in a cluster
	files  []string             // that it was read from; known in part also when it is of no use as yet
}

// load reads the kubeconfig, and the certificates and keys that it names. It holds what these files contain: when
// one of them changes, load returns another credential.
func load(kubeconfig string) (credential, error) {
	if kubeconfig == "" {
		c := credential{files: inClusterFiles}
		config, err := rest.InClusterConfig()
		if err != nil {
			return c, files.Plain(err)
		}
		return c.with(config)
	}
	paths := filepath.SplitList(kubeconfig)
	for i, p := range paths {
		paths[i] = handedOver(p)
	}
	c := credential{files: paths}
	file, err := (&clientcmd.ClientConfigLoadingRules{Precedence: paths}).Load()
	if err != nil {
		return c, useless(kubeconfig, err)
	}
	if len(file.Clusters) == 0 {
		return c, fmt.Errorf("%s: not there, or empty", kubeconfig)
	}
	for _, named := range named(file) {
		*named = handedOver(*named)
	}
	c.file, c.files = file, filesOf(paths, file)
	config, err := clientcmd.NewNonInteractiveClientConfig(*file, "", &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return c, fmt.Errorf("%s: no current-context", kubeconfig)
	}
	if err != nil {
		return c, useless(kubeconfig, err)
	}
	return c.with(config)
}

// useless says of err, which clientcmd has about a kubeconfig, the first reason, and in few words: no Go types.
func useless(kubeconfig string, err error) error {
	path, why := kubeconfig, err.Error()
	if rest, ok := strings.CutPrefix(why, `error loading config file "`); ok {
		path, why, _ = strings.Cut(rest, `": `)
	}
	if rest, ok := strings.CutPrefix(why, "invalid configuration: "); ok {
		why, _, _ = strings.Cut(strings.Trim(rest, "[]"), ", ")
	}
	if mismatch, _, ok := strings.Cut(why, " into Go "); ok {
		why = "no kubeconfig: " + mismatch[strings.LastIndex(mismatch, ": ")+1:]
	}
	why, _, _ = strings.Cut(why, " in scheme ")
	return fmt.Errorf("%s: %s", path, strings.Join(strings.Fields(why), " "))
}

// with completes c with the content of the files that config names.
func (c credential) with(config *rest.Config) (credential, error) {
	if err := rest.LoadTLSFiles(config); err != nil {
		return c, files.Plain(err)
	}
	config.CAFile, config.CertFile, config.KeyFile = "", "", ""
	config.UserAgent = userAgent
	config.WarningHandler = rest.NoWarnings{} // they are about API versions, not for whoever runs this
	c.config = config
	return c, nil
}

// equal reports whether both reach the same server in the same way as the same user.
func (c credential) equal(o credential) bool {
	if c.config == nil || o.config == nil {
		return c.config == o.config
	}
	return c.config.Host == o.config.Host &&
		bytes.Equal(c.config.CAData, o.config.CAData) &&
		bytes.Equal(c.config.CertData, o.config.CertData) &&
		bytes.Equal(c.config.KeyData, o.config.KeyData) &&
		reflect.DeepEqual(c.file, o.file)
}

// unchecked says why whoever answers is taken for the API server; "": its certificate is looked at, or it is here.
func (c credential) unchecked() string {
	server, _, err := rest.DefaultServerUrlFor(c.config)
	switch {
	case err != nil: // there will be no connection
	case server.Scheme == "https" && c.config.Insecure:
		return "insecure-skip-tls-verify"
	case server.Scheme == "http" && server.Hostname() != "localhost" && !addr(server.Hostname()).IsLoopback():
		return "no TLS"
	}
	return ""
}

func addr(host string) netip.Addr {
	a, _ := netip.ParseAddr(host)
	return a
}

// handedOver is where the file at path is read: among the credentials that systemd hands over to this unit, by the
// last element of its name, if it is there. A kubelet's certificate is root's own, and its kubeconfig names it by its
// path (systemd.exec(5), LoadCredential=).
func handedOver(path string) string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" || path == "" {
		return path
	}
	own := filepath.Join(dir, filepath.Base(path))
	if _, err := os.Stat(own); err != nil {
		return path
	}
	return own
}

// named are the names of files in a kubeconfig; some are empty.
func named(file *clientcmdapi.Config) (names []*string) {
	for _, c := range file.Clusters {
		names = append(names, &c.CertificateAuthority)
	}
	for _, u := range file.AuthInfos {
		names = append(names, &u.ClientCertificate, &u.ClientKey, &u.TokenFile)
	}
	return names
}

// filesOf are the kubeconfigs and every file that they name.
func filesOf(paths []string, file *clientcmdapi.Config) []string {
	all := map[string]bool{}
	for _, p := range paths {
		all[p] = true
	}
	for _, name := range named(file) {
		all[*name] = true
	}
	delete(all, "")
	return slices.Sorted(maps.Keys(all))
}
