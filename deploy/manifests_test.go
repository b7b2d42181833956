package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"

	"wg-kube/internal/lab/apiserver"
	"wg-kube/internal/lab/golden"
)

var overlays = []string{"hub", "mesh"}

// TestOverlays shows what each overlay comes to, and that every object in it has the fields that it means to have.
func TestOverlays(t *testing.T) {
	for _, overlay := range overlays {
		t.Run(overlay, func(t *testing.T) {
			got := rendered(t, "overlays/"+overlay)
			golden.Check(t, filepath.Join("testdata", overlay+".yaml"), got)
			objects(t, got)
		})
	}
}

// TestWhatAPodMay holds the two daemons to their halves: wg-render has no capability and of the host no folder but the
// one for proposals; wg-apply has the capability to configure the network, and no credential.
func TestWhatAPodMay(t *testing.T) {
	want := map[string]may{
		"folders":   {root: true, host: []string{"/var/lib/wg-render"}},
		"wg-render": {host: []string{"/var/lib/wg-render"}, token: true},
		"wg-apply": {root: true, capabilities: []corev1.Capability{"NET_ADMIN"},
			host: []string{"/etc/wireguard", "/run/wg-kube", "/var/lib/wg-render (read-only)"}},
	}
	for _, overlay := range overlays {
		t.Run(overlay, func(t *testing.T) {
			for _, object := range objects(t, rendered(t, "overlays/"+overlay)) {
				set, ok := object.(*appsv1.DaemonSet)
				if !ok {
					continue
				}
				pod := set.Spec.Template.Spec
				if *pod.AutomountServiceAccountToken || pod.HostPID || pod.HostIPC || !pod.HostNetwork {
					t.Error("a pod has the host's network and nothing else of it, and no token by itself")
				}
				got := map[string]may{}
				for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
					got[c.Name] = whatItMay(t, pod, c)
				}
				if d := cmp.Diff(want, got, cmp.AllowUnexported(may{})); d != "" {
					t.Errorf("-want +got:\n%s", d)
				}
				return
			}
			t.Error("no DaemonSet")
		})
	}
}

// may is what a container may do beyond computing.
type may struct {
	root         bool
	capabilities []corev1.Capability
	host         []string // folders of the host, where the container sees them
	token        bool     // of the ServiceAccount
}

func whatItMay(t *testing.T, pod corev1.PodSpec, c corev1.Container) (m may) {
	t.Helper()
	s := c.SecurityContext
	if s.Privileged != nil || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem ||
		!slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) ||
		s.SeccompProfile != nil || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%s: more than it is meant to have: %v", c.Name, s)
	}
	m.root, m.capabilities = *s.RunAsUser == 0, s.Capabilities.Add
	for _, mount := range c.VolumeMounts {
		v := pod.Volumes[slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name })]
		m.token = m.token || v.Projected != nil
		if v.HostPath == nil {
			continue
		}
		if v.HostPath.Path != mount.MountPath {
			t.Errorf("%s: %s of the host is %s: messages would name another file", c.Name, v.HostPath.Path, mount.MountPath)
		}
		at := mount.MountPath
		if mount.ReadOnly {
			at += " (read-only)"
		}
		m.host = append(m.host, at)
	}
	slices.Sort(m.host)
	return m
}

// documented is the overlay that docs/kubernetes.md shows, beside the others.
func documented(t testing.TB) (dir string) {
	t.Helper()
	doc, err := os.ReadFile("../docs/kubernetes.md")
	must(t, err)
	const head = "\n    # deploy/overlays/mine/kustomization.yaml\n"
	_, block, ok := strings.Cut(string(doc), head)
	if !ok {
		t.Fatalf("docs/kubernetes.md has no block that begins with %q", head)
	}
	var overlay strings.Builder
	for line := range strings.Lines(block) {
		code, ok := strings.CutPrefix(line, "    ")
		if !ok && strings.TrimSpace(line) != "" {
			break
		}
		overlay.WriteString(code)
	}
	all := t.TempDir()
	must(t, os.CopyFS(all, os.DirFS(".")))
	dir = filepath.Join(all, "overlays", "mine")
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay.String()), 0o644))
	return dir
}

// rendered is a folder of deploy/ as it would be applied.
func rendered(t testing.TB, dir string) []byte {
	t.Helper()
	out, err := exec.Command(apiserver.Kubectl(t), "kustomize", dir).Output()
	must(t, err)
	return out
}

// objects decodes manifests into the types of the API: no field may be unknown or set twice.
func objects(t testing.TB, manifests []byte) (all []runtime.Object) {
	t.Helper()
	types := runtime.NewScheme()
	must(t, scheme.AddToScheme(types))
	must(t, apiextensionsv1.AddToScheme(types))
	strict := serializer.NewCodecFactory(types, serializer.EnableStrict).UniversalDeserializer()
	for doc := range strings.SplitSeq(string(manifests), "\n---\n") {
		object, _, err := strict.Decode([]byte(doc), nil, nil)
		if err != nil {
			t.Errorf("%v\n%s", err, doc)
		}
		all = append(all, object)
	}
	return all
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
