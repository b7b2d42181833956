// Package house keeps the rules of the house: which package may import what, and that each says what it is for.
// It holds nothing but that test.
package house

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const module = "wg-kube"

const (
	logger  = "log/slog"
	metrics = "github.com/prometheus/client_golang/..."
	netlink = "github.com/vishvananda/netlink/..."
	nft     = "github.com/google/nftables/..."
	wgctrl  = "golang.zx2c4.com/wireguard/wgctrl" // the root; wgtypes below it is only types
	wgGo    = "golang.zx2c4.com/wireguard/device"
	k8s     = "k8s.io/..."
	client  = "k8s.io/client-go/..."
	files   = "github.com/fsnotify/fsnotify/..."
)

// rules say what a package must not need, neither itself nor through others, and why.
var rules = []struct {
	pkg    string // "/..." for all below
	not    []string
	reason string
}{
	{"templates/...", []string{metrics, netlink, nft, wgctrl, wgGo, k8s, files}, "it is pure: bytes in, values out"},
	{"render/overlay", []string{metrics, netlink, nft, wgctrl, wgGo, k8s, files}, "it is pure: what it decides depends on its arguments alone"},
	{"apply/plan", []string{metrics, netlink, nft, wgctrl, wgGo, k8s, files}, "it is pure: a plan is made and read without a kernel"},
	{"apply/hints", []string{metrics, netlink, nft, wgctrl, wgGo, k8s, files}, "it is pure: a hint is a judgement over what was observed"},
	{"render/...", []string{"wg-kube/apply/..."}, "files are all that passes between the halves"},
	{"apply/...", []string{"wg-kube/render/..."}, "files are all that passes between the halves"},
	{"render/source/manifests", []string{client}, "a folder of manifests needs no client"},
	{"render/source/fragments", []string{k8s}, "fragments have nothing to do with Kubernetes"},
	{"render", []string{client}, "render/source/kube is the only place that connects to an API server"},
	{"apply", []string{netlink, nft, wgctrl}, "apply/kernel is the only place that talks to the kernel"},
	{"cmd/wg-apply", []string{k8s, "sigs.k8s.io/..."}, "what runs as root is small"},
	{"cmd/wg-apply", []string{wgGo}, "a userspace device is a process of its own, so that wg-apply can be restarted"},
	{"cmd/wg-render", []string{netlink, nft, wgctrl, wgGo}, "what talks to the network has no hand on the kernel"},
	{"cmd/wg-render", []string{"k8s.io/apiextensions-apiserver/..."}, "only a test decodes the definition of a WireGuardPeer"},
	{"cmd/wg-device", []string{k8s, netlink, nft, metrics}, "it carries packets and does nothing else"},
}

type pkg struct {
	ImportPath   string
	Doc          string
	Deps         []string
	Imports      []string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Doc,Deps,Imports,GoFiles,TestGoFiles,XTestGoFiles", module+"/...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// match reports whether path is pattern, or below it where that ends in "/...".
func match(pattern, importPath string) bool {
	base, all := strings.CutSuffix(pattern, "/...")
	return importPath == base || all && strings.HasPrefix(importPath, base+"/")
}

func TestImports(t *testing.T) {
	used := make([]bool, len(rules))
	for _, p := range list(t) {
		for i, r := range rules {
			if !match(module+"/"+r.pkg, p.ImportPath) {
				continue
			}
			used[i] = true
			for _, dep := range p.Deps {
				for _, not := range r.not {
					if match(not, dep) {
						t.Errorf("%s must not need %s: %s", p.ImportPath, dep, r.reason)
					}
				}
			}
		}
	}
	for i, r := range rules {
		if !used[i] {
			t.Errorf("the rule for %q is about no package: has it moved?", r.pkg)
		}
	}
}

func TestPurePackagesLogNothing(t *testing.T) {
	for _, p := range list(t) {
		for _, pure := range []string{"templates/...", "render/overlay", "apply/plan"} {
			if !match(module+"/"+pure, p.ImportPath) {
				continue
			}
			for _, imp := range p.Imports {
				// A key says to slog that it is hidden; that needs the package, and writes no log.
				if imp == "log" || imp == logger && path.Base(p.ImportPath) != "wgquick" || imp == "os" || imp == "os/exec" {
					t.Errorf("%s must not import %s: what it has to say it returns", p.ImportPath, imp)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range list(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		if name := path.Base(p.ImportPath); strings.Contains(p.ImportPath, "/cmd/") {
			if !strings.HasPrefix(strings.ToLower(p.Doc), name) {
				t.Errorf("%s: the comment of a command begins with its name, not %q", p.ImportPath, p.Doc)
			}
		}
	}
}

// A promise in docs names the test that proves it: that test has to be there. In a table with a column for it, each
// promise names one.
func TestDocsNameTestsThatAreThere(t *testing.T) {
	there := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`).FindAllSubmatch(b, -1) {
			there[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(docs) == 0 {
		t.Fatalf("no docs: %v", err)
	}
	for _, doc := range docs {
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`)
		for _, name := range names.FindAllString(string(b), -1) {
			if !there[name] {
				t.Errorf("%s: there is no %s", filepath.Base(doc), name)
			}
		}
		for _, table := range regexp.MustCompile(`(?m)^\|.*\| (?:test|target) \|\n\|[-|]+\n((?:\|.*\n)+)`).FindAllSubmatch(b, -1) {
			for row := range strings.Lines(string(table[1])) {
				if !names.MatchString(row) {
					t.Errorf("%s: no test is named in: %s", filepath.Base(doc), row)
				}
			}
		}
	}
}
